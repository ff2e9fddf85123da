"""The rooms benchmark: its arguments and figures, and two real calls at once."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from typing import cast

import pytest

from agent_worker.commands import bench_rooms as bench
from agent_worker.commands.demo import DemoError
from agent_worker.commands.livekit_server import RunningServer
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
        "end_to_end_ms": [400.0, 500.0, 600.0],
        "errors": [],
        "worker_cpu_percent": 120.0,
        "callers_cpu_percent": 30.0,
        "worker_rss_mib": 500.0,
        "idle_rss_mib": 460.0,
    }
    return bench.Round(**{**values, **changes})  # type: ignore[arg-type]


def test_memory_is_told_for_each_room() -> None:
    assert _round().to_dict()["rss_mib_per_room"] == 10.0


def test_a_round_without_an_answer_has_no_percentiles_and_its_errors() -> None:
    lost = _round(end_to_end_ms=[], errors=["no voice from the agent within 15 s"])
    figures = lost.to_dict()
    assert figures["end_to_end_ms_p99"] is None
    assert figures["errors"] == ["no voice from the agent within 15 s"]
    assert bench.row(lost).split() == ["4", "-", "-", "-", "120", "10.0", "1"]


def test_the_columns_stand_under_their_names() -> None:
    assert len(bench.row(_round())) == len(bench.HEADER)


def test_usage_counts_the_children() -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", "x = bytearray(64 * 2**20); print(flush=True); input()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert child.stdin is not None and child.stdout is not None
    try:
        child.stdout.readline()
        assert bench.usage(os.getpid()).rss_mib > bench.usage(child.pid).rss_mib > 64
    finally:
        child.communicate(b"\n")
    with pytest.raises(DemoError, match="the worker is gone"):
        bench.usage(child.pid)


async def test_a_call_that_fails_unforeseen_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: object) -> None:
        raise RuntimeError("out of rooms")

    monkeypatch.setattr(bench, "_call", broken)
    server = cast(RunningServer, None)
    own = os.getpid()
    result = await bench._round(server, "agent", 2, [], own, bench.usage(own))
    assert result.errors == ["a call failed: RuntimeError('out of rooms')"] * 2
    assert result.end_to_end_ms == []


@pytest.mark.timeout(240)
async def test_two_rooms_at_once_are_answered_and_measured() -> None:
    said: list[str] = []
    settings = load_settings(stt="bundled", tts="espeak", llm="offline")
    result = await bench.bench_rooms(settings, [2], say=said.append)
    (figures,) = result["rooms"]
    assert figures["errors"] == []
    assert figures["turns"] == 2 * bench.TURNS
    assert 0 < figures["end_to_end_ms_p50"] <= figures["end_to_end_ms_p99"]
    assert figures["worker_cpu_percent"] > 0
    assert figures["worker_rss_mib"] >= result["idle_rss_mib"] > 50
    assert result["models"]["llm"].startswith("offline")
    assert len(said[-1]) == len(bench.HEADER)
    assert asyncio.all_tasks() == {asyncio.current_task()}
