"""What an engine has done so far."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field


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
    busy_s: float = 0.0
    partials_dropped: int = 0
    cancelled: int = 0
    failures: int = 0
    recent_streams: dict[Hashable, float] = field(default_factory=dict)

    def summary(self, *, loaded: bool, depth: int) -> EngineStatistics:
        """Returns the figures for others."""
        return EngineStatistics(
            loaded=loaded,
            depth=depth,
            requests=self.requests,
            batches=self.batches,
            mean_batch_size=self.batched / self.batches if self.batches else 0.0,
            mean_wait_s=self.waited_s / self.batched if self.batched else 0.0,
            max_final_wait_s=self.max_final_wait_s,
            busy_s=self.busy_s,
            partials_dropped=self.partials_dropped,
            cancelled=self.cancelled,
            failures=self.failures,
        )
