"""What an engine has done so far."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field

RECENT_S = 10.0
"""What `EngineStatistics.recent_final_wait_s` looks back over."""


@dataclass(frozen=True, slots=True)
class EngineStatistics:
    """What an engine has done so far. Times are seconds, and means are over its whole life."""

    loaded: bool
    depth: int
    """Requests waiting now."""
    requests: int
    batches: int
    mean_batch_size: float
    mean_wait_s: float
    """From the request until its batch starts."""
    max_final_wait_s: float
    recent_final_wait_s: float
    """Mean over the last `RECENT_S`, of those that still wait too: how far behind it is now."""
    busy_s: float
    """Wall time spent in the model."""
    partials_dropped: int
    cancelled: int
    failures: int


@dataclass(slots=True)
class Counts:
    """An engine's running counts."""

    requests: int = 0
    batches: int = 0
    batched: int = 0
    waited_s: float = 0.0
    max_final_wait_s: float = 0.0
    final_waits: deque[tuple[float, float]] = field(default_factory=deque)
    """When a final's batch began, and how long it had waited; of the last `RECENT_S`."""
    busy_s: float = 0.0
    partials_dropped: int = 0
    cancelled: int = 0
    failures: int = 0
    recent_streams: dict[Hashable, float] = field(default_factory=dict)

    def final_waited(self, waited_s: float, now: float) -> None:
        """Counts a final whose batch begins."""
        self.max_final_wait_s = max(self.max_final_wait_s, waited_s)
        self.final_waits.append((now, waited_s))
        self._forget_old(now)

    def recent_final_wait_s(self, waiting_since: Iterable[float], now: float) -> float:
        """Mean wait of the finals of the last `RECENT_S`, and of those that still wait.

        Args:
            waiting_since: When each of the latter was queued.
            now: Of the same clock.
        """
        self._forget_old(now)
        waits = [waited for _, waited in self.final_waits] + [now - at for at in waiting_since]
        return sum(waits) / len(waits) if waits else 0.0

    def _forget_old(self, now: float) -> None:
        while self.final_waits and now - self.final_waits[0][0] > RECENT_S:
            self.final_waits.popleft()

    def summary(
        self, *, loaded: bool, depth: int, recent_final_wait_s: float = 0.0
    ) -> EngineStatistics:
        """Returns the figures for others."""
        return EngineStatistics(
            loaded=loaded,
            depth=depth,
            requests=self.requests,
            batches=self.batches,
            mean_batch_size=self.batched / self.batches if self.batches else 0.0,
            mean_wait_s=self.waited_s / self.batched if self.batched else 0.0,
            max_final_wait_s=self.max_final_wait_s,
            recent_final_wait_s=recent_final_wait_s,
            busy_s=self.busy_s,
            partials_dropped=self.partials_dropped,
            cancelled=self.cancelled,
            failures=self.failures,
        )
