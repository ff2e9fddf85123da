"""The languages that callers may choose, with what the agent says in them of its own accord."""

from __future__ import annotations

import dataclasses
import functools
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path

_OTHER_TAGS = {"cmn": "zh", "nb": "no", "iw": "he"}
_FILE = Path(__file__).parent / "languages.toml"


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


def primary(tag: str) -> str:
    """The primary tag of a BCP 47 tag: ``en`` of ``en-GB`` or ``en_US``; ``zh`` of ``cmn``."""
    tag = re.split(r"[-_]", tag.strip().lower())[0]
    return _OTHER_TAGS.get(tag, tag)


def same_language(one: str, other: str) -> bool:
    """Whether two tags name one language, whatever the region."""
    return primary(one) == primary(other)


@functools.cache
def languages() -> Mapping[str, Language]:
    """All of them, by primary tag."""
    tables = tomllib.loads(_FILE.read_text(encoding="utf-8"))
    return {
        tag: Language(tag=tag, **{**table, "fillers": tuple(table["fillers"])})
        for tag, table in tables.items()
    }
