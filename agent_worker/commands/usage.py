"""CPU and memory of a measured set-up, by kind of process."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import psutil

from agent_worker.process_family import cpu_s, of_family

from .worker_process import RunError

KINDS = ("worker", "call processes", "engine processes", "server", "callers")


@dataclass
class Usage:
    """What processes have used so far."""

    cpu_s: float = 0.0
    rss_mib: float = 0.0
    processes: int = 0


@dataclass
class Look:
    """All of them at one moment."""

    kinds: dict[str, Usage] = field(default_factory=lambda: {kind: Usage() for kind in KINDS})

    @property
    def worker(self) -> Usage:
        """The worker with its call and engine processes."""
        own = [self.kinds[kind] for kind in KINDS[:3]]
        return Usage(sum(u.cpu_s for u in own), sum(u.rss_mib for u in own), len(own))


def look(worker: int, *, server: int | None = None, callers: Sequence[int] = ()) -> Look:
    """Looks at a worker, its children, and the processes around it.

    Raises:
        RunError: the worker is gone.
    """
    seen = Look()
    try:
        of_family(worker, lambda member: _add(seen.kinds[_kind(worker, member)], member))
        if psutil.Process(worker).status() == psutil.STATUS_ZOMBIE:
            raise RunError("the worker is gone")
    except psutil.NoSuchProcess:
        raise RunError("the worker is gone") from None
    for kind, pids in (("server", [server] if server else []), ("callers", callers)):
        for pid in pids:
            with suppress(psutil.NoSuchProcess):
                _add(seen.kinds[kind], psutil.Process(pid))
    return seen


def _kind(worker: int, process: psutil.Process) -> str:
    if process.pid == worker:
        return "worker"
    command = process.cmdline()
    if "call-process" in command:
        return "call processes"
    if any("engine_process" in part for part in command):
        return "engine processes"
    return "worker"


def _add(usage: Usage, process: psutil.Process) -> None:
    with process.oneshot():
        usage.cpu_s += cpu_s(process)
        usage.rss_mib += process.memory_info().rss / 2**20
        usage.processes += 1
