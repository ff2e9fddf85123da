"""Where the lock can be installed without a compiler: ``python -m tests.lock_platforms`` tells.

Reads ``uv.lock`` and installs nothing: what a platform requires is followed through the markers,
and for each package one of its wheels has to fit.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from packaging.markers import Marker
from packaging.tags import Tag, compatible_tags, cpython_tags, mac_platforms
from packaging.utils import parse_wheel_filename

LOCK = Path(__file__).parent.parent / "uv.lock"
PROJECT = "livekit-agent-worker"
PYTHONS = ((3, 11), (3, 12), (3, 13))

_OLDEST_GLIBC, _GLIBC = 5, 36
"""The second number; 2.36 is Debian 12's."""
_MACOS = (14, 0)


@dataclass(frozen=True)
class Platform:
    """An operating system on a kind of processor."""

    name: str
    system: str
    """As `platform.system()` says it."""
    machine: str
    sys_platform: str
    wheel_platforms: tuple[str, ...]

    def environment(self, python: tuple[int, int]) -> dict[str, str]:
        """What markers are evaluated against."""
        version = f"{python[0]}.{python[1]}"
        return {
            "implementation_name": "cpython",
            "platform_python_implementation": "CPython",
            "os_name": "nt" if self.system == "Windows" else "posix",
            "platform_machine": self.machine,
            "platform_system": self.system,
            "sys_platform": self.sys_platform,
            "python_version": version,
            "python_full_version": f"{version}.9",
            "implementation_version": f"{version}.9",
            "platform_release": "",
            "platform_version": "",
        }

    def tags(self, python: tuple[int, int]) -> frozenset[Tag]:
        """Of the wheels that can be installed."""
        platforms = self.wheel_platforms
        return frozenset(
            [*cpython_tags(python, platforms=platforms), *compatible_tags(python, None, platforms)]
        )


def _linux(machine: str) -> Platform:
    modern = [f"manylinux_2_{n}_{machine}" for n in range(_GLIBC, _OLDEST_GLIBC - 1, -1)]
    old = [
        f"{name}_{machine}" for name in ("manylinux2014", "manylinux2010", "manylinux1", "linux")
    ]
    return Platform(f"Linux {machine}", "Linux", machine, "linux", (*modern, *old))


def _macos(machine: str) -> Platform:
    wheels = tuple(mac_platforms(_MACOS, machine))
    return Platform(f"macOS {machine}", "Darwin", machine, "darwin", wheels)


PLATFORMS = (
    _linux("x86_64"),
    _linux("aarch64"),
    _macos("arm64"),
    _macos("x86_64"),
    Platform("Windows AMD64", "Windows", "AMD64", "win32", ("win_amd64",)),
)


@cache
def locked_packages(lock: Path) -> list[dict[str, Any]]:
    """The lock's packages."""
    packages: list[dict[str, Any]] = tomllib.loads(lock.read_text(encoding="utf-8"))["package"]
    return packages


def lacking(
    platform: Platform, python: tuple[int, int], extras: Sequence[str], *, lock: Path = LOCK
) -> list[str]:
    """Names of the required packages of which no wheel fits."""
    packages = locked_packages(lock)
    tags = platform.tags(python)
    required = _required(packages, platform.environment(python), extras)
    return sorted({p["name"] for p in required if not _fits(p, tags)})


def _required(
    packages: Iterable[dict[str, Any]], environment: dict[str, str], extras: Sequence[str]
) -> Iterator[dict[str, Any]]:
    by_name: dict[str, list[dict[str, Any]]] = {}
    for package in packages:
        by_name.setdefault(package["name"], []).append(package)
    (project,) = by_name[PROJECT]
    waiting = [(project, extra) for extra in (None, *extras)]
    seen: set[tuple[str, str, str | None]] = set()
    while waiting:
        package, extra = waiting.pop()
        key = (package["name"], package["version"], extra)
        if key in seen:
            continue
        seen.add(key)
        if extra is None and package is not project:
            yield package
        wanted = (
            package.get("dependencies", [])
            if extra is None
            else package.get("optional-dependencies", {}).get(extra, [])
        )
        for dependency in wanted:
            marker = dependency.get("marker")
            if marker is not None and not Marker(marker).evaluate(environment):
                continue
            for found in by_name[dependency["name"]]:
                if dependency.get("version") in (None, found["version"]):
                    waiting += [(found, None), *((found, e) for e in dependency.get("extra", []))]


def _fits(package: dict[str, Any], tags: frozenset[Tag]) -> bool:
    names = [wheel["url"].rpartition("/")[2] for wheel in package.get("wheels", [])]
    return any(tags & parse_wheel_filename(name)[3] for name in names)


def main() -> None:
    for extras in ((), ("espeak",), ("espeak", "piper")):
        for platform in PLATFORMS:
            for python in PYTHONS:
                missing = ", ".join(lacking(platform, python, extras)) or "everything has a wheel"
                what = f"[{','.join(extras)}]" if extras else ""
                print(f"{what:<16}{platform.name:<16}{python[0]}.{python[1]:<4}{missing}")


if __name__ == "__main__":
    main()
