"""A process with all that it started: what is read of each of them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

import psutil

T = TypeVar("T")


def of_family(root: int, read: Callable[[psutil.Process], T]) -> dict[int, T]:
    """What `read` says of a process and of those under it, by process id.

    One of them may end while it is asked; it is left out.

    Raises:
        psutil.NoSuchProcess: The root is gone.
    """
    process = psutil.Process(root)
    found = {}
    for member in [process, *process.children(recursive=True)]:
        with suppress(psutil.NoSuchProcess):
            found[member.pid] = read(member)
    return found


def cpu_s(process: psutil.Process) -> float:
    """CPU seconds that a process has used so far."""
    times = process.cpu_times()
    return float(times.user + times.system)
