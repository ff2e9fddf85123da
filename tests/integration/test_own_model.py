"""Calls on the language model that the worker runs itself, and what is left of it afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from agent_worker.caller.client import Pcm, SimulatedCaller
from agent_worker.commands.demo_conversation import render
from agent_worker.commands.livekit_server import RunningServer
from bench.real_parts import smollm2
from tests import real

AGENT = "own-model"
APOLOGY = "an apology is spoken"


@contextlib.contextmanager
def own_model_worker(server: RunningServer, log: Path, call_processes: int) -> Iterator[int]:
    """A worker that runs SmolLM2 itself, in so many call processes. Gives its pid."""
    settings = real.worker_settings(
        server,
        agent_name=AGENT,
        llm="local",
        llm_gguf=smollm2(),
        llm_max_tokens=16,
        call_processes=call_processes,
        max_sessions=2,
        drain_timeout_s=1,
        first_word_timeout_s=60,
    )
    with real.worker(settings, log) as pid:
        yield pid


def model_processes(worker: int) -> list[psutil.Process]:
    family = psutil.Process(worker).children(recursive=True)
    return [p for p in family if "agent_worker.processes.llama_process" in p.cmdline()]


def runs(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


@pytest.mark.timeout(180)
@pytest.mark.parametrize(("call_processes", "end"), [(1, signal.SIGTERM), (2, signal.SIGKILL)])
async def test_a_call_survives_its_model_and_nothing_survives_the_worker(
    livekit_server: RunningServer, process_logs: Path, call_processes: int, end: signal.Signals
) -> None:
    line = await render("what time is it")
    log = process_logs / f"own-model-{call_processes}.log"
    token = real.token(livekit_server, agent=AGENT)
    with own_model_worker(livekit_server, log, call_processes) as worker:
        [model] = model_processes(worker)
        async with SimulatedCaller(livekit_server.url, token) as caller:
            await caller.audible_after(0.0, timeout_s=60)
            await quiet(caller)
            model.kill()
            # The turn waits for the next process, or gets the apology; the one after it is as ever.
            await answered(caller, line)
            apologies = log.read_text().count(APOLOGY)
            await answered(caller, line)
            assert log.read_text().count(APOLOGY) == apologies
        [again] = model_processes(worker)
        assert again.pid != model.pid
        family = psutil.Process(worker).children(recursive=True)
        os.kill(worker, end)
        while any(runs(process) for process in family):
            await asyncio.sleep(0.05)


async def answered(caller: SimulatedCaller, line: Pcm) -> None:
    since = time.time()
    spoken = await caller.speak(line)
    await caller.audible_after(spoken.ended_at, timeout_s=60)
    assert await caller.wait_for_answer(since, timeout_s=60)
    await quiet(caller)


async def quiet(caller: SimulatedCaller) -> None:
    await caller.silent(for_s=0.7, timeout_s=60)
    await caller.wait_for_agent_state("listening", timeout_s=60)
