"""Every file of the packages that we ship, for the tests that look at how our code is written."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
_PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PACKAGES = tuple(_PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"])
"""Folders, as the wheel is made of them; that of the plugins lies in LiveKit's namespace."""


def files() -> Iterator[Path]:
    """The Python files, package by package."""
    for package in PACKAGES:
        yield from sorted((ROOT / package).rglob("*.py"))


def dotted(path: Path) -> str:
    """The name under which a file is imported, a package's own with `__init__`."""
    inside = path.relative_to(ROOT / "plugins" if "plugins" in path.parts else ROOT)
    return ".".join(inside.with_suffix("").parts)
