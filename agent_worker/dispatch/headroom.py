"""Is there room for another call? The decision, without I/O.

A number of calls alone is a guess about the machine. What is measured is what callers feel: the
worker's share of its cores, memory, how long finals wait for the recogniser, and how long a thread
waits for the interpreter (on 16 cores one process answered nobody at 24 calls, and used under three
of them). A worker without a call has room whatever is measured.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Collection

FINAL_WAIT_S = 0.25
"""Mean wait of finals from which nobody more is taken: half of what an idle turn takes."""
INTERPRETER_WAIT_S = 0.05
"""Likewise of a thread for its turn: some ten threads that never rest, and a turn waits often."""
LEAST_MEMORY_MIB = 256.0
"""That must be free. A call takes 10 to 30."""
_REOPENS_AT = 0.85
"""Share of a limit under which a worker that was full takes calls again: not with each sample."""
_SETTLES_S = 5.0
"""Until a new call's cost is in the means."""
_CALL_CORES = 0.19
"""What it is taken to cost until then: four calls took three quarters of a core (2 cores, bundled
Whisper, offline flow)."""


@dataclasses.dataclass(frozen=True)
class Load:
    """What the worker uses, and how far behind it is. Means over the last seconds."""

    cpu: float
    """Share of the cores that it may use; 1 = all of them."""
    free_memory_mib: float
    final_wait_s: float = 0.0
    interpreter_wait_s: float = 0.0


class Headroom:
    """Remembers when calls came, and whether the worker was full; for one thread at a time.

    Args:
        most_calls: at once, whatever is measured.
        busy_at_cpu: share of the cores from which nobody more is taken; 0 = only the number of
            calls counts.
        cores: that the worker may use.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        *,
        most_calls: int,
        busy_at_cpu: float,
        cores: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._most_calls = most_calls
        self._busy_at_cpu = busy_at_cpu
        self._call_cpu = _CALL_CORES / max(cores, 0.1)
        self._clock = clock
        self._since: dict[str, float] = {}
        self.short_of: str | None = None
        """What there is too little of: calls, cpu, memory, recogniser or interpreter."""

    def load(self, calls: Collection[str], measured: Load | None) -> float:
        """How full the worker is: 1.0 = it takes nobody.

        Args:
            calls: ids of those whose caller is there.
            measured: None where nothing could be measured yet.
        """
        now = self._clock()
        self._since = {call: self._since.get(call, now) for call in calls}
        by_number = len(calls) / self._most_calls
        if by_number >= 1.0:
            self.short_of = "calls"
        elif not calls or not self._busy_at_cpu or measured is None:
            self.short_of = None
        else:
            self.short_of = self._short_of(measured, now)
        return by_number if self.short_of is None else 1.0

    def _short_of(self, measured: Load, now: float) -> str | None:
        # a call that is a moment old is felt later, and a burst of them would all find room
        unfelt = sum(max(1.0 - (now - at) / _SETTLES_S, 0.0) for at in self._since.values())
        limits = {
            "memory": LEAST_MEMORY_MIB / max(measured.free_memory_mib, 1.0),
            "cpu": (measured.cpu + unfelt * self._call_cpu) / self._busy_at_cpu,
            "recogniser": measured.final_wait_s / FINAL_WAIT_S,
            "interpreter": measured.interpreter_wait_s / INTERPRETER_WAIT_S,
        }
        full_at = 1.0 if self.short_of in (None, "calls") else _REOPENS_AT
        worst = max(limits, key=lambda what: limits[what])
        return worst if limits[worst] >= full_at else None
