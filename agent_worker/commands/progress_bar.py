"""A bar at the foot of a terminal, below the lines that go on; elsewhere a line now and then."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable
from typing import TextIO

_EVERY_S = 0.1
_SHARE = 0.1
_WIDTH = 24
_LONGEST_GUESS_S = 10 * 3600.0
"""More is no guess, but a connection that has brought next to nothing yet."""


class ProgressBar:
    """Draws on one stream. May be told from another thread than the one that prints."""

    def __init__(
        self,
        stream: TextIO,
        *,
        terminal: bool | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        Args:
            stream: that lines and bar go to.
            terminal: whether it is one; None = it says so itself.
            clock: seconds.
        """
        self._stream = stream
        self._terminal = stream.isatty() if terminal is None else terminal
        self._clock = clock
        self._lock = threading.Lock()
        self._drawn = ""
        self._drawn_at = -_EVERY_S
        self._share = 0.0
        self._began: tuple[float, int] | None = None

    def say(self, line: str) -> None:
        """Prints a line, above the bar where there is one."""
        with self._lock:
            self._wipe()
            self._stream.write(f"{line}\n")
            self._stream.write(self._drawn)
            self._stream.flush()

    def told(self, done: int, total: int, name: str) -> None:
        """Shows how far a download is, in bytes."""
        with self._lock:
            now = self._clock()
            if self._began is None:
                self._began = (now, done)
            share = min(1.0, done / total) if total else 1.0
            text = f"{name}: {done / 1e6:.0f} of {total / 1e6:.0f} MB"
            if self._terminal:
                if now - self._drawn_at < _EVERY_S and share < 1:
                    return
                self._drawn_at = now
                self._wipe()
                bar = f"[{'#' * int(share * _WIDTH):{_WIDTH}}] {text}{self._left(now, done, total)}"
                self._drawn = bar[: shutil.get_terminal_size().columns - 1]
                self._stream.write(self._drawn)
                if share == 1:
                    # it stays as a line
                    self._stream.write("\n")
                    self._drawn = ""
            elif share >= self._share + _SHARE or (share == 1 and self._share < 1):
                self._share = share
                self._stream.write(f"{text}\n")
            self._stream.flush()

    def close(self) -> None:
        """Takes the bar away. Safe to call twice."""
        with self._lock:
            self._wipe()
            self._drawn = ""
            self._stream.flush()

    def _left(self, now: float, done: int, total: int) -> str:
        began_at, had = self._began or (now, done)
        if done <= had or now <= began_at:
            return ""
        seconds = (total - done) * (now - began_at) / (done - had)
        if seconds > _LONGEST_GUESS_S:
            return ""
        return f", {seconds / 60:.0f} min left" if seconds >= 90 else f", {seconds:.0f} s left"

    def _wipe(self) -> None:
        if self._drawn:
            self._stream.write("\r\x1b[K")
