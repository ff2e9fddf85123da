"""Why a turn ended without an answer, told in a few words for the log and the turn's record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class ModelOutcome:
    """How one model call that is heard ended."""

    spoke: bool
    tokens: int = 0
    """Of the answer, thinking included; 0 if the server does not tell."""
    reasoning_tokens: int = 0
    finish: str = ""
    """The server's `finish_reason`."""
    thought: int = 0
    """Characters of thinking in the text."""
    thinks_on: bool = False
    """The thinking was never closed."""
    strangers: Sequence[str] = ()
    """Tools in calls that nobody knows."""
    swallowed: bool = False
    """One of those calls was set apart from the words, so that they were not the whole answer."""
    broken: Sequence[str] = ()
    """Tools whose arguments could not be read."""
    filtered: bool = False
    """Something was left out that is no thinking."""
    called: bool = False
    """It called tools."""

    @property
    def abnormal(self) -> bool:
        """Whether it stopped without a word for a reason that is no decision to be silent."""
        if self.swallowed or (self.broken and not self.called):
            return True
        if self.spoke or self.called:
            return False
        return (
            self.finish == "length"
            or self.thinks_on
            or self.filtered
            or bool(self.strangers)
            or self.thought > 0
        )


def cause_of_silence(last: ModelOutcome | None) -> str:
    """Why nothing was said.

    Args:
        last: The last model call of a node that is heard; None if there was none.
    """
    if last is None:
        return "no node that may be heard said anything"
    tokens = f"all {last.tokens} tokens" if last.tokens else "all its tokens"
    if last.broken:
        return f"the arguments of a call of {_names(last.broken)} could not be read"
    if last.strangers:
        return f"the model called {_names(last.strangers)}, which is no tool that it was offered"
    if last.called:
        return "the graph ended after a tool without a word"
    if last.thinks_on:
        return f"{tokens} went into thinking"
    if last.finish == "length" and not last.filtered:
        # a server that keeps the thoughts apart sends no text until they are over
        return f"{tokens} went into thinking"
    if last.thought or last.reasoning_tokens:
        return f"the model thought and then answered nothing ({last.tokens} tokens)"
    if last.filtered:
        return "all of the answer was markup"
    ended = f" (it ended with {last.finish!r})" if last.finish not in ("", "stop") else ""
    if last.tokens > 1:
        return f"{tokens} brought no text{ended}"
    return f"the model answered nothing{ended}"


def too_many_steps(limit: int) -> str:
    """The cause where a graph went round in circles."""
    return f"the graph took {limit} steps without coming to an end"


def _names(names: Sequence[str]) -> str:
    # a name comes from a model: as much of it as a name may have
    return ", ".join(repr(name[:64]) for name in dict.fromkeys(names))
