"""Whoever starts waits for a model server that will soon answer, says so, and not for ever."""

from __future__ import annotations

import asyncio
import dataclasses
import math
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent_worker.commands import doctor
from agent_worker.commands.demo_model import awake
from agent_worker.commands.worker_process import RunError, run_worker
from agent_worker.engines.choice import choose
from agent_worker.engines.chosen import Choices
from agent_worker.engines.found import choose_engines, look_around
from agent_worker.engines.found_model import find_model_server, still_coming
from agent_worker.settings import Settings, load_settings
from flows.discovery import Discovered, ServerKind, ServerState, discover_all, look_at
from tests.fake_cold_server import FakeColdServer
from tests.fake_openai_server import FakeOpenAIServer, Reply

URL = "http://127.0.0.1:8080/v1"


def settings_for(url: str, **more: object) -> Settings:
    return load_settings(llm_url=url, stt="bundled", tts="espeak", **more)


def seen(state: ServerState) -> Discovered:
    models = ("qwen3",) if state is ServerState.READY else ()
    return Discovered(URL, ServerKind.LLAMA_CPP, models, state)


@pytest.fixture
def deaf_port() -> Iterator[int]:
    """Takes connections and answers nothing, ever."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(16)
        yield int(listener.getsockname()[1])


@pytest.mark.parametrize(
    ("states", "url", "waits_s"),
    [
        ([ServerState.LOADING], None, math.inf),
        ([ServerState.LOADING], URL, math.inf),
        ([ServerState.SILENT], URL, math.inf),
        ([], URL, math.inf),
        # on a usual port it may be anything
        ([ServerState.SILENT], None, 10.0),
        ([ServerState.SILENT, ServerState.LOADING], None, math.inf),
        # of these nothing will come
        ([], None, 0.0),
        ([ServerState.KEY_REFUSED], URL, 0.0),
        ([ServerState.NO_MODEL], None, 0.0),
        ([ServerState.ODD], URL, 0.0),
        ([ServerState.LOADING, ServerState.READY], None, 0.0),
    ],
)
def test_only_what_may_soon_answer_is_waited_for(
    states: list[ServerState], url: str | None, waits_s: float
) -> None:
    reason, worth_s = still_coming([seen(state) for state in states], url)
    assert worth_s == waits_s
    assert bool(reason) == bool(waits_s)


async def test_who_takes_connections_and_says_nothing_is_told_from_who_is_not_there(
    deaf_port: int,
) -> None:
    silent = await look_at(f"http://127.0.0.1:{deaf_port}/v1", timeout_s=0.3)
    assert silent is not None and silent.state is ServerState.SILENT
    assert "does not answer yet" in silent.advice
    (found,) = await discover_all(ports=(deaf_port,))
    assert found.state is ServerState.SILENT
    assert await look_at("http://127.0.0.1:9/v1", timeout_s=0.3) is None


async def test_a_busy_server_is_waited_for() -> None:
    said: list[str] = []
    async with FakeColdServer(0.6, silent=True) as upstream:
        found = await find_model_server(settings_for(upstream.base_url), say=said.append)
    assert found.models == ("qwen3:4b",)
    # it answered within the time of one look
    assert said == []


async def test_a_named_server_that_comes_up_late_is_waited_for() -> None:
    upstream = FakeOpenAIServer()
    async with upstream:
        pass
    said: list[str] = []
    settings = settings_for(upstream.base_url)
    finding = asyncio.create_task(find_model_server(settings, say=said.append))
    while not said:
        await asyncio.sleep(0.01)
    async with upstream:
        assert (await finding).models == ("scripted-qwen3",)
    assert said == [f"nothing answers at {upstream.base_url}; waiting for it, 180 s at most"]


async def test_the_waiting_ends_with_what_is_amiss_and_how_long_a_start_waits() -> None:
    said: list[str] = []
    async with FakeColdServer(60.0, refuses=True) as upstream:
        settings = settings_for(upstream.base_url, llm_wait_s=0.7)
        choices = await choose_engines(settings, say=said.append)
    (problem,) = choices.problems
    assert problem == (
        f"thinking: the model server at {upstream.base_url} is still loading its model "
        "(a start waits 1 s for it: llm_wait_s)"
    )
    (line,) = said
    assert "still loading its model; waiting for it, 1 s at most" in line


async def test_where_the_model_is_named_a_worker_starts_at_once_and_the_demo_waits() -> None:
    async with FakeColdServer(0.6, refuses=True) as upstream:
        settings = settings_for(upstream.base_url, llm_model="qwen3:4b")
        now = choose(settings, await look_around(settings)).llm
        assert "still loading" in now.warning and not now.problem
        later = choose(settings, await look_around(settings, until_ready=True)).llm
        assert not later.warning


async def test_doctor_says_that_a_server_loads_and_waits_for_none() -> None:
    async with FakeColdServer(600.0, refuses=True) as upstream:
        report = await doctor.examine(settings_for(upstream.base_url))
        assert upstream.loaded_s < 100
    assert not report.healthy
    assert "[--] thinking" in report.text
    assert "is still loading its model (a start waits 180 s for it: llm_wait_s)" in report.text


async def choices_on(url: str, *, named: bool) -> tuple[Settings, Choices]:
    settings = settings_for(url) if named else load_settings(stt="bundled", tts="espeak")
    found = await look_around(settings_for(url), wait_s=0.0)
    return settings, choose(settings, found)


async def test_the_demo_has_a_cold_model_loaded_before_it_speaks_with_it() -> None:
    said: list[str] = []
    async with FakeColdServer(2.3) as upstream:
        settings, choices = await choices_on(upstream.base_url, named=True)
        assert await awake(settings, choices, said.append) == choices
        assert upstream.is_loaded
    assert [line for line in said if "still loading its model; waited 2 s" in line]


async def test_a_named_server_that_fails_ends_the_demo_with_the_reason() -> None:
    broken = Reply(status=500, error_message="CUDA out of memory")
    async with FakeOpenAIServer(default=broken) as upstream:
        settings, choices = await choices_on(upstream.base_url, named=True)
        after = await awake(settings, choices, lambda line: None)
    (problem,) = after.problems
    assert "status 500" in problem
    assert "AGENT_WORKER_LLM=offline holds the conversation without it" in problem


async def test_where_a_server_that_was_only_found_fails_the_demo_goes_on_without_it() -> None:
    said: list[str] = []
    broken = Reply(status=500, error_message="CUDA out of memory")
    async with FakeOpenAIServer(default=broken) as upstream:
        settings, choices = await choices_on(upstream.base_url, named=False)
        assert choices.llm.endpoint == upstream.base_url
        after = await awake(settings, choices, said.append)
    assert after.llm.engine == "offline" and not after.problems
    # calls choose again, and must not come upon it
    assert after.found.llm_endpoint is None
    assert "status 500" in said[0] and "instead: offline" in said[0]


async def test_a_worker_that_is_handed_its_engines_does_not_look_for_them(tmp_path: Path) -> None:
    async with FakeOpenAIServer() as upstream:
        settings, choices = await choices_on(upstream.base_url, named=True)
        told = dataclasses.replace(choices.llm, reason="the demo chose it")
        choices = dataclasses.replace(choices, llm=told)
    # the server is gone: a worker that looked would say that nothing answers, and wait
    settings = settings.model_copy(update={"livekit_url": "ws://127.0.0.1:9", "health_port": 0})
    log = tmp_path / "worker.log"
    with pytest.raises(RunError, match="the worker ended"):
        async with run_worker(settings, log_file=log, choices=choices):
            pass
    assert "the demo chose it" in log.read_text()
    assert "nothing answers at http" not in log.read_text()
