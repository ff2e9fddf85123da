"""Calls over the real server with a real worker: what goes wrong, and that it does no harm."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from agent_worker.caller.client import CallerError, SimulatedCaller
from agent_worker.commands.demo_conversation import render
from agent_worker.commands.livekit_program import ServerBinary
from agent_worker.commands.livekit_server import RunningServer, run_server
from agent_worker.commands.worker_process import run_worker
from agent_worker.settings import Settings, export_environment
from tests import real

pytestmark = pytest.mark.timeout(180)

TIMEOUT_S = 40.0


async def ask(caller: SimulatedCaller, text: str) -> str:
    """Speaks a line and returns the whole answer."""
    await caller.silent(for_s=0.7, timeout_s=TIMEOUT_S)
    await caller.wait_for_agent_state("listening", timeout_s=TIMEOUT_S)
    since = time.time()
    spoken = await caller.speak(await render(text))
    await caller.audible_after(spoken.ended_at, timeout_s=TIMEOUT_S)
    return await caller.wait_for_answer(since, timeout_s=TIMEOUT_S)


async def greeted(caller: SimulatedCaller) -> str:
    await caller.audible_after(0.0, timeout_s=TIMEOUT_S)
    return await caller.wait_for_answer(0.0, timeout_s=TIMEOUT_S)


async def test_the_agent_speaks_first(livekit_server: RunningServer, worker_pid: int) -> None:
    async with SimulatedCaller(livekit_server.url, real.token(livekit_server)) as caller:
        assert await greeted(caller) == "Hello. How can I help you?"


async def test_two_rooms_at_once_never_mix(livekit_server: RunningServer, worker_pid: int) -> None:
    async def call(name: str) -> str:
        async with SimulatedCaller(livekit_server.url, real.token(livekit_server)) as caller:
            await greeted(caller)
            await ask(caller, f"remember that my name is {name}")
            return await ask(caller, "what is my name")

    alice, bob = await asyncio.gather(call("alice"), call("bob"))
    assert re.findall("Alice|Bob", alice) == ["Alice"]
    assert re.findall("Alice|Bob", bob) == ["Bob"]


async def test_a_caller_who_leaves_mid_answer_does_not_harm_the_next(
    livekit_server: RunningServer, worker_pid: int
) -> None:
    async with SimulatedCaller(livekit_server.url, real.token(livekit_server)) as caller:
        await greeted(caller)
        await caller.silent(for_s=0.7, timeout_s=TIMEOUT_S)
        spoken = await caller.speak(await render("tell me a story"))
        await caller.audible_after(spoken.ended_at, timeout_s=TIMEOUT_S)
    async with SimulatedCaller(livekit_server.url, real.token(livekit_server)) as caller:
        await greeted(caller)
        answer = await ask(caller, "what is two plus three")
        # on a starved machine the caller's own sound may have gaps: then it says so
        assert "five" in answer.lower(), f"answered {answer!r} to {caller.heard(0.0)!r}"


async def test_an_interrupted_answer_is_told_with_the_time_and_not_one_word_of_it(
    livekit_server: RunningServer, worker_pid: int
) -> None:
    async with SimulatedCaller(livekit_server.url, real.token(livekit_server)) as caller:
        await greeted(caller)
        await caller.silent(for_s=0.7, timeout_s=TIMEOUT_S)
        spoken = await caller.speak(await render("tell me a story"))
        await caller.audible_after(spoken.ended_at, timeout_s=TIMEOUT_S)
        await asyncio.sleep(1.0)
        over = await caller.speak(await render("stop"))
        await caller.wait_for_latency_record(over.started_at, timeout_s=TIMEOUT_S)
        cut = [r for r in caller.latency_records if r["interrupted_at"] is not None]
        assert len(cut) == 1
        assert cut[0]["interrupted_at"] > over.started_at
        assert "lighthouse" not in str(caller.latency_records)


async def test_a_room_without_an_agent_says_so(livekit_server: RunningServer) -> None:
    token = real.token(livekit_server, agent="nobody")
    async with SimulatedCaller(livekit_server.url, token) as caller:
        with pytest.raises(CallerError, match="not here, not listening"):
            await caller.wait_for_agent_state("listening", timeout_s=1)


async def test_a_wrong_token_is_refused_with_the_server_named(
    livekit_server: RunningServer,
) -> None:
    with pytest.raises(CallerError, match=f"can't join the room at {livekit_server.url}"):
        async with SimulatedCaller(livekit_server.url, "no.valid.token"):
            pytest.fail("it joined")


def _start(settings: Settings, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "agent_worker", "start", *arguments],
        env=export_environment(settings, inherit=True),
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_a_wrong_key_is_refused_with_a_clear_message(livekit_server: RunningServer) -> None:
    done = _start(real.worker_settings(livekit_server, livekit_api_secret="x" * 32))
    assert done.returncode == 1
    assert "refuses the API key or secret" in done.stderr
    assert "Traceback" not in done.stderr
    assert "x" * 32 not in done.stderr


def test_a_missing_key_is_named(livekit_server: RunningServer) -> None:
    done = _start(real.worker_settings(livekit_server, livekit_api_key=""))
    assert done.returncode == 1
    assert "LIVEKIT_API_KEY is not set" in done.stderr


async def test_a_server_that_comes_later_is_found(
    livekit_server: RunningServer, tmp_path: Path
) -> None:
    binary = ServerBinary(Path(f"/proc/{livekit_server.pid}/exe").resolve(), "test")
    async with run_server(binary, log_file=tmp_path / "first.log") as gone:
        port = int(gone.url.rpartition(":")[2])
    settings = real.worker_settings(gone)
    log_file = tmp_path / "worker.log"

    async def back() -> str:
        while "no LiveKit server" not in (log_file.read_text() if log_file.exists() else ""):
            await asyncio.sleep(0.1)
        async with run_server(binary, log_file=tmp_path / "second.log", port=port) as server:
            await registered.wait()
            async with SimulatedCaller(server.url, real.token(server)) as caller:
                return await greeted(caller)

    registered = asyncio.Event()
    call = asyncio.create_task(back())
    async with run_worker(settings, log_file=log_file):
        registered.set()
        assert await call


@pytest.mark.timeout(120)
async def test_sigterm_lets_the_call_end_and_leaves_new_ones_to_the_next_worker(
    livekit_server: RunningServer, tmp_path: Path
) -> None:
    settings = real.worker_settings(livekit_server, agent_name="draining")
    async with run_worker(settings, log_file=tmp_path / "worker.log") as pid:
        token = real.token(livekit_server, agent="draining")
        async with SimulatedCaller(livekit_server.url, token) as caller:
            await greeted(caller)
            await caller.silent(for_s=0.7, timeout_s=TIMEOUT_S)
            since = time.time()
            spoken = await caller.speak(await render("tell me a joke"))
            await caller.audible_after(spoken.ended_at, timeout_s=TIMEOUT_S)
            os.kill(pid, signal.SIGTERM)
            answer = await caller.wait_for_answer(since, timeout_s=TIMEOUT_S)
            assert len(answer.split()) > 5, "the answer was not cut off"
            # and the call goes on
            assert "five" in (await ask(caller, "what is two plus three")).lower()
            # a rolling restart: the next worker, perhaps of other settings, has the new calls
            async with run_worker(settings, log_file=tmp_path / "next.log"):
                token = real.token(livekit_server, agent="draining")
                async with SimulatedCaller(livekit_server.url, token) as newcomer:
                    await greeted(newcomer)
                    assert "five" in (await ask(newcomer, "what is two plus three")).lower()
                assert "five" in (await ask(caller, "what is two plus three")).lower()
            for log in ("worker.log", "next.log"):
                assert (tmp_path / log).read_text().count("received job request") == 1, log
        for _ in range(300):
            if not _alive(pid):
                break
            await asyncio.sleep(0.1)
        assert not _alive(pid)


def _alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


async def test_the_health_endpoint_tells_the_calls(
    livekit_server: RunningServer, tmp_path: Path
) -> None:
    settings = real.worker_settings(livekit_server, agent_name="healthy")
    log_file = tmp_path / "worker.log"
    async with run_worker(settings, log_file=log_file):
        found = re.search(r"HTTP server listening on 127\.0\.0\.1:(\d+)", log_file.read_text())
        assert found is not None
        async with httpx.AsyncClient(trust_env=False) as client:
            assert (await client.get(f"http://127.0.0.1:{found[1]}/")).text == "OK"
            worker = (await client.get(f"http://127.0.0.1:{found[1]}/worker")).json()
    assert worker["agent_name"] == "healthy"
