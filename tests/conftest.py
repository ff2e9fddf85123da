"""What tests of several modules share: the real LiveKit server and a real worker on it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent_worker.commands.livekit_server import RunningServer
from bench import real_parts

from . import real
from .front_end import project
from .side_by_side import (
    pytest_collection_modifyitems,
    pytest_xdist_auto_num_workers,
    pytest_xdist_make_scheduler,
)

__all__ = [
    "project",
    "pytest_collection_modifyitems",
    "pytest_xdist_auto_num_workers",
    "pytest_xdist_make_scheduler",
]

# nothing of the developer's own settings may reach a test
for name in list(os.environ):
    if name.startswith(("AGENT_WORKER_", "FLOWS_", "LIVEKIT_", "OTEL_")):
        del os.environ[name]


def pytest_configure(config: pytest.Config) -> None:
    """Brings what the tests import and no conversation needs, so that `uv run pytest` is enough."""
    real_parts.install()
    _leave_hypothesis_its_time()


def _leave_hypothesis_its_time() -> None:
    # not at the top: the lines before may just have installed it
    from hypothesis import HealthCheck, settings

    # The first draw of text in a fresh checkout makes tables of all characters, which takes seconds
    # beside another process: Hypothesis would call the strategy too slow, or the example too late.
    usual = settings.default
    assert usual is not None
    settings.register_profile(
        "beside calls",
        parent=usual,
        suppress_health_check=[*usual.suppress_health_check, HealthCheck.too_slow],
        deadline=None,
    )
    settings.load_profile("beside calls")


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    """Brings the LiveKit server before two processes would do so at once, and unseen."""
    if getattr(session.config.option, "tx", None):
        real.find_or_build_server()


def pytest_collection_finish(session: pytest.Session) -> None:
    """Brings the LiveKit server, which may take minutes that belong to no test's timeout."""
    if any("livekit_server" in getattr(item, "fixturenames", ()) for item in session.items):
        real.find_or_build_server()


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """Leaves with pytest's own status, past the interpreter's shutdown.

    There LiveKit's native threads sometimes panic ("panic in a function that cannot unwind"),
    which turns a run that has passed and said so into an abort.
    """
    session = config.pluginmanager.get_plugin("session")
    status = getattr(session, "exitstatus", None)
    if isinstance(status, int):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


@pytest.fixture(scope="session")
def process_logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for the logs of this run's servers and workers."""
    return tmp_path_factory.mktemp("processes")


@pytest.fixture(scope="session")
def livekit_server(process_logs: Path) -> Iterator[RunningServer]:
    """The real LiveKit server, started once for the whole run."""
    with real.livekit_server(process_logs) as server:
        yield server


@pytest.fixture(scope="session")
def worker_pid(livekit_server: RunningServer, process_logs: Path) -> Iterator[int]:
    """A real worker on that server, for the tests that don't harm it."""
    settings = real.worker_settings(livekit_server)
    with real.worker(settings, process_logs / "worker.log") as pid:
        yield pid
