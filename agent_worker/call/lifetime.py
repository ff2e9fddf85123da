"""Ends a call in which nobody speaks any more, or which its caller has left for good."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from livekit.agents import (
    AgentSession,
    AgentStateChangedEvent,
    CloseEvent,
    UserInputTranscribedEvent,
    UserStateChangedEvent,
)

from .inactivity import InactivityPolicy, Next

logger = logging.getLogger(__name__)


class Lifetime:
    """Carries out what an `InactivityPolicy` decides for one session.

    Args:
        policy: when the call is over.
        goodbye: said before the agent leaves; empty = it leaves without a word.
    """

    def __init__(self, policy: InactivityPolicy, *, goodbye: str) -> None:
        self._policy = policy
        self._goodbye = goodbye
        self._says_goodbye = False
        self._over = False
        self._changed = asyncio.Event()
        self._watcher: asyncio.Task[None] | None = None

    def attach(self, session: AgentSession[Any]) -> None:
        """Follows a session; call once, in a running event loop."""
        session.on("user_state_changed", self._on_user)
        session.on("user_input_transcribed", self._on_transcribed)
        session.on("agent_state_changed", self._on_agent)
        session.on("close", self._on_close)
        self._watcher = asyncio.create_task(self._watch(session), name="lifetime.watch")

    @property
    def over(self) -> bool:
        """Whether the call was ended from here: after silence, or because the caller is gone."""
        return self._over

    def caller_acts(self) -> None:
        """The caller does something that no event of the session tells of: they write."""
        self._active()

    def caller_left(self) -> None:
        """The caller is not there any more; they have a while to come back."""
        self._policy.caller_left()
        self._changed.set()

    def caller_returned(self) -> None:
        """The caller is there again."""
        self._says_goodbye = False
        self._policy.caller_returned()
        self._changed.set()

    def caller_gone(self) -> None:
        """The call ends now, without a goodbye."""
        self._policy.caller_gone()
        self._changed.set()

    async def aclose(self) -> None:
        """Stops watching; safe to call twice."""
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.gather(self._watcher, return_exceptions=True)

    def _on_user(self, event: UserStateChangedEvent) -> None:
        if "speaking" in (event.new_state, event.old_state):
            self._active()

    def _on_transcribed(self, event: UserInputTranscribedEvent) -> None:
        self._active()

    def _on_agent(self, event: AgentStateChangedEvent) -> None:
        # its own goodbye is no sign of life
        if not self._says_goodbye and event.new_state in ("listening", "thinking", "speaking"):
            self._active()

    def _on_close(self, event: CloseEvent) -> None:
        if self._watcher is not None:
            self._watcher.cancel()

    def _active(self) -> None:
        self._says_goodbye = False
        self._policy.activity()
        self._changed.set()

    async def _watch(self, session: AgentSession[Any]) -> None:
        farewell: asyncio.Task[None] | None = None
        try:
            while True:
                step = await self._next_step(session)
                if step is Next.SAY_GOODBYE:
                    logger.info("nobody has spoken for long; the agent says goodbye")
                    # beside the watch: a voice that hangs must not keep the call open
                    await _stop(farewell)
                    self._says_goodbye = True
                    farewell = asyncio.create_task(self._say_goodbye(session), name="goodbye")
                elif step is Next.LEAVE:
                    logger.info("the call is over")
                    self._over = True
                    # what is being said is waited for, unless it is a goodbye without an end
                    session.shutdown(drain=farewell is None or farewell.done())
                    return
        finally:
            await _stop(farewell)

    async def _next_step(self, session: AgentSession[Any]) -> Next:
        """Waits until there is something to do."""
        loop = asyncio.get_running_loop()
        while True:
            self._changed.clear()
            if session.agent_state in ("thinking", "speaking") and not self._says_goodbye:
                # an answer may be longer than the silence that ends a call
                self._policy.activity()
            step = self._policy.decide()
            if step is not Next.GO_ON:
                return step
            try:
                async with asyncio.timeout(max(self._policy.deadline - loop.time(), 0.01)):
                    await self._changed.wait()
            except TimeoutError:
                continue

    async def _say_goodbye(self, session: AgentSession[Any]) -> None:
        if self._goodbye:
            await session.say(self._goodbye)
        if self._says_goodbye:
            self._policy.goodbye_said()
            self._changed.set()


async def _stop(farewell: asyncio.Task[None] | None) -> None:
    if farewell is not None:
        farewell.cancel()
        await asyncio.gather(farewell, return_exceptions=True)
