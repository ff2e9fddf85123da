"""When a process that failed may be started again."""

from __future__ import annotations

import time
from collections.abc import Callable

FIRST_DELAY_S = 0.5
MAX_DELAY_S = 30.0


class RestartDelay:
    """At once after the first failure, then after 0.5 s, 1 s, 2 s and so on, up to 30 s.

    Args:
        clock: Seconds, of any beginning.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures = 0
        self._failed_at = 0.0

    def failed(self) -> None:
        """The process could not start, crashed, or hung."""
        self._failures += 1
        self._failed_at = self._clock()

    def succeeded(self) -> None:
        """The process did a job: it is well."""
        self._failures = 0

    def remaining_s(self) -> float:
        """Seconds until it may be started."""
        if self._failures < 2:
            return 0.0
        delay = min(MAX_DELAY_S, FIRST_DELAY_S * 2.0 ** (self._failures - 2))
        return max(0.0, self._failed_at + delay - self._clock())
