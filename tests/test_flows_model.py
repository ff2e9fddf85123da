"""The chat model by kind of server, its limits in time, and the search for a server."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
from langchain_core.messages import HumanMessage

from flows.discovery import Discovered, ServerKind, discover, discover_all
from flows.model import ECONOMY_MAX_TOKENS, ModelOptions, VoiceChatModel, chat_model
from tests.fake_openai_server import FakeOpenAIServer, Reply


@contextlib.asynccontextmanager
async def model_on(upstream: FakeOpenAIServer, **options: Any) -> AsyncIterator[VoiceChatModel]:
    model = chat_model(ModelOptions(upstream.base_url, upstream.model, **options))
    try:
        yield model
    finally:
        await model.aclose()
        await model.aclose()


async def sent_by(upstream: FakeOpenAIServer, **options: Any) -> dict[str, Any]:
    async with model_on(upstream, **options) as model:
        async for _ in model.astream([HumanMessage("hi")]):
            pass
    return upstream.requests[-1].body


THINKING_OFF = {"chat_template_kwargs": {"enable_thinking": False}}


@pytest.mark.parametrize(
    ("kind", "extras"),
    [
        (ServerKind.VLLM, THINKING_OFF | {"top_k": 20, "min_p": 0.0}),
        (ServerKind.SGLANG, THINKING_OFF | {"top_k": 20, "min_p": 0.0}),
        (ServerKind.LLAMA_CPP, THINKING_OFF | {"top_k": 20, "min_p": 0.0}),
        (ServerKind.OLLAMA, {"reasoning_effort": "none"}),
        (ServerKind.OPENROUTER, {"reasoning": {"enabled": False}, "top_k": 20, "min_p": 0.0}),
        (ServerKind.OTHER, {}),
    ],
)
async def test_each_kind_of_server_is_told_not_to_think_in_its_own_way(
    kind: ServerKind, extras: dict[str, Any]
) -> None:
    async with FakeOpenAIServer() as upstream:
        body = await sent_by(upstream, kind=kind)
    plain = {"model", "messages", "stream", "stream_options", "temperature", "top_p"}
    plain |= {"presence_penalty", "max_tokens"}
    assert {key: value for key, value in body.items() if key not in plain} == extras
    assert body["temperature"] <= 0.4
    assert body["max_tokens"] == 256
    assert body["stream_options"] == {"include_usage": True}


async def test_economy_mode_asks_for_fewer_tokens() -> None:
    async with FakeOpenAIServer() as upstream:
        assert (await sent_by(upstream, economy=True))["max_tokens"] == ECONOMY_MAX_TOKENS
        assert (await sent_by(upstream, economy=True, max_tokens=20))["max_tokens"] == 20


async def test_a_model_that_sends_nothing_is_given_up() -> None:
    async with (
        FakeOpenAIServer(Reply(hang_after=0)) as upstream,
        model_on(upstream, first_token_timeout_s=0.1) as model,
    ):
        with pytest.raises(TimeoutError, match=r"no first token for 0\.1 s"):
            await model.ainvoke([HumanMessage("hi")], stream=True)
        await upstream.wait_until(lambda server: server.cancelled_requests == 1)


async def test_a_model_that_stops_in_the_middle_is_given_up() -> None:
    async with (
        FakeOpenAIServer(Reply("one two three four", hang_after=2)) as upstream,
        model_on(upstream, idle_timeout_s=0.1) as model,
    ):
        heard = []
        with pytest.raises(TimeoutError, match="no further token"):
            async for chunk in model.astream([HumanMessage("hi")]):
                heard.append(chunk.text)
        assert "".join(heard) == "one two "


async def test_a_cancelled_stream_is_closed_upstream_every_time() -> None:
    endless = Reply(["word "] * 5000, tokens_per_second=200)
    async with FakeOpenAIServer(default=endless) as upstream, model_on(upstream) as model:

        async def listen() -> None:
            async for _ in model.astream([HumanMessage("talk")]):
                pass

        calls = [asyncio.create_task(listen()) for _ in range(16)]
        await upstream.wait_until(lambda server: len(server.requests) == 16)
        for number in range(16):
            await upstream.wait_pieces(2, number)
        for call in calls:
            call.cancel()
        await asyncio.wait(calls)
        assert all(call.cancelled() for call in calls)
        await upstream.wait_until(lambda server: server.cancelled_requests == 16)


@contextlib.asynccontextmanager
async def server_answering(body: bytes, head: bytes = b"") -> AsyncIterator[int]:
    """A bare HTTP server with one answer; gives its port."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            await reader.readuntil(b"\r\n\r\n")
            length = str(len(body)).encode()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: " + length + b"\r\n" + head)
            writer.write(b"\r\n" + body)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


@pytest.mark.parametrize(
    ("owner", "head", "kind"),
    [
        ("vllm", b"", ServerKind.VLLM),
        ("sglang", b"", ServerKind.SGLANG),
        ("llamacpp", b"", ServerKind.LLAMA_CPP),
        ("me", b"Server: llama.cpp\r\n", ServerKind.LLAMA_CPP),
        ("library", b"", ServerKind.OLLAMA),
        ("organization-owner", b"", ServerKind.OTHER),
    ],
)
async def test_discovery_tells_the_kind_and_puts_qwen3_first(
    owner: str, head: bytes, kind: ServerKind
) -> None:
    names = ("llama3:8b", "nomic-embed-text", "qwen3:4b")
    listed = ", ".join(f'{{"id": "{name}", "owned_by": "{owner}"}}' for name in names)
    async with server_answering(f'{{"data": [{listed}]}}'.encode(), head) as port:
        found = await discover(ports=(port,), timeout_s=5)
    assert found == Discovered(f"http://127.0.0.1:{port}/v1", kind, ("qwen3:4b", "llama3:8b"))
    assert str(found) == f"{kind} at http://127.0.0.1:{port}/v1 with qwen3:4b, llama3:8b"


async def test_discovery_passes_over_what_is_no_model_server() -> None:
    async with (
        server_answering(b"<html>") as page,
        server_answering(b'{"data": 3}') as odd,
        server_answering(b'{"data": []}') as empty,
        FakeOpenAIServer() as upstream,
    ):
        ports = (page, odd, 1, empty, upstream.port)
        found = await discover(ports=ports, timeout_s=5)
        everything = await discover_all(ports=ports, timeout_s=5)
    assert found is not None
    assert (found.base_url, found.models) == (upstream.base_url, ("scripted-qwen3",))
    assert [server.models for server in everything] == [(), ("scripted-qwen3",)]


async def test_discovery_does_not_wait_for_a_port_that_never_answers() -> None:
    # The kernel takes the connection; nobody reads from it.
    with socket.create_server(("127.0.0.1", 0)) as silent:
        async with asyncio.timeout(20):
            assert await discover(ports=(silent.getsockname()[1],), timeout_s=0.1) is None


async def test_a_named_server_is_asked_with_its_key() -> None:
    async with FakeOpenAIServer(api_key="k3y") as upstream:
        found = await discover(upstream.base_url + "/", api_key="k3y", timeout_s=5)
    assert found is not None
    assert found.base_url == upstream.base_url
