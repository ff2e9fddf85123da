"""The figures of several processes as one page for Prometheus."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

_Key = tuple[str, tuple[tuple[str, str], ...]]


class Figures:
    """What several processes have counted, though some end and begin again at nought.

    A count that falls looks to Prometheus like a restart of the whole worker. So the last page of a
    process is kept: while it does not answer, and once it has ended what it counted.
    """

    def __init__(self) -> None:
        self._last: dict[int, str] = {}
        self._ended: dict[int, str] = {}

    def page(self, answers: Mapping[int, str | None]) -> bytes:
        """One page of all.

        Args:
            answers: of each process, by its place; None = it did not answer.
        """
        self._last.update({place: page for place, page in answers.items() if page})
        return merge([*self._last.values(), *self._ended.values()])

    def ended(self, place: int) -> None:
        """The process at a place has ended; another one may follow."""
        last = self._last.pop(place, None)
        if last is not None:
            before = self._ended.get(place)
            pages = [last] if before is None else [last, before]
            self._ended[place] = merge(pages, only=_COUNTS).decode()


_COUNTS = frozenset({"counter", "histogram", "summary"})


def merge(pages: Iterable[str], *, only: frozenset[str] | None = None) -> bytes:
    """Adds up what several pages in Prometheus's text format say.

    Counters, histograms and gauges of calls, memory and queues are sums; of times since the epoch
    the earliest stays.

    Args:
        pages: of the processes.
        only: types of figures; None = all.
    """
    families: dict[str, Metric] = {}
    values: dict[str, dict[_Key, float]] = {}
    for page in pages:
        for family in text_string_to_metric_families(page):
            if only is not None and family.type not in only:
                continue
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
