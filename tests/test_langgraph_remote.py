"""What comes over the wire from a flow server, well formed and otherwise."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest
from livekit.agents import (
    APIConnectionError,
    APIConnectOptions,
    APIError,
    APIStatusError,
    APITimeoutError,
    llm,
)

from livekit.plugins.langgraph import LLM
from tests.fake_flow_server import FakeFlowServer
from tests.graph_llm import NO_RETRY, Completion, complete, said_by_user


def event(**fields: Any) -> bytes:
    return b"data: " + json.dumps(fields, ensure_ascii=False).encode() + b"\n\n"


DONE = event(type="done", reason="completed")


async def answer_of(server: FakeFlowServer, **options: Any) -> Completion:
    async with server, LLM.remote(server.url, "flow", **options) as ours:
        return await complete(ours, "Hi.")


async def test_the_turn_is_sent_as_the_server_expects_it() -> None:
    context = llm.ChatContext()
    context.add_message(role="user", content="Hi.", id="u1")
    context.items.append(llm.FunctionCall(id="c1", call_id="call", name="clock", arguments="{}"))
    server = FakeFlowServer(DONE)
    async with (
        server,
        LLM.remote(
            server.url + "/", "my flow", session_id="s1", token="secret", context={"a": 1}
        ) as ours,
    ):
        await complete(ours, context, extra_kwargs={"mood": "calm"})
    ((path, body, headers),) = server.requests
    assert path == "/api/flows/my flow/stream/s1"
    assert headers["Authorization"] == "Bearer secret"
    assert body["context"] == {"a": 1, "mood": "calm"}
    assert body["committed"] is True
    user, call, output = body["messages"]
    assert user == {"id": "u1", "role": "user", "content": "Hi."}
    assert call["tool_calls"] == [
        {"id": "call", "type": "function", "function": {"name": "clock", "arguments": "{}"}}
    ]
    assert output["tool_call_id"] == "call"


async def test_every_cut_of_the_bytes_reads_the_same() -> None:
    stream = (
        b": ping\r\n\r\nid: 1\r\nevent: message\r\n"
        + event(type="token", content="Gr\u00fc\u00df \u2028 dich \U0001f642 ").rstrip()
        + b"\r\n\r\n"
        + b'data: {"type":\ndata: "token", "content": "you."}\n\n'
        + event(type="unknown", content="secret")
        + DONE
    )
    pieces = [bytes([byte]) for byte in stream]
    for server in (FakeFlowServer(stream), FakeFlowServer(*pieces)):
        assert (await answer_of(server)).text == "Gr\u00fc\u00df \u2028 dich \U0001f642 you."


async def test_usage_and_model_come_from_the_server() -> None:
    usage = event(
        type="usage",
        model="qwen3",
        input_tokens=9,
        output_tokens=2,
        cached_tokens=4,
        total_tokens=11,
    )
    server = FakeFlowServer(event(type="token", content="Hi."), usage, DONE)
    async with server, LLM.remote(server.url, "flow") as ours:
        assert ours.model == "flow"
        completion = await complete(ours, "Hi.")
        assert ours.model == "qwen3"
    assert completion.usage is not None
    assert completion.usage.prompt_cached_tokens == 4
    assert completion.usage.total_tokens == 11


async def test_tools_fillers_and_questions_are_spoken_in_their_order() -> None:
    completion = await answer_of(
        FakeFlowServer(
            event(type="token", content="Let me look."),
            event(type="tool_start", id="c", name="clock", arguments={}),
            event(type="filler", content="Hm."),
            event(type="tool_end", id="c", name="clock", output="raw"),
            event(type="token", content="It is noon."),
            event(type="interrupt", id="i", content="Shall I go on?", value={}),
            event(type="tool_call", id="x", name="dim", arguments={"level": 3}),
            DONE,
        )
    )
    segments = [segment.strip() for segment in completion.segments]
    assert segments == ["Let me look.", "Hm.", "It is noon.\n\nShall I go on?"]
    assert [(c.call_id, c.name, c.arguments) for c in completion.calls] == [
        ("x", "dim", '{"level": 3}')
    ]


@pytest.mark.parametrize(
    ("server", "error", "retryable"),
    [
        (FakeFlowServer(event(type="token", content=" ")), APIConnectionError, True),
        (FakeFlowServer(b"data: {nope\n\n"), APIError, True),
        (FakeFlowServer(b"data: []\n\n"), APIError, True),
        (FakeFlowServer(b"<html>", content_type="text/html"), APIError, False),
        (FakeFlowServer(b"data: " + b"x" * 5_000_000), APIError, False),
        (FakeFlowServer(b'{"error": {"message": "No such flow."}}', status=404), APIError, False),
        (FakeFlowServer(b"Bad gateway", status=502), APIStatusError, True),
        (FakeFlowServer(b"", status=204), APIStatusError, False),
        (FakeFlowServer(b"", status=429), APIStatusError, True),
        (
            FakeFlowServer(event(type="error", code="model_timeout", retryable=True)),
            APITimeoutError,
            True,
        ),
        (
            FakeFlowServer(event(type="error", code="model_unreachable", retryable=True)),
            APIConnectionError,
            True,
        ),
        (
            FakeFlowServer(event(type="error", code="x", status=401, retryable=True)),
            APIStatusError,
            False,
        ),
        (FakeFlowServer(event(type="error", code="flow_failed")), APIError, False),
    ],
)
async def test_what_goes_wrong_is_told_as_livekits_errors(
    server: FakeFlowServer, error: type[APIError], retryable: bool
) -> None:
    server = FakeFlowServer(
        *server.pieces, status=server._status, content_type=server._content_type
    )
    with pytest.raises(error) as caught:
        await answer_of(server)
    assert caught.value.retryable is retryable


async def test_the_servers_own_sentence_is_in_the_error() -> None:
    body = b'{"error": {"code": "unknown_flow", "message": "There is no such flow."}}'
    with pytest.raises(APIStatusError, match="There is no such flow"):
        await answer_of(FakeFlowServer(body, status=404))


async def test_a_turn_that_another_has_taken_over_ends_in_silence() -> None:
    errors: list[llm.LLMError] = []
    server = FakeFlowServer(event(type="done", reason="cancelled"))
    async with server, LLM.remote(server.url, "flow") as ours:
        ours.on("error", errors.append)
        assert (await complete(ours, "Hi.")).text == ""
    assert errors == []


async def test_no_server_is_a_connection_error_and_a_later_one_is_found(
    unused_tcp_port: int,
) -> None:
    async with LLM.remote(f"http://127.0.0.1:{unused_tcp_port}", "flow") as ours:
        with pytest.raises(APIConnectionError) as caught:
            await complete(ours, "Hi.")
    assert caught.value.retryable


async def test_pings_do_not_hide_that_the_model_hangs() -> None:
    pings: list[bytes | float] = [b": ping\n\n", 0.1]
    options = APIConnectOptions(max_retry=0, timeout=0.5)
    server = FakeFlowServer(*pings * 600)
    async with server, LLM.remote(server.url, "flow") as ours:
        with pytest.raises(APITimeoutError):
            await complete(ours, "Hi.", options)


async def test_the_commit_of_a_speculative_turn_is_passed_on() -> None:
    committed = asyncio.Event()
    server = FakeFlowServer(b": ping\n\n", hang=True)
    async with (
        server,
        LLM.remote(server.url, "flow") as ours,
        ours.chat(
            chat_ctx=said_by_user("Hi."),
            conn_options=NO_RETRY,
            extra_kwargs={"turn_committed": committed},
        ),
    ):
        while not server.requests:
            await asyncio.sleep(0.005)
        assert server.commits.empty()
        committed.set()
        turn_id = await server.commits.get()
    assert server.requests[0][1]["committed"] is False
    assert server.requests[0][1]["turn_id"] == turn_id


async def test_a_given_client_is_used_and_left_open() -> None:
    server = FakeFlowServer(event(type="token", content="Hi."), DONE)
    async with server, httpx.AsyncClient(headers={"X-Own": "1"}) as client:
        async with LLM.remote(server.url, "flow", client=client) as ours:
            await complete(ours, "Hi.")
        assert not client.is_closed
    assert server.requests[0][2]["X-Own"] == "1"


async def test_bad_arguments_are_refused_with_a_reason() -> None:
    with pytest.raises(ValueError, match="http"):
        LLM.remote("localhost:8123", "flow")
    with pytest.raises(ValueError, match="flow_id"):
        LLM.remote("http://localhost:8123", "")
    ours = LLM.remote("http://localhost:8123", "flow")
    with pytest.raises(ValueError, match="flow server"):
        ours.update_options(speakable_nodes=["a"])
    with pytest.raises(TypeError, match="turn_committed"):
        await complete(ours, "Hi.", extra_kwargs={"turn_committed": True})
