"""The worker's own language model: llama.cpp's real server with a tiny real model."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest
from livekit.agents import llm

from agent_worker.engines.build import build_engines, import_plugins
from agent_worker.engines.choice import choose
from agent_worker.engines.chosen import Choices
from agent_worker.engines.inventory import Found
from agent_worker.engines.language_model import read_prompt_ahead
from agent_worker.engines.local_models import ServerPlan
from agent_worker.processes.house_model import HouseModel, HouseModelError, house_model
from agent_worker.settings import Settings, load_settings
from bench.real_parts import smollm2
from tests.voices_at_hand import ESPEAK


def plan(path: Path) -> ServerPlan:
    return ServerPlan(str(path), threads=1, slots=1, slot_tokens=2048, prompt_cache_mib=64)


@pytest.fixture(scope="module")
def model() -> Iterator[HouseModel]:
    with contextlib.closing(HouseModel(plan(smollm2()))) as started:
        started.start()
        yield started


async def ask(model: HouseModel, *, key: str | None = None, tokens: int = 4) -> httpx.Response:
    body = {
        "messages": [{"role": "user", "content": "Hello."}],
        "max_tokens": tokens,
        "ignore_eos": True,
    }
    sent = key if key is not None else model.key
    headers = {"Authorization": f"Bearer {sent}"} if sent else {}
    async with httpx.AsyncClient(trust_env=False, timeout=50) as client:
        return await client.post(f"{model.url}/chat/completions", json=body, headers=headers)


async def test_it_answers_those_who_have_the_key_and_nobody_else(model: HouseModel) -> None:
    answer = await ask(model)
    assert answer.json()["choices"][0]["message"]["content"]
    assert answer.json()["model"] == model.name == "SmolLM2-135M-Instruct.Q4_1"
    assert (await ask(model, key="wrong")).status_code == 401
    assert (await ask(model, key="")).status_code == 401


def test_it_listens_on_loopback_only_and_its_key_is_in_no_command_line(model: HouseModel) -> None:
    assert model.pid is not None
    process = psutil.Process(model.pid)
    listening = [c.laddr.ip for c in process.net_connections() if c.status == psutil.CONN_LISTEN]
    assert listening == ["127.0.0.1"]
    assert model.key not in " ".join(process.cmdline())
    assert model.key not in str(process.environ())


async def test_one_that_is_killed_in_the_middle_of_an_answer_is_back_at_the_same_address(
    model: HouseModel,
) -> None:
    before = model.pid
    assert before is not None
    answer = asyncio.create_task(ask(model, tokens=1500))
    while psutil.Process(before).cpu_percent(0.05) < 1:
        await asyncio.sleep(0)
    os.kill(before, signal.SIGKILL)
    with pytest.raises(httpx.TransportError):
        await answer
    while True:
        with contextlib.suppress(httpx.TransportError):
            # 503 while it loads
            if (again := await ask(model)).status_code == 200:
                break
        await asyncio.sleep(0.05)
    assert again.json()["choices"][0]["message"]["content"]
    assert model.pid not in (None, before)


async def test_who_hangs_up_frees_it_at_once(model: HouseModel) -> None:
    with pytest.raises(httpx.ReadTimeout):
        async with httpx.AsyncClient(trust_env=False, timeout=0.5) as client:
            await client.post(
                f"{model.url}/chat/completions",
                json={
                    "messages": [{"role": "user", "content": "Hi."}],
                    "max_tokens": 1800,
                    "ignore_eos": True,
                },
                headers={"Authorization": f"Bearer {model.key}"},
            )
    # It has one slot: what was left of 1,800 tokens would keep it busy beyond the test's limit.
    assert (await ask(model)).status_code == 200


def test_nothing_is_left_once_it_is_closed() -> None:
    model = HouseModel(plan(smollm2()))
    model.start()
    pid = model.pid
    assert pid is not None
    model.close()
    model.close()
    assert not psutil.pid_exists(pid)


PARENT = """
import sys, time
from agent_worker.engines.local_models import ServerPlan
from agent_worker.processes.house_model import HouseModel
model = HouseModel(ServerPlan(sys.argv[1], threads=1, slots=1, slot_tokens=512, prompt_cache_mib=0))
model.start()
print(model.pid, flush=True)
time.sleep(60)
"""


def test_nothing_is_left_when_the_parent_is_killed() -> None:
    command = [sys.executable, "-c", PARENT, str(smollm2())]
    parent = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
    finally:
        parent.kill()
        parent.communicate()
    with contextlib.suppress(psutil.NoSuchProcess):
        while child.status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.02)


def broken(tmp_path: Path) -> Path:
    file = tmp_path / "broken.gguf"
    file.write_bytes(smollm2().read_bytes()[:100_000])
    return file


def test_a_file_that_is_none_is_an_error_that_names_it(tmp_path: Path) -> None:
    file = broken(tmp_path)
    with contextlib.closing(HouseModel(plan(file))) as model:
        with pytest.raises(HouseModelError, match=rf"can't run {file}: .*\w"):
            model.start()
        assert model.pid is None


def chosen(file: Path, **settings: object) -> Choices:
    return choose(load_settings(**settings), Found(house_model=file, voices=ESPEAK))


def test_where_it_cannot_be_loaded_auto_takes_the_rules_and_says_why(tmp_path: Path) -> None:
    file = broken(tmp_path)
    with house_model(load_settings(), chosen(file)) as choices:
        assert choices.llm.engine == "offline"
        assert f"can't run {file}" in choices.llm.warning
    wanted = load_settings(llm="local")
    with pytest.raises(HouseModelError), house_model(wanted, chosen(file, llm="local")):
        pass


def test_nothing_is_started_where_another_model_was_chosen() -> None:
    choices = choose(load_settings(llm="offline"), Found(house_model=smollm2()))
    with house_model(load_settings(llm="offline"), choices) as same:
        assert same is choices


async def cached_tokens(settings: Settings, choices: Choices) -> tuple[int, int]:
    """Of a call's first turn: tokens of the prompt that were read before, and all of them."""
    engines = build_engines(settings, choices)
    context = llm.ChatContext.empty()
    context.add_message(role="system", content=settings.instructions)
    context.add_message(role="assistant", content=settings.greeting)
    context.add_message(role="user", content="Which way is north?")
    try:
        async with engines.llm.chat(chat_ctx=context) as answer:
            usage = [chunk.usage async for chunk in answer if chunk.usage is not None]
    finally:
        await engines.aclose()
    return usage[-1].prompt_cached_tokens, usage[-1].prompt_tokens


async def test_the_flow_reads_its_prompt_ahead_of_the_first_call() -> None:
    settings = load_settings(llm="local", max_sessions=1, first_word_timeout_s=60)
    with house_model(settings, choose(settings, Found(house_model=smollm2()))) as choices:
        import_plugins(choices)
        before, _ = await cached_tokens(
            settings.model_copy(update={"instructions": "Be a pirate.", "llm_max_tokens": 1}),
            choices,
        )
        assert before == 0
        await read_prompt_ahead(settings, choices)
        cached, together = await cached_tokens(settings, choices)
        # All but the question and the first words of the answer.
        assert together - cached < 16 < cached
