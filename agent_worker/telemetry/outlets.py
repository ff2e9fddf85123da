"""Where the figures of a process's calls go: Prometheus, a file, an OpenTelemetry collector.

Nothing of it leaves the machine unless a collector elsewhere is named, and none of it holds a word
that was said.
"""

from __future__ import annotations

import json
from typing import Self

from agent_worker.settings import Settings, SettingsError

from .cost import CallSummary
from .latency import TurnRecord
from .metrics import Metrics, process_metrics
from .spans import TurnSpans
from .turn_log import TurnLog


class Telemetry:
    """One for each process; its methods are safe from any thread and never wait."""

    def __init__(
        self,
        *,
        metrics: Metrics | None = None,
        turn_log: TurnLog | None = None,
        spans: TurnSpans | None = None,
    ) -> None:
        self.metrics = metrics or process_metrics()
        self._turn_log = turn_log
        self._spans = spans

    @classmethod
    def of(cls, settings: Settings) -> Telemetry:
        """What these settings ask for; close it at the end of the process.

        Raises:
            SettingsError: the turns' log can't be written.
        """
        turn_log = None
        if settings.turn_log is not None:
            try:
                turn_log = TurnLog(settings.turn_log)
            except OSError as e:
                raise SettingsError(
                    f"turn_log: {settings.turn_log} can't be written ({e.strerror})"
                ) from e
        endpoint = settings.otel_endpoint
        spans = None if endpoint is None else TurnSpans.over_http(endpoint)
        return cls(turn_log=turn_log, spans=spans)

    def turn_ended(self, call_id: str, record: TurnRecord) -> None:
        """Takes a turn whose record is complete."""
        if not record.typed:
            # what is written is not waited for: it would make the figures of speech look better
            self.metrics.turn_ended(record)
        if self._turn_log is not None:
            self._turn_log.write(json.dumps({"call": call_id, **record.to_dict()}))
        if self._spans is not None and not record.typed:
            self._spans.turn_ended(call_id, record)

    def call_ended(self, call_id: str, summary: CallSummary) -> None:
        """Takes a call that is over, after its last turn."""
        if self._turn_log is not None:
            self._turn_log.write(json.dumps({"call": call_id, **summary.to_dict()}))

    def close(self) -> None:
        """Writes and sends what waits; blocks for some seconds at most. Safe to call twice."""
        if self._turn_log is not None:
            self._turn_log.close()
        if self._spans is not None:
            self._spans.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
