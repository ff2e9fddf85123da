"""What this process may use of its machine: in a container that is less than there is.

The files are those of Linux control groups, version 2 (and for the CPU version 1), described in the
kernel's `Documentation/admin-guide/cgroup-v2.rst`. A limit of a group holds for those inside it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import psutil

_GROUPS = Path("/sys/fs/cgroup")
_OWN = Path("/proc/self/cgroup")


def usable_cores(groups: Path = _GROUPS, own: Path = _OWN) -> float:
    """Cores that this process may keep busy; a container may have a part of one."""
    process = psutil.Process()
    affinity = process.cpu_affinity() if hasattr(process, "cpu_affinity") else None
    cores = float(len(affinity) if affinity else os.cpu_count() or 1)
    for folder in _folders(groups, own):
        quota, _, period = _read(folder / "cpu.max").partition(" ")
        if quota.isdigit() and period.strip().isdigit():
            cores = min(cores, int(quota) / int(period))
    quota, period = (_read(groups / f"cpu/cpu.cfs_{name}_us") for name in ("quota", "period"))
    if quota.isdigit() and period.isdigit() and int(quota) > 0:
        cores = min(cores, int(quota) / int(period))
    return max(cores, 0.1)


def free_memory_mib(groups: Path = _GROUPS, own: Path = _OWN) -> float:
    """Memory that this process could still get."""
    free = float(psutil.virtual_memory().available)
    for folder in _folders(groups, own):
        most, used = _read(folder / "memory.max"), _read(folder / "memory.current")
        if most.isdigit() and used.isdigit():
            free = min(free, int(most) - int(used) + _cached(folder))
    return max(free, 0.0) / 2**20


def _cached(folder: Path) -> int:
    """Bytes of files that the kernel drops when memory is wanted."""
    for line in _read(folder / "memory.stat").splitlines():
        name, _, value = line.partition(" ")
        if name == "inactive_file" and value.isdigit():
            return int(value)
    return 0


def _folders(groups: Path, own: Path) -> Iterator[Path]:
    """This process's group, and those around it."""
    path = next(
        (line[3:] for line in _read(own).splitlines() if line.startswith("0::/")),
        "/",
    )
    folder = groups / path.strip("/")
    while folder.is_relative_to(groups):
        yield folder
        folder = folder.parent


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""
