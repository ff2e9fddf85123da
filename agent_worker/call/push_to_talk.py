"""Push-to-talk: a turn lies between a key's press and its release, whatever the policies say."""

from __future__ import annotations

import asyncio

from agent_worker.hearing.turn_taking import TurnTaking
from livekit import rtc


class PushToTalk:
    """The key of one call, whose `TurnTaking` has the options of the mode "push_to_talk".

    Args:
        turns: of the call, attached to its session.
        release_s: at least and at most so many seconds the agent listens on when the key is up. A
            message over the data channel overtakes the sound, so the end of the last word is still
            on its way; beyond the first figure only a voice counts.
    """

    def __init__(
        self,
        turns: TurnTaking,
        *,
        release_s: tuple[float, float] = (0.2, 0.7),
    ) -> None:
        self._turns = turns
        self._release_s = release_s
        self._presses = 0

    def offer(self, room: rtc.Room) -> None:
        """Takes the key of a client over RPC, by the names that LiveKit's examples use.

        Call it when the room is connected.
        """

        async def start_turn(data: rtc.RpcInvocationData) -> str:
            await self.begin_turn()
            return ""

        async def end_turn(data: rtc.RpcInvocationData) -> str:
            return await self.end_turn()

        async def cancel_turn(data: rtc.RpcInvocationData) -> str:
            self.cancel_turn()
            return ""

        for method in (start_turn, end_turn, cancel_turn):
            room.local_participant.register_rpc_method(method.__name__, method)

    async def begin_turn(self) -> None:
        """The key is down. The agent falls silent and listens."""
        self._presses += 1
        self._turns.forget_turn()
        # before the agent is silent: who presses the key speaks
        self._turns.listen(True)
        await self._turns.hush()

    async def end_turn(self) -> str:
        """The key is up. The turn is answered; returns what was heard.

        A turn that is begun or cancelled meanwhile takes the place of this one, which is lost.
        """
        press = self._presses
        at_least_s, at_most_s = self._release_s
        await asyncio.sleep(at_least_s)
        await self._turns.until_quiet(timeout_s=at_most_s - at_least_s)
        if press != self._presses:
            return ""
        self._turns.listen(False)
        return await self._turns.commit()

    def cancel_turn(self) -> None:
        """What was said since the key went down is forgotten."""
        self._presses += 1
        self._turns.listen(False)
        self._turns.forget_turn()
