"""What the agent says when something broke, in the language of the call."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping

from agent_worker.language_tags import primary
from agent_worker.toml_beside import toml_beside


@dataclasses.dataclass(frozen=True)
class FaultWords:
    """The words of one language; an empty one is not said."""

    back: str = ""
    """By an agent that took over a call whose agent a fault had taken."""
    deaf: str = ""
    """When nothing of what the caller says can be understood any more."""
    hears_again: str = ""
    stopping: str = ""
    """Before the process of the call must end though the call has not."""
    busy: str = ""
    """To who waits for an agent."""


@functools.cache
def _all() -> Mapping[str, FaultWords]:
    tables = toml_beside(__file__, "fault_words.toml")
    return {tag: FaultWords(**table) for tag, table in tables.items()}


def fault_words(language: str, own: Mapping[str, str] | None = None) -> FaultWords:
    """The words for a call.

    Args:
        language: of the call. In one that has no words nothing is said: better than another one's.
        own: the user's, by the names of the fields; they win.
    """
    words = _all().get(primary(language), FaultWords())
    return dataclasses.replace(words, **(own or {}))
