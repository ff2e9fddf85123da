"""What a chat call can know of the turn that it serves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from livekit.agents.types import NOT_GIVEN, NotGivenOr
from livekit.agents.voice import SpeechHandle

from graph_speech.turn import COMMITTED_KEY, TurnCommitted

from .livekit_private import speech_of_this_call, wait_for_scheduled

__all__ = ["COMMITTED_KEY", "SpeechScheduled", "TurnCommitted", "turn_committed"]


class SpeechScheduled:
    """The commitment of a turn in a plain `AgentSession`: its speech has been scheduled."""

    def __init__(self, speech: SpeechHandle) -> None:
        self._speech = speech

    def is_set(self) -> bool:
        """Whether the speech was scheduled: a discarded speculation never is."""
        return self._speech.scheduled

    async def wait(self) -> None:
        """Returns once the speech is scheduled."""
        await wait_for_scheduled(self._speech)


def turn_committed(extra_kwargs: NotGivenOr[Mapping[str, Any]]) -> TurnCommitted | None:
    """What tells that the turn of this chat call is final; None when it is already.

    Raises:
        TypeError: `extra_kwargs["turn_committed"]` has no `is_set()` and `wait()`.
    """
    given = (extra_kwargs or {}).get(COMMITTED_KEY, NOT_GIVEN)
    if given is None:
        return None
    if given is not NOT_GIVEN:
        if not isinstance(given, TurnCommitted):
            raise TypeError("turn_committed must have is_set() and wait(), as asyncio.Event has")
        return None if given.is_set() else given
    speech = speech_of_this_call()
    if speech is None or speech.scheduled:
        return None
    return SpeechScheduled(speech)
