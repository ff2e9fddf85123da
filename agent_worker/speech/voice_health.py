"""Whether the voice of a call works at present, and when one that failed is tried again."""

from __future__ import annotations

import time
from collections.abc import Callable


class VoiceHealth:
    """Whether there is a voice at present. One for each call; decides, does no I/O.

    After a failure the engine is left alone for a while: a caller who waits for a time-out at each
    sentence would wait for nothing. Then the next phrase tries it again.
    """

    def __init__(
        self,
        *,
        retry_after_s: float = 5.0,
        on_change: Callable[[bool], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._retry_after_s = retry_after_s
        self._on_change = on_change
        self._clock = clock
        self._failed_at: float | None = None

    @property
    def worth_trying(self) -> bool:
        """The engine works, or has been left alone for long enough."""
        return self._failed_at is None or self._clock() - self._failed_at >= self._retry_after_s

    def failed(self) -> None:
        """The engine could not speak a phrase."""
        first, self._failed_at = self._failed_at is None, self._clock()
        if first:
            self._on_change(False)

    def worked(self) -> None:
        """The engine spoke a phrase."""
        if self._failed_at is not None:
            self._failed_at = None
            self._on_change(True)
