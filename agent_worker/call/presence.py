"""Whether the caller is in the room: they leave, come back, or come back under another name.

LiveKit's own session ends when its caller leaves the room. But a page that is reloaded, a phone in
a tunnel and a person who hangs up all look alike from here (a browser says that it leaves when it
reloads, just as when it is closed), and most who are cut off want to go on where they were. So a
call outlives its caller for a while: the agent falls silent, and forgets the sentence under way.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from livekit.agents import AgentSession, CloseEvent, SpeechCreatedEvent, utils
from livekit.agents.job import DEFAULT_PARTICIPANT_KINDS

from agent_worker.hearing.turn_taking import TurnTaking
from livekit import rtc

from .lifetime import Lifetime
from .push_to_talk import PushToTalk

logger = logging.getLogger(__name__)

_NOT_COMING_BACK = frozenset(
    {
        rtc.DisconnectReason.PARTICIPANT_REMOVED,
        rtc.DisconnectReason.ROOM_DELETED,
        rtc.DisconnectReason.ROOM_CLOSED,
        rtc.DisconnectReason.USER_REJECTED,
        rtc.DisconnectReason.USER_UNAVAILABLE,
        rtc.DisconnectReason.SIP_TRUNK_FAILURE,
    }
)
"""Reasons for which a caller is not waited for: somebody decided it, or they never were there."""

_SAME_PERSON_WITHIN_S = 30.0
"""A server may notice a lost connection only after the caller has joined again by another name."""

_LOOK_EVERY_S = 0.5

_NEXT_AFTER_S = 3.0
"""Another person who is in the room is served when the caller has been away for so long."""

_NOT_YOURS = 403
"""Code of an RPC error; those from 1400 on are LiveKit's own."""


class Presence:
    """Follows the caller of one session through leaving and coming back.

    Args:
        room: of the call.
        session: started in that room with `RoomOptions(close_on_disconnect=False)`.
        turns: of the session; forgets what was said right before the caller left.
        lifetime: of the session; decides how long a caller is waited for.
        key: what turns listening on, where that is up to the caller.
        greeting: said to a caller who left before it could be heard; empty = nothing.
        draining: whether the worker takes its leave: then an absent caller is not waited for.
        on_change: is told True when the caller is there again, False when they left.
    """

    def __init__(
        self,
        room: rtc.Room,
        session: AgentSession[Any],
        *,
        turns: TurnTaking,
        lifetime: Lifetime,
        key: PushToTalk | None = None,
        greeting: str = "",
        draining: Callable[[], bool] = lambda: False,
        on_change: Callable[[bool], None] = lambda here: None,
    ) -> None:
        self._room = room
        self._session = session
        self._turns = turns
        self._lifetime = lifetime
        self._key = key
        self._greeting = greeting
        self._draining = draining
        self._on_change = on_change
        self._here = True
        self._joined_at: dict[str, float] = {}
        self._waiting: asyncio.Task[None] | None = None
        # After the session's own handlers, which link and unlink the caller.
        room.on("participant_connected", self._on_connected)
        room.on("participant_disconnected", self._on_disconnected)
        session.on("speech_created", self._on_speech)
        session.on("close", self._on_close)

    @property
    def others(self) -> bool:
        """Whether the agent and its caller are not alone in the room."""
        caller = self._session.room_io.linked_participant
        return any(caller is None or who.identity != caller.identity for who in self._people())

    def offer_hang_up(self) -> None:
        """Lets a client say over RPC that its caller will not come back: the call ends at once.

        Call it when the room is connected.
        """

        async def end_call(data: rtc.RpcInvocationData) -> str:
            linked = self._session.room_io.linked_participant
            if linked is None or linked.identity != data.caller_identity:
                raise rtc.RpcError(_NOT_YOURS, "only the caller can end the call")
            self._lifetime.caller_gone()
            return ""

        self._room.local_participant.register_rpc_method(end_call.__name__, end_call)

    async def aclose(self) -> None:
        """Stops following; safe to call twice."""
        self._unhook()
        if self._waiting is not None:
            await utils.aio.cancel_and_wait(self._waiting)
        self._on_change(True)

    def _unhook(self) -> None:
        self._room.off("participant_connected", self._on_connected)
        self._room.off("participant_disconnected", self._on_disconnected)
        self._session.off("speech_created", self._on_speech)

    def _on_close(self, event: CloseEvent) -> None:
        self._unhook()

    def _people(self) -> list[rtc.RemoteParticipant]:
        return [
            participant
            for participant in self._room.remote_participants.values()
            if participant.kind in DEFAULT_PARTICIPANT_KINDS
        ]

    def _on_connected(self, participant: rtc.RemoteParticipant) -> None:
        self._joined_at[participant.identity] = asyncio.get_running_loop().time()
        if not self._here:
            self._look()

    def _on_disconnected(self, participant: rtc.RemoteParticipant) -> None:
        self._joined_at.pop(participant.identity, None)
        if participant.kind not in DEFAULT_PARTICIPANT_KINDS:
            return
        was_here = self._here
        self._look()
        it_was_the_caller = was_here and not self._here
        not_coming_back = participant.disconnect_reason in _NOT_COMING_BACK
        if it_was_the_caller and not_coming_back and not self._people():
            self._lifetime.caller_gone()

    def _look(self) -> None:
        """Compares who is there with who was; links a caller who is back by another name."""
        room_io = self._session.room_io
        back = not self._here
        if room_io.linked_participant is None and (heir := self._heir()) is not None:
            room_io.set_participant(heir)
            back = True
        if room_io.linked_participant is None:
            if self._here:
                self._left()
        elif back:
            self._returned()

    def _heir(self) -> str | None:
        """Who joined since the caller left, or so shortly before that it may be the same person."""
        since = asyncio.get_running_loop().time() - _SAME_PERSON_WITHIN_S
        present = {participant.identity for participant in self._people()}
        recent = [who for who, at in self._joined_at.items() if who in present and at >= since]
        return recent[-1] if recent else None

    def _left(self) -> None:
        logger.info("the caller left; the call waits for their return")
        self._here = False
        self._quieten()
        self._lifetime.caller_left()
        self._on_change(False)
        self._waiting = asyncio.create_task(self._wait(), name="presence.wait")

    def _returned(self) -> None:
        logger.info("the caller is back; the call goes on")
        if self._waiting is not None and self._waiting is not asyncio.current_task():
            self._waiting.cancel()
        if self._here:
            # they were back by another name before they were known to be gone
            self._quieten()
        self._here = True
        self._lifetime.caller_returned()
        self._on_change(True)
        messages = (item for item in self._session.history.items if item.type == "message")
        if self._greeting and not any(m.role in ("user", "assistant") for m in messages):
            self._session.say(self._greeting)

    def _quieten(self) -> None:
        """Nobody hears the agent, and half a sentence is no part of what is said later."""
        self._session.interrupt(force=True)
        if self._key is not None:
            self._key.cancel_turn()
        else:
            self._turns.forget_turn()

    def _on_speech(self, event: SpeechCreatedEvent) -> None:
        # an answer that was still being thought about
        if not self._here:
            event.speech_handle.interrupt(force=True)

    async def _wait(self) -> None:
        loop = asyncio.get_running_loop()
        left_at = loop.time()
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            if self._draining():
                self._lifetime.caller_gone()
                return
            people = self._people()
            if people and loop.time() - left_at >= _NEXT_AFTER_S:
                logger.info("somebody else in the room is served now")
                self._session.room_io.set_participant(people[0].identity)
                self._returned()
                return
