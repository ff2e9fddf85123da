"""What a check has found."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

State = Literal["ok", "doubtful", "broken"]

_INDENT = 16


@dataclasses.dataclass(frozen=True)
class Finding:
    """One line of the report, and what there is to add."""

    what: str
    """One word for the part that was tried."""
    state: State
    """broken: a call would fail; doubtful: it would not be what it could be."""
    text: str
    advice: str = ""
    """What to do about it; empty where there is nothing to do."""
    details: tuple[str, ...] = ()
    """What else is worth knowing, a sentence each."""

    @property
    def mark(self) -> str:
        """Two characters for the margin."""
        return {"ok": "ok", "doubtful": "?!", "broken": "--"}[self.state]

    def lines(self) -> list[str]:
        """For people: the finding, its details, and last what to do."""
        more = [*self.details, *([self.advice] if self.advice else [])]
        return [f"[{self.mark}] {self.what:<10} {self.text}", *(" " * _INDENT + m for m in more)]

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return dataclasses.asdict(self)
