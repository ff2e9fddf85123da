"""llama.cpp's own server with a real, tiny model: what stand-ins can only claim."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage

from agent_worker.engines.found_model import find_model_server
from agent_worker.settings import load_settings
from flows.discovery import ServerKind, ServerState, discover, look_at
from flows.graphs import assistant
from flows.model import ModelOptions, VoiceChatModel, chat_model
from flows.warm_up import warm_up
from livekit.plugins.langgraph import LLM
from tests.graph_llm import complete, said_by_user

CONTEXT = 2048
NARROW = 512
STRICT = """\
{%- if messages[0].role == 'system' -%}{{ raise_exception('No system role') }}{%- endif -%}
{%- for message in messages -%}
{%- if (message.role == 'user') != (loop.index0 % 2 == 0) -%}
{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}
{%- endif -%}
{{ '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}
{%- endfor -%}
{{ '<|im_start|>assistant\n' }}"""
"""As Gemma's template refuses."""


@contextlib.contextmanager
def starting_server(*arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    child = subprocess.Popen(
        [sys.executable, "-m", "bench.llama_server", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield child
    finally:
        child.terminate()
        child.communicate()


@contextlib.contextmanager
def llama_server(*arguments: str) -> Iterator[str]:
    with starting_server(*arguments) as child:
        assert child.stdout is not None
        yield str(json.loads(child.stdout.readline())["url"])


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with llama_server("--context", str(CONTEXT)) as url:
        yield url


@pytest.fixture(scope="module")
def narrow_server() -> Iterator[str]:
    with llama_server("--context", str(NARROW)) as url:
        yield url


@contextlib.asynccontextmanager
async def model_at(url: str, **options: Any) -> AsyncIterator[VoiceChatModel]:
    found = await look_at(url)
    assert found is not None
    known = {"kind": found.kind, "context_tokens": found.context_tokens, "max_tokens": 24}
    model = chat_model(ModelOptions(url, found.models[0], **{**known, **options}))
    try:
        yield model
    finally:
        await model.aclose()


async def test_the_server_is_found_with_its_kind_and_its_context(server: str) -> None:
    found = await discover(ports=(int(server.split(":")[2].split("/")[0]),), timeout_s=5)
    assert found is not None
    assert found.kind is ServerKind.LLAMA_CPP
    assert found.context_tokens == CONTEXT
    assert "SmolLM2-135M-Instruct" in found.models[0]
    report = await warm_up(
        ModelOptions(server, found.models[0], kind=found.kind, context_tokens=found.context_tokens)
    )
    assert report.ready
    assert report.notes == ()


async def test_a_server_that_starts_is_waited_for_until_it_has_its_model() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = int(taken.getsockname()[1])
    said: list[str] = []
    settings = load_settings(llm_url=f"http://127.0.0.1:{port}/v1")
    with starting_server("--port", str(port)):
        finding = asyncio.create_task(find_model_server(settings, say=said.append))
        states = set()
        while ServerState.READY not in states:
            seen = await look_at(f"http://127.0.0.1:{port}/v1")
            states.add(seen.state if seen else None)
        found = await finding
    # in llama.cpp's own words
    assert states == {None, ServerState.LOADING, ServerState.READY}
    assert (found.kind, len(found.models)) == (ServerKind.LLAMA_CPP, 1)
    assert said == [f"nothing answers at {settings.llm_url}; waiting for it, 180 s at most"]


async def test_an_answer_streams_token_by_token(server: str) -> None:
    async with model_at(server, temperature=0.0, presence_penalty=0.0) as model:
        chunks = [c async for c in model.astream([HumanMessage("What is the capital of France?")])]
    texts = [str(chunk.text) for chunk in chunks if chunk.text]
    assert len(texts) > 4
    assert "".join(texts).strip()
    usage = [chunk.usage_metadata for chunk in chunks if chunk.usage_metadata]
    assert usage and usage[0]["output_tokens"] >= len(texts) - 1


async def test_the_assistant_with_its_tools_and_prompt_is_taken(server: str) -> None:
    async with model_at(server) as model:
        ours = LLM(assistant.build(model=model), speakable_nodes=assistant.SPEAKABLE_NODES)
        context = said_by_user("Hello.")
        assert (await complete(ours, context)).text.strip()
        assert model.memory.habits.takes_tools


def long_call(turns: int) -> list[BaseMessage]:
    call = {"name": "clock", "args": {}, "id": "1", "type": "tool_call"}
    said: list[BaseMessage] = [SystemMessage("Answer in one sentence.")]
    for n in range(turns):
        said += [HumanMessage(f"Number {n}, " + "and why so? " * 12), AIMessage("Because. " * 12)]
    said += [
        HumanMessage("What time is it?"),
        AIMessage("", tool_calls=[call]),
        ToolMessage("It is noon.", tool_call_id="1"),
    ]
    return said


@pytest.mark.parametrize("known", [True, False])
async def test_a_call_beyond_the_context_goes_on(narrow_server: str, known: bool) -> None:
    options = {} if known else {"context_tokens": None}
    async with model_at(narrow_server, **options) as model:
        answer = await model.ainvoke(long_call(60))
        assert answer.text.strip()
        assert answer.usage_metadata is not None
        # It is not cut to a stump either.
        assert NARROW / 3 < answer.usage_metadata["input_tokens"] <= NARROW - 24
        assert model.memory.habits.context_tokens == NARROW
        assert (await model.ainvoke(long_call(61))).text.strip()


async def test_the_context_limit_is_met_within_a_stream_too(narrow_server: str) -> None:
    async with model_at(narrow_server, context_tokens=None) as model:
        chunks = [chunk async for chunk in model.astream(long_call(60))]
        assert "".join(str(chunk.text) for chunk in chunks).strip()


async def test_a_barge_in_frees_the_slot(server: str) -> None:
    async with (
        model_at(server, max_tokens=1500) as model,
        httpx.AsyncClient(base_url=server.removesuffix("/v1"), trust_env=False) as client,
    ):

        async def is_busy() -> bool:
            return bool((await client.get("/slots")).json()[0]["is_processing"])

        heard = asyncio.Event()

        async def listen() -> None:
            async for chunk in model.astream([HumanMessage("Tell me a very long story.")]):
                if chunk.text:
                    heard.set()

        call = asyncio.create_task(listen())
        await heard.wait()
        assert await is_busy()
        call.cancel()
        await asyncio.wait([call])
        # What 1,500 tokens would take is many times the test's limit for the next answer.
        async with asyncio.timeout(10):
            while await is_busy():
                await asyncio.sleep(0.01)
        assert (await model.bind(max_tokens=4).ainvoke([HumanMessage("Hi.")])).text


async def test_a_forced_tool_call_comes_as_the_model_writes_it(server: str) -> None:
    # So small a model calls nothing of its own accord: a grammar makes it.
    grammar = (
        r'root ::= "<tool_call>\n{\"name\": \"clock\", \"arguments\": {\"place\": \"" '
        r'[A-Za-z]{1,12} "\"}}\n</tool_call>"'
    )
    async with model_at(server, max_tokens=60) as model:
        model.extra_body = {"grammar": grammar}
        answer = await model.ainvoke([HumanMessage("What time is it in Paris?")])
    call = json.loads(answer.text.removeprefix("<tool_call>").removesuffix("</tool_call>"))
    assert call["name"] == "clock"
    assert call["arguments"]["place"]


async def test_a_strict_template_gets_what_it_wants(tmp_path: Path) -> None:
    template = tmp_path / "strict.jinja"
    template.write_text(STRICT)
    greeted: list[BaseMessage] = [
        SystemMessage("Be brief."),
        AIMessage("Hello, this is Ada."),
        HumanMessage("Hi."),
        HumanMessage("What is the capital of France?"),
    ]
    with llama_server("--context", "512", "--template", str(template)) as url:
        async with model_at(url) as model:
            assert (await model.ainvoke(greeted)).text.strip()
            assert model.memory.habits.in_turn


async def test_a_value_that_the_server_cannot_read_is_left_out(server: str) -> None:
    async with model_at(server) as model:
        model.extra_body = {"top_k": "many"}
        assert (await model.ainvoke([HumanMessage("Hi.")])).text.strip()
        assert "top_k" in model.memory.habits.without
