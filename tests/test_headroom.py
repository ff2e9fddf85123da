"""Room for a call or none: what is measured, what is decided, and what a caller is told."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent_worker.caller.client import SimulatedCaller
from agent_worker.commands.demo_conversation import render
from agent_worker.commands.livekit_server import RunningServer
from agent_worker.dispatch.headroom import (
    FINAL_WAIT_S,
    INTERPRETER_WAIT_S,
    LEAST_MEMORY_MIB,
    Headroom,
    Load,
)
from agent_worker.dispatch.measured_load import MeasuredLoad, cpu_times, used_between
from agent_worker.dispatch.watch import BUSY_TOPIC
from agent_worker.machine_limits import free_memory_mib, usable_cores
from livekit import rtc

from . import real


class _Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


IDLE = Load(cpu=0.1, free_memory_mib=4000)
CALLS = ["a", "b", "c"]


@pytest.fixture
def clock() -> _Clock:
    return _Clock()


@pytest.fixture
def headroom(clock: _Clock) -> Headroom:
    return Headroom(most_calls=10, busy_at_cpu=0.85, cores=2, clock=clock)


def _settled(headroom: Headroom, clock: _Clock) -> None:
    headroom.load(CALLS, IDLE)
    clock.now += 10


def test_an_idle_worker_is_as_full_as_its_number_of_calls(headroom: Headroom) -> None:
    assert headroom.load([], IDLE) == 0.0
    assert headroom.load(CALLS, IDLE) == pytest.approx(0.3)
    assert headroom.load([str(i) for i in range(10)], IDLE) == 1.0
    assert headroom.short_of == "calls"


@pytest.mark.parametrize(
    ("measured", "what"),
    [
        (Load(cpu=0.9, free_memory_mib=4000), "cpu"),
        (Load(cpu=0.1, free_memory_mib=LEAST_MEMORY_MIB - 1), "memory"),
        (Load(0.1, 4000, final_wait_s=FINAL_WAIT_S * 1.1), "recogniser"),
        (Load(0.1, 4000, interpreter_wait_s=INTERPRETER_WAIT_S * 1.1), "interpreter"),
    ],
)
def test_what_callers_would_feel_closes_the_door(
    headroom: Headroom, clock: _Clock, measured: Load, what: str
) -> None:
    _settled(headroom, clock)
    assert headroom.load(CALLS, measured) == 1.0
    assert headroom.short_of == what
    assert headroom.load(CALLS, IDLE) == pytest.approx(0.3)
    assert headroom.short_of is None


def test_there_is_always_room_for_a_first_call(headroom: Headroom) -> None:
    assert headroom.load([], Load(cpu=1.0, free_memory_mib=1, final_wait_s=9)) == 0.0


def test_without_measurements_or_with_them_off_only_the_number_counts(clock: _Clock) -> None:
    full = Load(cpu=1.0, free_memory_mib=1, final_wait_s=9, interpreter_wait_s=9)
    off = Headroom(most_calls=10, busy_at_cpu=0, cores=2, clock=clock)
    assert off.load(CALLS, full) == pytest.approx(0.3)
    on = Headroom(most_calls=10, busy_at_cpu=0.85, cores=2, clock=clock)
    assert on.load(CALLS, None) == pytest.approx(0.3)


def test_a_burst_finds_no_more_room_than_the_machine_has(headroom: Headroom, clock: _Clock) -> None:
    calls: list[str] = []
    while headroom.load(calls, IDLE) < 1.0:
        calls.append(str(len(calls)))
    assert 5 <= len(calls) < 10
    assert headroom.short_of == "cpu"
    # once they are felt, it is the measurement that counts
    clock.now += 10
    assert headroom.load(calls, IDLE) < 1.0


def test_a_full_worker_opens_again_only_when_it_has_some_room(
    headroom: Headroom, clock: _Clock
) -> None:
    _settled(headroom, clock)
    assert headroom.load(CALLS, Load(cpu=0.86, free_memory_mib=4000)) == 1.0
    assert headroom.load(CALLS, Load(cpu=0.80, free_memory_mib=4000)) == 1.0
    assert headroom.load(CALLS, Load(cpu=0.70, free_memory_mib=4000)) < 1.0
    assert headroom.load(CALLS, Load(cpu=0.80, free_memory_mib=4000)) < 1.0


def test_a_containers_limits_count_and_those_around_it(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.write_text("0::/outer/inner\n")
    inner = tmp_path / "groups/outer/inner"
    inner.mkdir(parents=True)
    groups = tmp_path / "groups"
    cores, memory = usable_cores(groups, own), free_memory_mib(groups, own)
    (inner / "cpu.max").write_text("max 100000\n")
    (inner / "memory.max").write_text("max\n")
    (inner / "memory.current").write_text("1000\n")
    assert usable_cores(groups, own) == cores
    assert free_memory_mib(groups, own) == pytest.approx(memory, rel=0.5)
    (inner.parent / "cpu.max").write_text("50000 100000\n")
    assert usable_cores(groups, own) == 0.5
    (inner / "memory.max").write_text(str(300 * 2**20))
    (inner / "memory.current").write_text(str(250 * 2**20))
    (inner / "memory.stat").write_text(f"anon 1\ninactive_file {30 * 2**20}\n")
    assert free_memory_mib(groups, own) == pytest.approx(80)


def test_cpu_is_that_of_the_whole_family_and_survives_the_end_of_a_member() -> None:
    assert used_between({1: 5.0, 2: 7.0}, {1: 5.5, 3: 0.25}) == 0.75
    child = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        before = cpu_times(child.pid)
        while used_between(before, cpu_times(child.pid)) < 0.05:
            time.sleep(0.02)
    finally:
        child.kill()
        child.wait()


def test_a_thread_that_is_kept_from_running_is_noticed() -> None:
    measured = MeasuredLoad(os.getpid(), cores=1000)
    measured.start()
    until(lambda: measured.read() is not None)
    over = threading.Event()

    def keep_busy() -> None:
        while not over.is_set():
            pass

    threads = [threading.Thread(target=keep_busy, daemon=True) for _ in range(25)]
    for thread in threads:
        thread.start()
    try:
        until(lambda: (measured.read() or IDLE).interpreter_wait_s > INTERPRETER_WAIT_S)
        load = measured.read()
        assert load is not None and load.cpu > 0
        assert load.free_memory_mib > 0
    finally:
        over.set()
        for thread in threads:
            thread.join()


def until(condition: Callable[[], bool]) -> None:
    while not condition():
        time.sleep(0.05)


@pytest.fixture
def small_worker(livekit_server: RunningServer, process_logs: Path) -> Iterator[Path]:
    """A worker to which one call is all that its cores can bear. Gives its log."""
    settings = real.worker_settings(
        livekit_server, agent_name=AGENT, busy_at_cpu=0.01, greeting="", words_busy=BUSY
    )
    log = process_logs / "small-worker.log"
    with real.worker(settings, log):
        yield log


AGENT = "small-worker"
BUSY = "everyone is talking"


@pytest.mark.timeout(120)
async def test_a_caller_for_whom_there_is_no_room_is_told_and_served_when_there_is(
    livekit_server: RunningServer, small_worker: Path
) -> None:
    line = await render("what time is it")
    first = SimulatedCaller(livekit_server.url, real.token(livekit_server, agent=AGENT))
    second = SimulatedCaller(livekit_server.url, real.token(livekit_server, agent=AGENT))
    told: list[str] = []

    def on_data(packet: rtc.DataPacket) -> None:
        if packet.topic == BUSY_TOPIC:
            told.append(json.loads(packet.data)["text"])

    second.room.on("data_received", on_data)
    async with first:
        await first.wait_for_agent_state("listening", timeout_s=30)
        spoken = await first.speak(line)
        await first.audible_after(spoken.ended_at, timeout_s=20)
        async with second:
            while not told:
                await first.silent(for_s=0.1, timeout_s=60)
            assert told[0] == BUSY
            assert second.agent_state() == ""
            assert '"short_of": "cpu"' in small_worker.read_text()
            # the first is served as before, and leaves room when it goes
            await first.call_agent("end_call")
            await second.wait_for_agent_state("listening", timeout_s=40)
