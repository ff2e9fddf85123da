"""Processes of a worker are killed or stopped at random moments: nobody is left alone."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from agent_worker.caller.client import CallerError, Pcm, SimulatedCaller
from agent_worker.commands.demo_conversation import render
from agent_worker.commands.livekit_server import RunningServer
from agent_worker.commands.worker_process import ready_lines, run_worker
from tests import real
from tests.integration.test_call import TIMEOUT_S
from tests.integration.test_rejoin import Line

SEED = 20261126
AGENT = "mortal"


def _children(worker: int, kind: str) -> list[int]:
    found = []
    for child in psutil.Process(worker).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if any(kind in part for part in child.cmdline()):
                found.append(child.pid)
    return found


def _runs(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


class _Talker:
    """Somebody who talks all the time."""

    def __init__(self, line: Line, caller: SimulatedCaller, pcm: Pcm) -> None:
        self.line = line
        self.answered_at = 0.0
        self._caller = caller
        self._pcm = pcm

    async def talk(self) -> None:
        while True:
            with contextlib.suppress(CallerError):
                spoken = await self._caller.speak(self._pcm)
                self.answered_at = await self._caller.audible_after(spoken.ended_at, timeout_s=6)
                await self._caller.silent(for_s=0.5, timeout_s=6)

    async def answered_after(self, moment: float) -> None:
        async with asyncio.timeout(TIMEOUT_S):
            while self.answered_at < moment:
                await asyncio.sleep(0.05)


@contextlib.contextmanager
def _nothing_left(pids: set[int]) -> Iterator[None]:
    try:
        yield
    finally:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@pytest.mark.timeout(300)
async def test_whoever_is_killed_or_hangs_at_any_moment_every_caller_is_answered_again(
    livekit_server: RunningServer, tmp_path: Path
) -> None:
    chance = random.Random(SEED)
    settings = real.worker_settings(
        livekit_server,
        agent_name=AGENT,
        call_processes=2,
        max_sessions=4,
        drain_timeout_s=0,
        calls_dir=tmp_path / "calls",
    )
    pcm = await render("what time is it")
    log = tmp_path / "worker.log"
    faults = [
        ("call-process", signal.SIGKILL),
        ("engine_process", signal.SIGKILL),
        ("call-process", signal.SIGSTOP),
    ]
    chance.shuffle(faults)
    stopped: set[int] = set()
    async with contextlib.AsyncExitStack() as stack:
        stack.enter_context(_nothing_left(stopped))
        worker = await stack.enter_async_context(
            run_worker(settings, log_file=log, registrations=2)
        )
        talkers = []
        for _ in range(2):
            line = Line(livekit_server, agent=AGENT)
            caller = await stack.enter_async_context(line.caller())
            talkers.append(_Talker(line, caller, pcm))
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(talker.talk()) for talker in talkers]
            for talker in talkers:
                await talker.answered_after(1.0)
            expected = 2
            for kind, how in faults:
                # who is killed while it starts has no calls
                async with asyncio.timeout(2 * TIMEOUT_S):
                    while ready_lines(log) < expected:
                        await asyncio.sleep(0.1)
                expected += kind == "call-process"
                await asyncio.sleep(chance.uniform(0.0, 2.0))
                victim = chance.choice(_children(worker, kind))
                stopped.add(victim)
                os.kill(victim, how)
                struck_at = time.time()
                # all of them, so that whoever was with the victim is among them
                for talker in talkers:
                    # what had been said before may still be playing
                    await talker.answered_after(struck_at + 1.0)
                if how == signal.SIGSTOP:
                    async with asyncio.timeout(TIMEOUT_S):
                        while "a call process hangs and is ended" not in log.read_text():
                            await asyncio.sleep(0.05)
            for talker in talkers:
                async with asyncio.timeout(TIMEOUT_S):
                    while len(await talker.line.agents()) != 1:
                        await asyncio.sleep(0.1)
            for task in tasks:
                task.cancel()
        family = psutil.Process(worker).children(recursive=True)
        assert len(family) >= 4
        os.kill(worker, signal.SIGKILL)
        async with asyncio.timeout(TIMEOUT_S):
            while any(_runs(process) for process in family):
                await asyncio.sleep(0.05)
