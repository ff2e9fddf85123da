"""Reads what `headroom` decides on: CPU, memory, and what waits for whom."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

import psutil
from livekit.agents import Plugin

from agent_worker.machine_limits import free_memory_mib, usable_cores
from agent_worker.process_family import cpu_s, of_family

from .headroom import Headroom, Load

logger = logging.getLogger(__name__)

_MEAN_OVER_S = 5.0
_LOOK_S = 1.0
"""Between two looks at the CPU, which walk over the machine's processes."""
_BEAT_S = 0.1


@runtime_checkable
class _Recogniser(Protocol):
    """A plugin whose engines serve all calls, from a queue."""

    def recent_final_wait_s(self) -> float: ...


class MeasuredLoad:
    """Looks at a family of processes and at this one's interpreter, each in a thread of its own.

    A look at the processes reads hundreds of small files and gives up the interpreter at each.
    Where that is what everybody waits for, it takes most of a minute, and must not keep the wait
    itself from being noticed.

    Args:
        root: its process id; its children belong to it.
        cores: that they may use together.
    """

    def __init__(self, root: int, *, cores: float) -> None:
        self._root = root
        self._cores = cores
        self._lock = threading.Lock()
        self._waits: deque[float] = deque(maxlen=round(_MEAN_OVER_S / _BEAT_S))
        self._used: deque[tuple[float, float]] = deque()
        self._seen: tuple[float, dict[int, float]] | None = None
        self._started = False

    def start(self) -> None:
        """Begins to look; the threads end with the process."""
        if not self._started:
            self._started = True
            for work, name in ((self._beat, "measured-wait"), (self._watch_cpu, "measured-cpu")):
                threading.Thread(target=work, name=name, daemon=True).start()

    def read(self) -> Load | None:
        """What it was over the last seconds; None before there is anything to say."""
        with self._lock:
            seconds = sum(seconds for seconds, _ in self._used)
            used_s = sum(used for _, used in self._used)
            waits = list(self._waits)
        if not seconds or not waits:
            return None
        return Load(
            cpu=used_s / seconds / self._cores,
            free_memory_mib=free_memory_mib(),
            final_wait_s=_final_wait_s(),
            interpreter_wait_s=sum(waits) / len(waits),
        )

    def _beat(self) -> None:
        while True:
            due = time.monotonic() + _BEAT_S
            time.sleep(_BEAT_S)
            late_s = max(time.monotonic() - due, 0.0)
            with self._lock:
                self._waits.append(late_s)

    def _watch_cpu(self) -> None:
        while True:
            try:
                self._look()
            except psutil.Error as e:
                logger.debug("the CPU can't be read", extra={"cause": type(e).__name__})
            time.sleep(_LOOK_S)

    def _look(self) -> None:
        now, times = time.monotonic(), cpu_times(self._root)
        if self._seen is not None:
            before_at, before = self._seen
            with self._lock:
                self._used.append((now - before_at, used_between(before, times)))
                while len(self._used) * _LOOK_S > _MEAN_OVER_S:
                    self._used.popleft()
        self._seen = now, times


def cpu_times(root: int) -> dict[int, float]:
    """CPU seconds so far of a process and those under it, by process id."""
    return of_family(root, cpu_s)


def used_between(before: Mapping[int, float], after: Mapping[int, float]) -> float:
    """CPU seconds between two looks; what a process used that has ended since is not known."""
    return sum(max(spent - before.get(pid, 0.0), 0.0) for pid, spent in after.items())


def _final_wait_s() -> float:
    waits = [0.0]
    for plugin in list(Plugin.registered_plugins):
        module = sys.modules.get(plugin.package)
        if isinstance(module, _Recogniser):
            waits.append(module.recent_final_wait_s())
    return max(waits)


class RoomForCalls:
    """How full this worker is, for LiveKit, which asks before each call and twice a second.

    Args:
        most_calls: at once.
        busy_at_cpu: see `Headroom`.
        family: process whose children share the machine with this one, itself among them.
    """

    def __init__(self, *, most_calls: int, busy_at_cpu: float, family: int) -> None:
        cores = usable_cores()
        self._headroom = Headroom(most_calls=most_calls, busy_at_cpu=busy_at_cpu, cores=cores)
        self._measured = MeasuredLoad(family, cores=cores) if busy_at_cpu else None
        self._lock = threading.Lock()

    def load(self, calls: Sequence[str]) -> float:
        """From 0 to 1 = it takes nobody; from any thread."""
        measured = None
        if self._measured is not None:
            self._measured.start()
            measured = self._measured.read()
        with self._lock:
            before = self._headroom.short_of
            load = min(self._headroom.load(calls, measured), 1.0)
            short_of = self._headroom.short_of
        if short_of != before:
            logger.info(
                "no room for further calls" if short_of else "room for calls again",
                extra={"short_of": short_of, "calls": len(calls)},
            )
        return load
