"""An engine in a process of its own, which may die, hang, be shared, or be slow.

The processes and the sockets are real; only the model is a stand-in, in most.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from livekit.agents import APIConnectionError

from livekit.plugins import faster_whisper
from livekit.plugins.faster_whisper import engines
from livekit.plugins.faster_whisper.engine_process import EngineProcesses, RemoteEngine
from livekit.plugins.faster_whisper.engine_process.keeper import pause_before_restart_s
from livekit.plugins.faster_whisper.engine_process.messages import Wanted, receive, send
from livekit.plugins.faster_whisper.errors import PartialDropped
from livekit.plugins.faster_whisper.job import Decoded
from livekit.plugins.faster_whisper.models import ModelSpec

from .fake_engine_process import COMMAND
from .fake_stt_decoder import job
from .speech import speak
from .stt_probe import frames

SPEC = ModelSpec("stand-in")


@pytest.fixture(scope="module")
def keeper() -> Iterator[EngineProcesses]:
    keeper = EngineProcesses(command=COMMAND, stall_s=1.0)
    yield keeper
    keeper.close()


@pytest.fixture
def engine(keeper: EngineProcesses) -> Iterator[RemoteEngine]:
    engine = RemoteEngine(SPEC, keeper.meeting)
    yield engine
    engine.close()


@pytest.fixture
def victim(keeper: EngineProcesses) -> Iterator[RemoteEngine]:
    """One whose process no other test uses."""
    engine = RemoteEngine(ModelSpec(f"victim-{uuid.uuid4().hex}"), keeper.meeting)
    yield engine
    engine.close()


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.01)


def pid_of(result: Decoded) -> int:
    return int(result.text.split("pid ")[1].split()[0])


async def test_a_request_is_answered_by_another_process(engine: RemoteEngine) -> None:
    result = await engine.decode(job("hello there", seconds=2.0), timeout_s=55)
    assert result.text.startswith("hello there pid ")
    assert result.text.endswith("samples 32000")
    assert pid_of(result) != os.getpid()
    assert engine.loaded
    assert engine.statistics().loaded


async def test_all_processes_share_one_engine_and_its_batches(
    keeper: EngineProcesses, engine: RemoteEngine
) -> None:
    with contextlib.closing(RemoteEngine(SPEC, keeper.meeting)) as other:
        await asyncio.gather(engine.wait_until_loaded(), other.wait_until_loaded())
        busy = asyncio.wrap_future(engine.submit(job("wait 0.5"), stream=1))
        await asyncio.sleep(0.2)
        # streams of two processes may have one and the same number
        answers = await asyncio.gather(
            asyncio.wrap_future(engine.submit(job("one", is_final=False), stream=7)),
            asyncio.wrap_future(other.submit(job("two", is_final=False), stream=7)),
        )
        assert pid_of(await busy) == pid_of(answers[0]) == pid_of(answers[1])
        assert all("beside 2" in answer.text for answer in answers)


async def test_finals_of_one_process_run_before_partials_of_another(
    keeper: EngineProcesses, engine: RemoteEngine
) -> None:
    with contextlib.closing(RemoteEngine(SPEC, keeper.meeting)) as other:
        await asyncio.gather(engine.wait_until_loaded(), other.wait_until_loaded())
        order: list[str] = []
        busy = asyncio.wrap_future(engine.submit(job("wait 0.5")))
        partial = engine.submit(job("wait 0.1 partial", is_final=False), stream=1)
        await asyncio.sleep(0.2)
        final = other.submit(job("wait 0.1 final"), stream=2)
        partial.add_done_callback(lambda _: order.append("partial"))
        final.add_done_callback(lambda _: order.append("final"))
        await asyncio.gather(busy, asyncio.wrap_future(partial), asyncio.wrap_future(final))
        assert order == ["final", "partial"]


async def test_requests_survive_the_death_of_the_process(
    victim: RemoteEngine,
) -> None:
    first = pid_of(await victim.decode(job("before"), timeout_s=55))
    running = asyncio.create_task(victim.decode(job("wait 1"), timeout_s=55))
    waiting = [
        asyncio.create_task(victim.decode(job(f"final {i}"), stream=i, timeout_s=55))
        for i in range(4)
    ]
    await asyncio.sleep(0.2)
    os.kill(first, signal.SIGKILL)
    answers = await asyncio.gather(running, *waiting)
    assert [a.text.split(" pid")[0] for a in answers] == [
        "wait 1",
        *(f"final {i}" for i in range(4)),
    ]
    assert first not in {pid_of(a) for a in answers}
    assert not psutil.pid_exists(first)


async def test_a_request_that_kills_the_process_once_is_answered_by_the_next(
    victim: RemoteEngine, tmp_path: Path
) -> None:
    file = tmp_path / "died"
    assert (await victim.decode(job(f"once {file}"), timeout_s=55)).text.startswith("once")


async def test_a_request_that_kills_two_processes_is_not_tried_on_a_third(
    victim: RemoteEngine,
) -> None:
    with pytest.raises(APIConnectionError, match="died twice"):
        await victim.decode(job("die"), timeout_s=55)
    assert victim.usable
    assert (await victim.decode(job("after"), timeout_s=55)).text.startswith("after")


async def test_a_process_whose_model_hangs_is_replaced(
    victim: RemoteEngine, tmp_path: Path
) -> None:
    file = tmp_path / "hung"
    result = await victim.decode(job(f"hang once {file}"), timeout_s=55)
    assert result.text.startswith("hang once")


async def test_a_process_that_is_frozen_whole_is_replaced(
    keeper: EngineProcesses, tmp_path: Path
) -> None:
    file = tmp_path / "frozen"
    spec = ModelSpec("frozen")
    with contextlib.closing(RemoteEngine(spec, keeper.meeting, silence_s=1.5)) as engine:
        frozen = pid_of(await engine.decode(job("first"), timeout_s=55))
        result = await engine.decode(job(f"freeze once {file}"), timeout_s=55)
        assert result.text.startswith("freeze once")
        assert pid_of(result) != frozen
        assert not psutil.pid_exists(frozen)


async def test_cancelling_a_request_frees_its_place_in_the_other_process(
    engine: RemoteEngine,
) -> None:
    await engine.wait_until_loaded()
    busy = asyncio.wrap_future(engine.submit(job("wait 0.8")))
    # it is to wait for the batch under way, not to be part of it
    await asyncio.sleep(0.3)
    unwanted = asyncio.create_task(engine.decode(job("wait 50"), timeout_s=55))
    await asyncio.sleep(0.2)
    unwanted.cancel()
    await busy
    assert (await engine.decode(job("next"), timeout_s=5)).text.startswith("next")
    await until(lambda: engine.statistics().cancelled >= 1)
    assert engine.statistics().depth == 0


async def test_while_the_process_is_away_partials_are_thinned_and_finals_kept(
    keeper: EngineProcesses,
) -> None:
    spec = ModelSpec("away")
    with contextlib.closing(RemoteEngine(spec, keeper.meeting, max_partials=3)) as engine:
        partials = [
            asyncio.wrap_future(engine.submit(job(f"p{i}", is_final=False), stream=i))
            for i in range(10)
        ]
        finals = [asyncio.wrap_future(engine.submit(job(f"f{i}"), stream=i)) for i in range(20, 30)]
        heard = await asyncio.gather(*finals)
        assert [result.text.split()[0] for result in heard] == [f"f{i}" for i in range(20, 30)]
        outcomes = await asyncio.gather(*partials, return_exceptions=True)
        assert sum(isinstance(outcome, PartialDropped) for outcome in outcomes) >= 6
        assert all(isinstance(outcome, PartialDropped | Decoded) for outcome in outcomes)


async def test_a_caller_that_reads_nothing_does_not_stop_the_engine_for_others(
    keeper: EngineProcesses, engine: RemoteEngine
) -> None:
    await engine.wait_until_loaded()
    script = (
        "import os, signal, sys\n"
        "from tests.test_engine_process import flood_and_freeze\n"
        "flood_and_freeze(sys.argv[1], bytes.fromhex(sys.argv[2]))\n"
    )
    meeting = keeper.meeting
    frozen = subprocess.Popen(  # noqa: ASYNC220
        [sys.executable, "-c", script, meeting.address, meeting.secret.hex()],
        stdout=subprocess.PIPE,
    )
    try:
        assert frozen.stdout is not None
        assert await asyncio.to_thread(frozen.stdout.readline) == b"flooded\n"
        for i in range(3):
            result = await engine.decode(job(f"after {i}"), timeout_s=20)
            assert result.text.startswith(f"after {i}")
    finally:
        frozen.kill()
        frozen.communicate()


def flood_and_freeze(address: str, secret: bytes) -> None:
    """Asks for much, and never reads an answer; run in a process of its own."""
    from multiprocessing.connection import Client

    from livekit.plugins.faster_whisper.engine_process.messages import Request

    with Client(address, authkey=secret) as keeper:
        send(keeper, Wanted(SPEC))
        engine = receive(keeper)
    connection = Client(engine, authkey=secret)
    for number in range(300):
        send(connection, Request(number, job("many words " * 100, seconds=0.1), None))
    print("flooded", flush=True)
    os.kill(os.getpid(), signal.SIGSTOP)


async def test_a_model_that_cannot_be_loaded_is_said_and_not_tried_for_ever(
    keeper: EngineProcesses,
) -> None:
    with contextlib.closing(RemoteEngine(ModelSpec("absent"), keeper.meeting)) as engine:
        with pytest.raises(APIConnectionError, match="no such model") as caught:
            await engine.wait_until_loaded(30)
        assert not caught.value.retryable
        assert not engine.usable
        with pytest.raises(APIConnectionError, match="no such model"):
            await engine.decode(job("x"), timeout_s=5)


async def test_nobody_gets_an_engine_without_the_secret(
    keeper: EngineProcesses, engine: RemoteEngine
) -> None:
    from multiprocessing import AuthenticationError
    from multiprocessing.connection import Client

    await engine.wait_until_loaded()
    with pytest.raises((AuthenticationError, ConnectionError, EOFError)):
        await asyncio.to_thread(Client, keeper.meeting.address, authkey=b"guess")
    assert (await engine.decode(job("still"), timeout_s=5)).text.startswith("still")


async def test_nothing_is_left_when_the_keeper_closes() -> None:
    keeper = EngineProcesses(command=COMMAND)
    with contextlib.closing(RemoteEngine(SPEC, keeper.meeting)) as engine:
        pid = pid_of(await engine.decode(job("x"), timeout_s=55))
        keeper.close()
        assert not psutil.pid_exists(pid)
        assert not Path(keeper.meeting.address).parent.exists()


async def test_the_engine_ends_when_the_keepers_process_is_killed() -> None:
    script = (
        "import time\n"
        "from livekit.plugins.faster_whisper.engine_process import EngineProcesses, RemoteEngine\n"
        "from tests.test_engine_process import COMMAND, SPEC\n"
        "keeper = EngineProcesses(command=COMMAND)\n"
        "engine = RemoteEngine(SPEC, keeper.meeting)\n"
        "while not engine.loaded: time.sleep(0.05)\n"
        "print(keeper.pids['stand-in'], flush=True)\n"
        "time.sleep(60)\n"
    )
    parent = subprocess.Popen(  # noqa: ASYNC220
        [sys.executable, "-c", script], stdout=subprocess.PIPE
    )
    try:
        assert parent.stdout is not None
        pid = int(await asyncio.to_thread(parent.stdout.readline))
        children = psutil.Process(parent.pid).children(recursive=True)
        assert pid in [child.pid for child in children]
    finally:
        parent.kill()
        parent.communicate()
    await until(lambda: not any(_runs(child) for child in children))


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_process_that_keeps_dying_is_started_ever_more_slowly() -> None:
    pauses = [pause_before_restart_s(failures) for failures in range(12)]
    assert pauses[:2] == [0.0, 0.0]
    assert pauses == sorted(pauses)
    assert pauses[-1] == 5.0


async def test_the_real_model_hears_the_same_in_a_process_of_its_own() -> None:
    with contextlib.closing(EngineProcesses(spare=False)) as keeper:
        engines.use_engine_processes(keeper.meeting)
        try:
            audio = [*frames(speak("what time is it"))]
            async with faster_whisper.STT() as stt:
                event = await stt.recognize(audio)
                assert event.alternatives[0].text.lower().strip(" .?") == "what time is it"
                # killed, and nobody notices
                os.kill(keeper.pids["bundled"], signal.SIGKILL)
                event = await stt.recognize(audio)
                assert event.alternatives[0].text.lower().strip(" .?") == "what time is it"
        finally:
            engines.use_engine_processes(None)
