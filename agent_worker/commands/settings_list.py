"""The settings as `agent-worker settings` prints them."""

from __future__ import annotations

import dataclasses
import textwrap
import tomllib
from collections.abc import Sequence
from typing import Any

from agent_worker.settings import DEFAULT, Explained

_INDENT = "    "
_WIDEST = 100


def choose_rows(rows: Sequence[Explained], part: str, *, changed: bool) -> list[Explained]:
    """Those whose name holds `part`; with `changed` only those that are set somewhere."""
    return [r for r in rows if part.lower() in r.name and (not changed or r.source != DEFAULT)]


def as_text(rows: Sequence[Explained], *, width: int) -> str:
    """Each setting as it would stand in a file, with its source, and what it is below."""
    return "\n".join(line for row in rows for line in _lines(row, min(width, _WIDEST)))


def _lines(row: Explained, width: int) -> list[str]:
    source = row.source if row.source == DEFAULT else f"from {row.source}"
    about = row.description if row.allowed == "text" else f"{row.description} Takes {row.allowed}."
    return [
        f"{row.name} = {row.value}  ({source})",
        *textwrap.wrap(
            about,
            width,
            initial_indent=_INDENT,
            subsequent_indent=_INDENT,
            break_on_hyphens=False,
        ),
    ]


def as_json(rows: Sequence[Explained]) -> list[dict[str, Any]]:
    """The same for programs: values are values; null = unset, and hidden ones say so."""
    return [{**dataclasses.asdict(row), "value": _value(row.value)} for row in rows]


def _value(shown: str) -> Any:
    if shown in ("(unset)", "(hidden)"):
        return None if shown == "(unset)" else shown
    return tomllib.loads(f"value = {shown}")["value"]
