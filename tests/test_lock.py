"""What is locked can be installed where we say so, without a compiler."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lock_platforms import (
    LOCK,
    PLATFORMS,
    PROJECT,
    PYTHONS,
    Platform,
    lacking,
    locked_packages,
)

FROM_SOURCE = {"docopt"}
"""No wheel at all, and no extension either: any machine builds it."""

GAPS = {"macOS x86_64": {"onnxruntime", "cryptography"}}
"""Both have stopped building for Intel Macs."""


def _extras() -> list[str]:
    packages = locked_packages(LOCK)
    (project,) = (p for p in packages if p["name"] == PROJECT)
    # torch and its own needs are looked at by nobody here: six gigabytes, and up to Python 3.12
    return sorted(set(project["optional-dependencies"]) - {"xtts"})


@pytest.mark.parametrize("platform", PLATFORMS, ids=lambda p: p.name)
def test_everything_that_a_platform_needs_has_a_wheel_for_it(platform: Platform) -> None:
    for python in PYTHONS:
        missing = set(lacking(platform, python, _extras())) - FROM_SOURCE
        assert missing == GAPS.get(platform.name, set()), python


def test_what_is_built_from_source_everywhere_has_no_wheel_for_anybody() -> None:
    packages = locked_packages(LOCK)
    assert {p["name"] for p in packages if p["name"] in FROM_SOURCE and p.get("wheels")} == set()


def test_a_wheel_for_other_machines_is_no_wheel_for_this_one(tmp_path: Path) -> None:
    lock = tmp_path / "uv.lock"
    lock.write_text(
        f"""
[[package]]
name = "{PROJECT}"
version = "1"
dependencies = [
    {{ name = "native" }},
    {{ name = "winonly", marker = "sys_platform == 'win32'" }},
]
[package.optional-dependencies]
more = [{{ name = "pure" }}]
[[package]]
name = "native"
version = "2"
wheels = [{{ url = "https://x/native-2-cp312-cp312-manylinux_2_28_x86_64.whl" }}]
[[package]]
name = "winonly"
version = "3"
[[package]]
name = "pure"
version = "4"
dependencies = [{{ name = "sourceonly" }}]
wheels = [{{ url = "https://x/pure-4-py3-none-any.whl" }}]
[[package]]
name = "sourceonly"
version = "5"
"""
    )
    by_name = {platform.name: platform for platform in PLATFORMS}
    linux = by_name["Linux x86_64"]
    assert lacking(linux, (3, 12), (), lock=lock) == []
    assert lacking(linux, (3, 11), (), lock=lock) == ["native"]
    assert lacking(linux, (3, 12), ("more",), lock=lock) == ["sourceonly"]
    assert lacking(by_name["Linux aarch64"], (3, 12), (), lock=lock) == ["native"]
    assert lacking(by_name["Windows AMD64"], (3, 12), (), lock=lock) == ["native", "winonly"]
