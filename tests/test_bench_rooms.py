"""The rooms benchmark: its arguments and figures, and two real calls at once."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys

import numpy as np
import psutil
import pytest

from agent_worker.caller import crowd
from agent_worker.commands import bench_rooms as bench
from agent_worker.commands.usage import KINDS, look
from agent_worker.commands.worker_process import RunError
from agent_worker.settings import load_settings


def test_rooms_are_numbers_with_commas() -> None:
    assert bench.parse_rooms("1,2, 8") == [1, 2, 8]


@pytest.mark.parametrize("text", ["", "two", "1,,2", "0", "1,65", "-1", "1.5"])
def test_other_rooms_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="number"):
        bench.parse_rooms(text)


def _round(**changes: object) -> bench.Round:
    values: dict[str, object] = {
        "rooms": 4,
        "turns": 3,
        "end_to_end_ms": [400.0, 500.0, 600.0],
        "errors": [],
        "cpu_percent": dict(zip(KINDS, (10.0, 90.0, 20.0, 15.0, 30.0), strict=True)),
        "rss_mib": dict(zip(KINDS, (50.0, 300.0, 150.0, 80.0, 400.0), strict=True)),
        "idle_rss_mib": 460.0,
    }
    return bench.Round(**{**values, **changes})  # type: ignore[arg-type]


def test_cpu_and_memory_of_the_worker_are_those_of_all_its_processes() -> None:
    figures = _round().to_dict()
    assert figures["worker_cpu_percent"] == 120.0
    assert figures["worker_rss_mib"] == 500.0
    assert figures["rss_mib_per_room"] == 10.0
    assert figures["cpu_percent"]["callers"] == 30.0


def test_a_round_without_an_answer_has_no_percentiles_and_its_errors() -> None:
    lost = _round(end_to_end_ms=[], errors=["no voice from the agent within 15 s"])
    figures = lost.to_dict()
    assert figures["end_to_end_ms_p99"] is None
    assert figures["unanswered"] == 3
    assert figures["errors"] == ["no voice from the agent within 15 s"]
    shown = ["4", "-", "-", "-", "120", "20", "15", "30", "10.0", "3"]
    assert bench.row(lost).split() == shown


def test_the_columns_stand_under_their_names() -> None:
    assert len(bench.row(_round())) == len(bench.HEADER)


def test_the_bench_goes_on_until_p95_doubles_or_turns_are_lost() -> None:
    first = _round(rooms=1)
    assert not bench.is_over_the_top(first, first)
    assert not bench.is_over_the_top(first, _round(end_to_end_ms=[1100.0] * 3))
    assert bench.is_over_the_top(first, _round(end_to_end_ms=[1300.0] * 3))
    assert bench.is_over_the_top(first, _round(end_to_end_ms=[400.0, 500.0]))


@pytest.mark.parametrize(("rooms", "turns"), [(1, 8), (2, 4), (4, 3), (16, 3)])
def test_few_callers_take_more_turns(rooms: int, turns: int) -> None:
    assert bench.turns_of(rooms) == turns


def test_a_look_tells_the_kinds_of_processes_apart_and_who_is_gone() -> None:
    code = "x = bytearray(64 * 2**20); print(flush=True); input()"
    children = [
        subprocess.Popen(
            [sys.executable, "-c", code, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for arguments in (["call-process"], ["engine_process"], [], [])
    ]
    try:
        for child in children:
            assert child.stdout is not None
            child.stdout.readline()
        *_, server, caller = [child.pid for child in children]
        seen = look(os.getpid(), server=server, callers=[caller]).kinds
        for kind in ("call processes", "engine processes", "server", "callers"):
            assert seen[kind].processes == 1, kind
            assert seen[kind].rss_mib > 64, kind
    finally:
        for child in children:
            child.communicate(b"\n")
    with pytest.raises(RunError, match="the worker is gone"):
        look(children[0].pid)


async def test_a_call_that_fails_unforeseen_is_told_with_all_its_turns(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Broken:
        def __init__(self, *_: object, **__: object) -> None:
            raise RuntimeError("out of rooms")

    monkeypatch.setattr(crowd, "SimulatedCaller", Broken)
    told: list[crowd.TurnTaken] = []
    await crowd.call("ws://127.0.0.1:9", [], crowd.Errand("token", turns=3), told.append)
    (turn,) = told
    assert turn.error == "a call failed: RuntimeError('out of rooms')"
    assert (turn.end_to_end_ms, turn.turns) == (None, 3)


async def test_callers_end_with_whoever_started_them() -> None:
    line = np.full(100, 1000, np.int16)
    errands = [[crowd.Errand("no token", turns=1, after_s=1000.0)]] * 5
    callers = crowd.Crowd("ws://127.0.0.1:9", [line], errands, on_turn=lambda turn: None)
    async with callers.ready():
        assert len(callers.pids) == 2
        assert not await callers.talk(timeout_s=0.1)
    assert not any(psutil.pid_exists(pid) for pid in callers.pids)


@pytest.mark.timeout(240)
async def test_calls_of_two_call_processes_are_answered_and_measured() -> None:
    said: list[str] = []
    settings = load_settings(stt="bundled", tts="espeak", llm="offline", call_processes=2)
    result = await bench.bench_rooms(settings, [2], say=said.append)
    (figures,) = result["rooms"]
    # how many a busy machine leaves unanswered is its affair; that they are counted is ours
    assert figures["turns"] + figures["unanswered"] == 2 * bench.turns_of(2)
    assert figures["turns"] >= bench.turns_of(2), figures["errors"]
    assert 0 < figures["end_to_end_ms_p50"] <= figures["end_to_end_ms_p99"]
    assert all(figures["cpu_percent"][kind] > 0 for kind in KINDS[1:])
    assert all(figures["rss_mib"][kind] > 20 for kind in KINDS)
    assert result["call_processes"] == 2
    assert figures["worker_rss_mib"] >= result["idle_rss_mib"] > 50
    assert result["models"]["llm"].startswith("offline")
    # behind the row it may say that this is more than a busy machine holds
    assert any(len(line) == len(bench.HEADER) for line in said)
    assert asyncio.all_tasks() == {asyncio.current_task()}
