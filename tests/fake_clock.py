"""A clock that only the test moves."""

from __future__ import annotations


class Clock:
    """Time that moves when told."""

    def __init__(self, now_s: float = 1000.0) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s
