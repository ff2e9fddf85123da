"""What was sent, what came back, and what it did to others."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import os
import statistics
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

MAX_FAULTS = 40
"""Of one kind there may be thousands."""


@dataclass
class Beside:
    """A well-behaved caller, who talks before the attack and during it."""

    of: str
    quiet_s: list[float] = field(default_factory=list)
    """Delays of its answers before the attack."""
    delays_s: list[float] = field(default_factory=list)
    """The same during the attack."""
    attacked: bool = False

    def answered(self, delay_s: float) -> None:
        """It got a whole answer."""
        (self.delays_s if self.attacked else self.quiet_s).append(delay_s)

    def summary(self) -> str:
        """For people."""

        def figures(delays_s: list[float]) -> str:
            if not delays_s:
                return "no answers"
            middle, most = statistics.median(delays_s), max(delays_s)
            return (
                f"{len(delays_s)} whole answers, {middle * 1000:.0f} ms, at most {most * 1000:.0f}"
            )

        return f"{figures(self.delays_s)} (before: {figures(self.quiet_s)})"


@dataclass
class Report:
    """The outcome of an attack."""

    sent: int = 0
    seconds: float = 0.0
    answers: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    beside: list[Beside] = field(default_factory=list)
    tasks_left: int = 0
    megabytes_kept: float = 0.0
    stall_s: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether nobody was harmed."""
        return not self.faults

    def fault(self, text: str) -> None:
        """Something that must not be."""
        if len(self.faults) < MAX_FAULTS:
            self.faults.append(text[:300])

    def refused(self, what: str, status: int, body: bytes, message: str) -> None:
        """An HTTP answer to something hostile: a 4xx with words, or a fault."""
        self.answers[f"{what}: {status}"] += 1
        if not 400 <= status < 500 or not message:
            self.fault(f"{what}: {status} {body[:120]!r}")


@asynccontextmanager
async def stalls_measured(report: Report) -> AsyncIterator[None]:
    """Notes how long the event loop, which all callers share, was held up at most."""

    async def watch() -> None:
        while True:
            before = time.monotonic()
            await asyncio.sleep(0.01)
            report.stall_s = max(report.stall_s, time.monotonic() - before - 0.01)

    watching = asyncio.create_task(watch())
    try:
        yield
    finally:
        watching.cancel()
        await asyncio.wait([watching])


def resident_mb() -> float:
    """Memory of this process that is in use."""
    gc.collect()
    # What was freed goes back to the system first, or it would hide what was not.
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
