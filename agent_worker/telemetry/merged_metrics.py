"""The figures of several processes as one page for Prometheus."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

_Key = tuple[str, tuple[tuple[str, str], ...]]


def merge(pages: Iterable[str]) -> bytes:
    """Adds up what several pages in Prometheus's text format say.

    Counters, histograms and gauges of calls, memory and queues are sums; of times since the epoch
    the earliest stays. A process that was replaced begins at nought, as after any restart.
    """
    families: dict[str, Metric] = {}
    values: dict[str, dict[_Key, float]] = {}
    for page in pages:
        for family in text_string_to_metric_families(page):
            families.setdefault(family.name, family)
            sums = values.setdefault(family.name, {})
            for sample in family.samples:
                key = (sample.name, tuple(sorted(sample.labels.items())))
                if key not in sums:
                    sums[key] = sample.value
                elif sample.name.endswith(("_created", "_start_time_seconds", "_info")):
                    sums[key] = min(sums[key], sample.value)
                else:
                    sums[key] += sample.value
    registry = CollectorRegistry()
    registry.register(_Merged(families, values))
    return generate_latest(registry)


class _Merged(Collector):
    def __init__(self, families: dict[str, Metric], values: dict[str, dict[_Key, float]]) -> None:
        self._families = families
        self._values = values

    def collect(self) -> Iterable[Metric]:
        for name, family in self._families.items():
            merged = Metric(name, family.documentation, family.type)
            merged.samples = [
                Sample(sample, dict(labels), value)
                for (sample, labels), value in self._values[name].items()
            ]
            yield merged
