"""The agent's voice as turn-taking has it in its hand: held, let go, stopped."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

from livekit.agents import AgentSession, utils
from livekit.agents.voice import io

_STOPS_WITHIN_S = 5.0


class AgentVoice:
    """Holds and stops what the agent says in one session.

    A voice that is held loses nothing and goes on where it was. One that is being stopped stays
    held until nothing is left of it: to let go sooner would let the cut-off words out.
    """

    def __init__(self) -> None:
        self._session: AgentSession[Any] | None = None
        self._held = False
        self._stopping: asyncio.Task[None] | None = None

    def attach(self, session: AgentSession[Any]) -> None:
        """From now on the voice of this session is meant."""
        self._session = session

    async def aclose(self) -> None:
        """Gives the session up; safe to call twice."""
        self._session = None
        if self._stopping is not None:
            await utils.aio.cancel_and_wait(self._stopping)

    def hold(self) -> None:
        """Falls silent, ready to go on; nothing if it may not be interrupted."""
        output = self._output()
        if not self._held and self._may_be_interrupted() and output and output.can_pause:
            output.pause()
            self._held = True

    def let_go(self) -> None:
        """Goes on, if it was held and is not being stopped."""
        if not self._is_stopping():
            self._release()

    def stop(self) -> bool:
        """Begins to drop what is being said; False if there is nothing to drop, or it is under way.

        A voice that may not be interrupted goes on.
        """
        if self._is_stopping():
            return False
        if self._session is None or not self._may_be_interrupted():
            self.let_go()
            return False
        interrupted = self._session.interrupt()
        self._stopping = asyncio.create_task(self._after(interrupted), name="agent_voice.stop")
        return True

    async def interrupt(self) -> None:
        """Drops what is being said, and waits until it is gone."""
        if self._session is not None and self._may_be_interrupted():
            await self._session.interrupt()

    async def _after(self, interrupted: asyncio.Future[None]) -> None:
        with suppress(asyncio.CancelledError):
            await asyncio.wait([interrupted], timeout=_STOPS_WITHIN_S)
        self._release()

    def _is_stopping(self) -> bool:
        return self._stopping is not None and not self._stopping.done()

    def _release(self) -> None:
        if self._held:
            self._held = False
            if (output := self._output()) is not None:
                output.resume()

    def _output(self) -> io.AudioOutput | None:
        return self._session.output.audio if self._session is not None else None

    def _may_be_interrupted(self) -> bool:
        speech = self._session.current_speech if self._session is not None else None
        return speech is not None and speech.allow_interruptions and not speech.interrupted
