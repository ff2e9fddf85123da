"""Everything is run in two processes: which tests run beside which."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from . import side_by_side

HERE = Path(__file__).parent
REAL = re.compile(r"\blivekit_server\b|\bworker_pid\b|\bSimulatedCaller\(")
"""What only tests with calls in real time have to do with."""

MOST_YIELDING = 19
"""The system's limit."""
NAMED = [
    *((HERE / f"{name}.py") for name in side_by_side.REAL_TIME | side_by_side.COMPUTE),
    *((HERE / "integration" / f"{name}.py") for name in side_by_side.PATIENT),
]


@pytest.mark.parametrize("module", sorted(HERE.glob("test_*.py")), ids=lambda path: path.stem)
def test_whoever_calls_in_real_time_shares_a_process_with_the_others(module: Path) -> None:
    calls = module != Path(__file__) and REAL.search(module.read_text(encoding="utf-8"))
    if calls:
        assert side_by_side.in_real_time(f"tests/{module.name}::test_one")


@pytest.mark.parametrize("module", sorted(NAMED), ids=lambda path: path.stem)
def test_a_module_that_is_named_is_there(module: Path) -> None:
    assert module.is_file()
    assert not side_by_side.REAL_TIME & side_by_side.COMPUTE


def test_calls_come_first_and_what_computes_for_long_last() -> None:
    collected = [
        "tests/integration/test_call.py::test_a",
        "tests/test_chinese.py::test_b[x::y]",
        "tests/test_stt_real.py::test_c",
        "tests/test_headroom.py::test_d",
        "tests/integration/test_own_model.py::test_e",
    ]
    assert [side_by_side.rank(nodeid) for nodeid in collected] == [0, 1, 2, 0, 2]


@pytest.mark.parametrize(
    ("whole", "cores", "expected"), [(True, 2, 2), (True, 16, 2), (True, 1, 0), (False, 2, 0)]
)
def test_everything_takes_two_processes_and_what_is_named_takes_one(
    whole: bool, cores: int, expected: int
) -> None:
    assert side_by_side.processes(whole=whole, cores=cores) == expected


def test_calls_are_one_piece_of_work_and_each_other_module_is_one(tmp_path: Path) -> None:
    """With the real xdist: each test notes who ran it, and when."""
    (tmp_path / "integration").mkdir()
    noted = (
        "import os, time\n"
        "def note(name):\n"
        "    time.sleep(0.05)\n"
        "    with open('notes', 'a') as notes:\n"
        "        notes.write(f'{name} {os.getpid()} {os.nice(0)}\\n')\n"
    )
    (tmp_path / "conftest.py").write_text(
        "from tests.side_by_side import pytest_collection_modifyitems, pytest_xdist_make_scheduler"
    )
    (tmp_path / "noted.py").write_text(noted)
    modules = {
        "integration/test_call.py": 6,
        "test_headroom.py": 6,
        "test_stt_real.py": 1,
        "test_chinese.py": 4,
    }
    for module, tests in modules.items():
        source = ["from noted import note"]
        stem = Path(module).stem
        source += [f"def test_{i}(): note('{stem}')" for i in range(tests)]
        (tmp_path / module).write_text("\n".join(source))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "xdist", "-n", "2", "--no-loadscope-reorder"],
        cwd=tmp_path,
        env={"PYTHONPATH": f"{HERE.parent}:{tmp_path}", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "17 passed" in done.stdout
    notes = [line.split() for line in (tmp_path / "notes").read_text().splitlines()]
    calling = {pid for name, pid, _ in notes if name in ("test_call", "test_headroom")}
    assert len(calling) == 1
    beside = [(name, pid) for name, pid, _ in notes if name == "test_chinese"]
    assert {pid for _, pid in beside}.isdisjoint(calling)
    usual = {int(nice) for name, _, nice in notes if name in ("test_call", "test_headroom")}
    yielding = {int(nice) for name, _, nice in notes if name in ("test_chinese", "test_stt_real")}
    assert len(usual) == 1
    assert yielding == {min(usual.pop() + side_by_side.YIELDING, MOST_YIELDING)}
