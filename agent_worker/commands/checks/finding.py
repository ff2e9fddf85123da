"""What a check has found."""

from __future__ import annotations

import dataclasses
from typing import Literal

State = Literal["ok", "doubtful", "broken"]


@dataclasses.dataclass(frozen=True)
class Finding:
    """One line of the report."""

    what: str
    """One word for the part that was tried."""
    state: State
    """broken: a call would fail; doubtful: it would not be what it could be."""
    text: str
    advice: str = ""
    """What to do about it; empty where there is nothing to do."""

    @property
    def mark(self) -> str:
        """Two characters for the margin."""
        return {"ok": "ok", "doubtful": "?!", "broken": "--"}[self.state]
