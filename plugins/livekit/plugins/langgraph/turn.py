"""What a chat call can know of the turn that it serves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from livekit.agents import llm
from livekit.agents.types import NOT_GIVEN, NotGivenOr
from livekit.agents.voice import SpeechHandle

# LiveKit 1.8 starts a reply before the turn is over (preemptive generation) and tells the LLM
# nothing of it; the speech that the reply belongs to, and whether it is the session's own LLM
# that is asked, stand only in these two variables. The dependency is pinned to 1.8.
from livekit.agents.voice.agent_activity import _AgentActivityContextVar, _SpeechHandleContextVar

COMMITTED_KEY = "turn_committed"
"""The key in `extra_kwargs`, and in a graph's `configurable`."""


@runtime_checkable
class TurnCommitted(Protocol):
    """Says when a speculative turn has become final; `asyncio.Event` is one."""

    def is_set(self) -> bool:
        """Whether the turn is final."""

    async def wait(self) -> Any:
        """Returns once the turn is final."""


class SpeechScheduled:
    """The commitment of a turn in a plain `AgentSession`: its speech has been scheduled."""

    def __init__(self, speech: SpeechHandle) -> None:
        self._speech = speech

    def is_set(self) -> bool:
        """Whether the speech was scheduled: a discarded speculation never is."""
        return self._speech.scheduled

    async def wait(self) -> None:
        """Returns once the speech is scheduled."""
        await self._speech._wait_for_scheduled()


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
    speech = _SpeechHandleContextVar.get(None)
    if speech is None or speech.scheduled:
        return None
    return SpeechScheduled(speech)


def serves_session(model: llm.LLM[Any]) -> bool:
    """Whether this call is a session's turn, and `model` the LLM that the session asks.

    False inside an `llm.FallbackAdapter`: there the next LLM answers when this one fails.
    """
    activity = _AgentActivityContextVar.get(None)
    return activity is not None and activity.llm is model
