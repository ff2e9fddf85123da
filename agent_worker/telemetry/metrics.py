"""This worker's figures for Prometheus, beside LiveKit's own on the same page."""

from __future__ import annotations

import functools
import sys
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from typing import Protocol, runtime_checkable

from livekit.agents import Plugin
from livekit.agents.telemetry import http_server
from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from .latency import TurnRecord

BUCKETS_S = (0.025, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0)
"""Finest where a caller begins to feel the wait."""


class Metrics:
    """What is counted. Safe from any thread: calls run in threads of one process."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        """
        Args:
            registry: where they are found; LiveKit's endpoint serves the default one.
        """
        self.calls = Gauge(
            "agent_worker_calls",
            "Calls under way: rooms, or sessions of the WebSocket gateway.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self._stages = Histogram(
            "agent_worker_turn_stage_seconds",
            "From the end of the caller's speech to each stage of the turn.",
            ["stage"],
            buckets=BUCKETS_S,
            registry=registry,
        )
        self._end_to_end = Histogram(
            "agent_worker_turn_end_to_end_seconds",
            "From the end of the caller's speech to the first audio that left the worker.",
            buckets=BUCKETS_S,
            registry=registry,
        )
        self._turns = Counter(
            "agent_worker_turns", "Turns of callers that were taken.", registry=registry
        )
        self._unanswered = Counter(
            "agent_worker_unanswered_turns",
            "Turns that got no voice: the caller went on at once, or the answer was empty.",
            registry=registry,
        )
        self._interruptions = Counter(
            "agent_worker_interruptions", "Answers that the caller cut off.", registry=registry
        )
        self._false_interruptions = Counter(
            "agent_worker_false_interruptions",
            "Times that the agent's voice was held for a sound over it, and went on.",
            registry=registry,
        )
        self._backchannels = Counter(
            "agent_worker_backchannels_ignored",
            "Words said over the agent that were no turn.",
            registry=registry,
        )
        self._failures = Counter(
            "agent_worker_failures",
            "Failures of a stage; after a recoverable one it tries again by itself.",
            ["stage", "recoverable"],
            registry=registry,
        )
        registry.register(QueueDepths())

    def turn_ended(self, record: TurnRecord) -> None:
        """Counts a turn whose record is complete."""
        self._turns.inc()
        for stage, milliseconds in record.stages_ms.items():
            # what was done before the end of speech cost the caller nothing
            self._stages.labels(stage).observe(max(milliseconds, 0.0) / 1000)
        if record.end_to_end_ms is None:
            self._unanswered.inc()
        else:
            self._end_to_end.observe(record.end_to_end_ms / 1000)
        if record.interrupted_at is not None:
            self._interruptions.inc()

    def overlap_ignored(self, *, had_words: bool, was_held: bool) -> None:
        """Counts something said over the agent that did not stop it.

        Args:
            had_words: it was more than a sound, and not the agent's own echo.
            was_held: the agent's voice waited for it.
        """
        if had_words:
            self._backchannels.inc()
        if was_held:
            self._false_interruptions.inc()

    def failed(self, stage: str, *, recoverable: bool) -> None:
        """Counts a failure of ``stt``, ``llm``, ``tts`` or ``other``."""
        self._failures.labels(stage, str(recoverable).lower()).inc()


@functools.cache
def process_metrics() -> Metrics:
    """The metrics of this process, in Prometheus's default registry."""
    return Metrics()


@runtime_checkable
class _QueueingPlugin(Protocol):
    """A plugin whose engines serve all calls of the process, from a queue."""

    def queue_depths(self) -> dict[str, int]: ...


class QueueDepths(Collector):
    """How much waits for the shared engines, read when the page is asked for.

    Any plugin with a public function ``queue_depths()`` takes part; none is imported for it.
    """

    def describe(self) -> Iterable[Metric]:
        """The family without a value, so that registering it asks no engine."""
        return [self._family()]

    def collect(self) -> Iterator[Metric]:
        """The depths of this moment."""
        family = self._family()
        for plugin in list(Plugin.registered_plugins):
            module = sys.modules.get(plugin.package)
            if isinstance(module, _QueueingPlugin):
                stage = "stt" if hasattr(module, "STT") else "tts"
                for engine, depth in module.queue_depths().items():
                    family.add_metric([stage, engine], depth)
        yield family

    @staticmethod
    def _family() -> GaugeMetricFamily:
        return GaugeMetricFamily(
            "agent_worker_engine_queue_depth",
            "Requests that wait for an engine which all calls share.",
            labels=["stage", "engine"],
        )


@asynccontextmanager
async def serve_metrics(host: str, port: int) -> AsyncIterator[str]:
    """Serves ``/metrics`` until the context ends, as LiveKit does for a worker. Gives its address.

    Raises:
        OSError: the port is taken.
    """
    server = http_server.HttpServer(host, port)
    try:
        await server.start()
        yield f"http://{host}:{server.port}/metrics"
    finally:
        await server.aclose()
