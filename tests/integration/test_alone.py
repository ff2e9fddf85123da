"""Callers whose agent a fault took, or who never had one: they are served, by one agent."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from agent_worker.caller.client import SimulatedCaller
from agent_worker.commands.livekit_server import RunningServer, run_server
from agent_worker.commands.worker_process import run_worker
from tests import real
from tests.integration.test_call import TIMEOUT_S, ask, greeted
from tests.integration.test_rejoin import Line

pytestmark = pytest.mark.timeout(180)

BACK = "I am back"


async def _hears(caller: SimulatedCaller, words: str, since: float) -> None:
    async with asyncio.timeout(TIMEOUT_S):
        while words not in caller.answered(since):
            await asyncio.sleep(0.05)


async def test_a_call_whose_worker_is_killed_goes_on_with_another_that_knows_what_was_said(
    livekit_server: RunningServer, tmp_path: Path
) -> None:
    settings = real.worker_settings(
        livekit_server, agent_name="killed", calls_dir=tmp_path / "calls"
    )
    line = Line(livekit_server, agent="killed")
    async with run_worker(settings, log_file=tmp_path / "first.log") as first, line.caller() as ann:
        await greeted(ann)
        await ask(ann, "what is two plus three")
        async with run_worker(settings, log_file=tmp_path / "second.log"):
            killed_at = time.time()
            os.killpg(first, signal.SIGKILL)
            await _hears(ann, BACK, killed_at)
            assert len(await line.agents()) == 1
            assert "seven" in (await ask(ann, "what is three plus four")).lower()
            (kept,) = (tmp_path / "calls").glob("*.call.json")
            assert "two plus three" in kept.read_text()
            await ann.call_agent("end_call")
            await ann.wait_for_agent_to_leave(timeout_s=TIMEOUT_S)
            async with asyncio.timeout(TIMEOUT_S):
                while kept.exists() or await line.is_open():
                    await asyncio.sleep(0.05)


async def test_who_comes_before_the_worker_is_served_once_by_one_agent_and_a_second_leaves(
    livekit_server: RunningServer, tmp_path: Path
) -> None:
    settings = real.worker_settings(livekit_server, agent_name="late")
    line, other = Line(livekit_server, agent="late"), Line(livekit_server, agent="nobody")
    logs = [tmp_path / "first.log", tmp_path / "second.log"]
    async with (
        line.caller() as ann,
        other.caller() as bob,
        run_worker(settings, log_file=logs[0]),
        run_worker(settings, log_file=logs[1]),
    ):
        assert await greeted(ann) == "Hello. How can I help you?"
        greeted_at = time.time()
        await line.dispatch("late")
        async with asyncio.timeout(TIMEOUT_S):
            while not any("another agent serves" in log.read_text() for log in logs):
                await asyncio.sleep(0.05)
        assert ann.answered(greeted_at) == ""
        assert "five" in (await ask(ann, "what is two plus three")).lower()
        assert len(await line.agents()) == 1
        assert bob.agent_state() == "", "a room that called another agent gets none of this name"


async def test_an_agent_that_finds_one_whose_call_was_taken_back_waits_for_its_place(
    livekit_server: RunningServer, tmp_path: Path
) -> None:
    # two watchers, or one that looked a moment too early: the first agent came after all
    settings = real.worker_settings(livekit_server, agent_name="twice")
    line = Line(livekit_server, agent="twice")
    log = tmp_path / "worker.log"
    async with line.caller() as ann, run_worker(settings, log_file=log):
        await greeted(ann)
        (first,) = await line.agents()
        taken_back_at = time.time()
        await line.take_back_dispatches()
        await line.dispatch("twice")
        async with asyncio.timeout(TIMEOUT_S):
            while first in (there := await line.agents()) or len(there) != 1:
                await asyncio.sleep(0.1)
        # it has not said a word before
        await _hears(ann, "help you", taken_back_at)
        await ann.silent(for_s=0.7, timeout_s=TIMEOUT_S)
        assert "five" in (await ask(ann, "what is two plus three")).lower()
        assert len(await line.agents()) == 1


async def test_who_joins_while_the_server_has_just_restarted_is_served_by_one_agent(
    tmp_path: Path,
) -> None:
    binary = await asyncio.to_thread(real.find_or_build_server)
    port, udp_port = real.free_port(), real.free_port()

    def server(name: str) -> AbstractAsyncContextManager[RunningServer]:
        return run_server(binary, log_file=tmp_path / name, port=port, udp_port=udp_port)

    async with contextlib.AsyncExitStack() as stack:
        async with server("before.log") as before:
            settings = real.worker_settings(before, agent_name="restarts")
            line = Line(before, agent="restarts")
            log = tmp_path / "worker.log"
            await stack.enter_async_context(run_worker(settings, log_file=log))
            async with line.caller() as ann:
                await greeted(ann)
        async with server("after.log"), line.caller() as ann:
            await ann.audible_after(0.0, timeout_s=TIMEOUT_S)
            await ann.silent(for_s=0.7, timeout_s=TIMEOUT_S)
            async with asyncio.timeout(TIMEOUT_S):
                while len(await line.agents()) != 1:
                    await asyncio.sleep(0.1)
            assert "five" in (await ask(ann, "what is two plus three")).lower()
            assert len(await line.agents()) == 1
            await ann.call_agent("end_call")
            await ann.wait_for_agent_to_leave(timeout_s=TIMEOUT_S)
