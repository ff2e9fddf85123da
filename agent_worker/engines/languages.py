"""The languages that callers may choose, with what the agent says in them of its own accord."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping

from agent_worker.toml_beside import toml_beside


@dataclasses.dataclass(frozen=True)
class Language:
    """One language."""

    tag: str
    """Primary language tag, such as en or zh."""
    name: str
    """As its speakers call it."""
    english: str
    greeting: str
    goodbye: str
    apology: str
    """For an answer that failed."""
    fillers: tuple[str, ...]
    """For the time that a tool takes."""


@functools.cache
def languages() -> Mapping[str, Language]:
    """All of them, by primary tag."""
    return {
        tag: Language(tag=tag, **{**table, "fillers": tuple(table["fillers"])})
        for tag, table in toml_beside(__file__, "languages.toml").items()
    }
