"""A stretch of a model's text that is not for the ear, up to what closes it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Self


@dataclass
class Hidden:
    """What has been hidden, and what ends it."""

    kind: str
    """`thought`, `call`, `hidden`, `header`, `channel` (a header that names one), `analysis`
    (harmony without its control tokens) or `fence` (code, or a call)."""
    closer: re.Pattern[str]
    tail: int
    """How many characters at the end may be the beginning of the closer."""
    opener: str = ""
    greedy: bool = False
    """Whether the closer may grow by what comes next."""
    text: list[str] = field(default_factory=list)

    @classmethod
    def until(cls, literal: str, kind: str, opener: str = "") -> Self:
        """One that a word ends, in whatever case."""
        closer = re.compile(re.escape(literal), re.IGNORECASE)
        return cls(kind, closer, len(literal) - 1, opener)

    def skip(self, held: str, *, last: bool) -> tuple[str, re.Match[str] | None]:
        """Hides text up to the closer.

        Args:
            held: What has come.
            last: No more will come.

        Returns:
            What is left of it, and the closer, or None where that has not come yet.
        """
        end = self.closer.search(held)
        if end is not None and (last or not self.greedy or end.end() < len(held)):
            self.text.append(held[: end.start()])
            return held[end.end() :], end
        # keep only what may be the beginning of the closer
        if last:
            keep = 0
        elif end is not None:
            keep = len(held) - end.start()
        elif self.greedy:
            keep = len(held) - len(held.rstrip("`"))
        else:
            keep = self.tail
        cut = max(0, len(held) - keep)
        self.text.append(held[:cut])
        return held[cut:], None
