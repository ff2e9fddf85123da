"""Calls spread over several processes: how many, what they share, and what outlives what."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from agent_worker.caller.client import SimulatedCaller
from agent_worker.commands.demo_conversation import render
from agent_worker.commands.livekit_server import RunningServer
from agent_worker.commands.worker_process import ready_lines
from agent_worker.engines.choice import choose
from agent_worker.engines.inventory import Found
from agent_worker.processes.plan import pause_s, process_count, shares
from agent_worker.processes.pulse import BEAT_EVERY_S, Patient, Pulse, keep_beating, listen
from agent_worker.processes.supervisor import Supervisor
from agent_worker.settings import SettingsError, load_settings
from agent_worker.telemetry.merged_metrics import Figures, merge
from livekit.plugins.faster_whisper.engine_process import EngineProcesses

from . import real
from .test_telemetry import free_port


@pytest.mark.parametrize(
    ("cores", "memory_mib", "max_sessions", "expected"),
    [
        (1, 64000, 10, 1),
        (2, 64000, 10, 1),
        (4, 64000, 10, 2),
        (16, 64000, 32, 8),
        (16, 64000, 3, 3),
        (16, 1200, 32, 2),
        (16, 100, 32, 1),
    ],
)
def test_processes_are_as_many_as_suit_the_machine(
    cores: int, memory_mib: float, max_sessions: int, expected: int
) -> None:
    count = process_count(None, cores=cores, memory_mib=memory_mib, max_sessions=max_sessions)
    assert count == expected


def test_a_number_that_was_set_is_taken_up_to_the_number_of_calls() -> None:
    assert process_count(6, cores=2, memory_mib=100, max_sessions=10) == 6
    assert process_count(6, cores=2, memory_mib=100, max_sessions=4) == 4


@pytest.mark.parametrize(("calls", "count"), [(10, 4), (8, 8), (7, 2), (1, 1)])
def test_the_shares_of_the_processes_add_up_to_max_sessions(calls: int, count: int) -> None:
    parts = shares(calls, count)
    assert sum(parts) == calls
    assert len(parts) == count
    assert max(parts) - min(parts) <= 1


def test_a_process_that_keeps_dying_is_started_ever_more_slowly() -> None:
    pauses = [pause_s(failures) for failures in range(12)]
    assert pauses[1] == 0.0
    assert pauses == sorted(pauses)
    assert pauses[-1] == 30.0


@pytest.mark.parametrize("value", [0, 257, "many"])
def test_a_bad_number_of_processes_is_refused(value: object) -> None:
    with pytest.raises(SettingsError, match="call_processes"):
        load_settings(call_processes=value)


def test_figures_of_processes_add_up() -> None:
    merged = merge([_page(2, [0.1, 0.3], 1), _page(3, [0.2], 4)]).decode()
    assert "turns_total 5.0" in merged
    assert "calls 5.0" in merged
    assert 'wait_bucket{le="0.25",stage="stt"} 2.0' in merged
    assert 'wait_count{stage="stt"} 3.0' in merged


def _page(turns: int, waits: list[float], calls: int) -> str:
    registry = CollectorRegistry()
    Counter("turns", "Turns.", registry=registry).inc(turns)
    Gauge("calls", "Calls.", registry=registry).set(calls)
    wait = Histogram("wait", "Waits.", ["stage"], buckets=(0.25, 1.0), registry=registry)
    for seconds in waits:
        wait.labels("stt").observe(seconds)
    return generate_latest(registry).decode()


def test_what_a_process_counted_stays_when_it_is_replaced_or_does_not_answer() -> None:
    figures = Figures()
    assert "turns_total 5.0" in figures.page({0: _page(2, [0.1], 1), 1: _page(3, [], 4)}).decode()
    silent = figures.page({0: None, 1: _page(4, [], 4)}).decode()
    assert "turns_total 6.0" in silent
    assert "calls 5.0" in silent
    figures.ended(0)
    gone = figures.page({0: None, 1: _page(4, [], 4)}).decode()
    assert "turns_total 6.0" in gone
    assert 'wait_count{stage="stt"} 1.0' in gone
    assert "calls 4.0" in gone, "its calls are not under way any more"
    figures.page({0: _page(1, [], 0), 1: None})
    figures.ended(0)
    figures.ended(0)
    again = figures.page({0: _page(1, [0.2], 2), 1: None}).decode()
    assert "turns_total 8.0" in again
    assert 'wait_count{stage="stt"} 2.0' in again
    assert "calls 6.0" in again


def test_a_process_that_beats_lives_and_one_that_stops_hangs() -> None:
    patient = Patient()
    assert not any(patient.hangs() for _ in range(60)), "it may still be starting"
    for _ in range(30):
        patient.beat()
        assert not patient.hangs()
    looks = 1
    while not patient.hangs():
        looks += 1
    # and its callers are heard again within 5 s
    assert 1.0 < looks * BEAT_EVERY_S <= 3.5


def test_on_a_machine_that_is_short_of_cores_a_silent_process_is_given_longer() -> None:
    patient = Patient()
    patient.beat()
    assert not patient.hangs()
    assert not any(patient.hangs(late_s=0.2) for _ in range(40))
    assert any(patient.hangs(late_s=0.2) for _ in range(40)), "but not for ever"


async def test_a_beat_counts_only_with_the_secret() -> None:
    transport, listener, port = await listen()
    mine, other = Patient(), Patient()
    pulse = Pulse(port, b"m" * 16)
    listener.expect(pulse.secret, mine)
    listener.expect(b"o" * 16, other)
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            stranger.sendto(b"x" * 16, ("127.0.0.1", port))
        keep_beating(pulse)
        for patient in (mine, other):
            patient.hangs()
        while not mine._beat:
            await asyncio.sleep(0.02)
        assert not other._beat
        assert "m" * 16 not in repr(pulse)
    finally:
        transport.close()


async def test_a_spare_takes_orders_and_ends_with_its_parent() -> None:
    settings = load_settings(
        stt="bundled",
        tts="espeak",
        llm="offline",
        livekit_url="ws://127.0.0.1:9",
        livekit_api_key="key",
        livekit_api_secret="a secret of thirty-two characters",
    )
    parent = Supervisor(settings, choose(settings, Found()), count=2, command="start", rest=[])
    transport, listener, port = await listen()
    patient, pulse = Patient(), Pulse(port, b"s" * 16)
    listener.expect(pulse.secret, patient)
    with contextlib.closing(transport), contextlib.closing(EngineProcesses(spare=False)) as engines:
        spare = parent._spare = await parent._spawn()
        process = await parent._start(0, engines.meeting, pulse)
        try:
            assert process is spare
            assert parent._spare is None
            while not patient._beat:
                await asyncio.sleep(0.05)
        finally:
            process.kill()
            await process.wait()
    another = await parent._spawn()
    assert another.stdin is not None
    another.stdin.close()
    assert await another.wait() == 0


@pytest.fixture
def ports() -> tuple[int, int]:
    """Of health and of metrics."""
    return free_port(), free_port()


@pytest.fixture
def two_processes(
    livekit_server: RunningServer, process_logs: Path, ports: tuple[int, int]
) -> Iterator[int]:
    """A worker whose two processes take one call each. Gives its pid."""
    settings = real.worker_settings(
        livekit_server,
        agent_name=AGENT,
        call_processes=2,
        max_sessions=2,
        health_port=ports[0],
        metrics_port=ports[1],
        drain_timeout_s=1,
        greeting="",
    )
    with real.worker(settings, process_logs / "two-processes.log") as pid:
        yield pid


AGENT = "two-processes"


@pytest.mark.timeout(180)
async def test_a_call_process_that_is_killed_has_a_successor_that_takes_calls(
    livekit_server: RunningServer,
    two_processes: int,
    ports: tuple[int, int],
    process_logs: Path,
) -> None:
    line = await render("what time is it")
    log = process_logs / "two-processes.log"
    await _until_registered(log, 2)
    before = (await _worker(ports[0]))["call_processes"]
    os.kill(before[0]["pid"], signal.SIGKILL)
    await _until_registered(log, 3)
    # one has room for one call: both are needed, the new one among them
    tokens = [real.token(livekit_server, agent=AGENT) for _ in range(2)]
    async with (
        SimulatedCaller(livekit_server.url, tokens[0]) as one,
        SimulatedCaller(livekit_server.url, tokens[1]) as other,
    ):
        for caller in (one, other):
            await caller.wait_for_agent_state("listening", timeout_s=30)
        assert (await _worker(ports[0]))["active_jobs"] == 2
        for caller in (one, other):
            spoken = await caller.speak(line)
            await caller.audible_after(spoken.ended_at, timeout_s=20)
        page = await asyncio.to_thread(_get, ports[1], "/metrics")
        assert "agent_worker_calls 2.0" in page
    # and whatever happens to the parent, nothing of it stays
    family = psutil.Process(two_processes).children(recursive=True)
    assert len(family) >= 4
    os.kill(two_processes, signal.SIGKILL)
    while any(_runs(process) for process in family):
        await asyncio.sleep(0.05)


async def _until_registered(log: Path, count: int) -> None:
    while ready_lines(log) < count:
        await asyncio.sleep(0.2)


async def _worker(port: int) -> dict[str, Any]:
    worker: dict[str, Any] = json.loads(await asyncio.to_thread(_get, port, "/worker"))
    return worker


def _get(port: int, path: str) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
        text: str = answer.read().decode()
        return text


def _runs(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
