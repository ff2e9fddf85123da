"""Which tests run beside which, where everything is run: `uv run pytest` takes two processes.

Calls run in real time here, and what they hear suffers where another call takes the cores. So all
of them are one piece of work for one process, one after the other. The other process takes, in the
meantime and with less of a claim to the cores, first what waits more than it computes; what
computes for long comes when most calls are over.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from xdist.remote import Producer
from xdist.scheduler.loadscope import LoadScopeScheduling

PROCESSES = 2

REAL_TIME = {
    "test_bench_rooms",
    "test_bench_turn",
    "test_call_processes",
    "test_headroom",
    "test_livekit_server",
}
"""Modules of tests with calls in real time, beside those in `integration/`."""

PATIENT = {"test_own_model", "test_page_access"}
"""Those in `integration/` which ask what happens, and not whether it is heard right and in time."""

COMPUTE = {
    "test_engine_process",
    "test_flow_server_command",
    "test_kokoro_real",
    "test_stt_real",
    "test_telephone",
    "test_voice_likeness",
    "test_wheel",
}
"""Modules that keep a core busy for tens of seconds."""

YIELDING = 10
"""Niceness of what runs beside the calls."""


def processes(*, whole: bool, cores: int) -> int:
    """How many take a run of everything, or of what was named; 0 is pytest's own process."""
    return PROCESSES if whole and cores >= PROCESSES else 0


def in_real_time(nodeid: str) -> bool:
    """Whether a test must have the cores for itself."""
    module = _module(nodeid)
    return module in REAL_TIME or ("integration/" in nodeid and module not in PATIENT)


def rank(nodeid: str) -> int:
    """When its turn is: 0 is first."""
    if in_real_time(nodeid):
        return 0
    return 2 if _module(nodeid) in COMPUTE | PATIENT else 1


class Scheduler(LoadScopeScheduling):  # type: ignore[misc]
    """Hands out modules of tests as they were collected, those in real time as one."""

    def _split_scope(self, nodeid: str) -> str:
        return "real time" if in_real_time(nodeid) else nodeid.partition("::")[0]


class _Yielding:
    """Lets the other process have the cores, from the first test on that needs no real time."""

    def __init__(self) -> None:
        self._yields = False

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        if not self._yields and not in_real_time(item.nodeid):
            self._yields = True
            os.nice(YIELDING)


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Answers `-n auto`."""
    named = config.option.file_or_dir or config.getoption("lf", False)
    return processes(whole=not named, cores=os.cpu_count() or 1)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Scheduler:
    """Hands the tests to the processes."""
    return Scheduler(config, log)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Puts them into the order in which they are handed out."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: rank(item.nodeid))
        config.pluginmanager.register(_Yielding())


def _module(nodeid: str) -> str:
    return Path(nodeid.partition("::")[0]).stem
