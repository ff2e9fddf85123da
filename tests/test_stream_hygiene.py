"""Event streams as real servers cut and frame them, read and written by us."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import openai
import pytest
from langchain_core.messages import AIMessage
from langgraph.graph import START, MessagesState, StateGraph
from livekit.agents import APIConnectOptions, APIError, APIStatusError

from flows.flow import Flow
from flows.model import ModelOptions, chat_model
from graph_speech.events import Failure
from livekit.plugins.langgraph import LLM
from livekit.plugins.langgraph.stream import further_wait_s
from livekit.plugins.speech_api.sse import SpeechReader
from tests.fake_raw_server import FakeRawServer, RawReply
from tests.flow_server import flow_server
from tests.graph_llm import complete

SAID = "Grüß \u2028 dich \U0001f642, \x85 ja."


def chunk(**delta: Any) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": None}
    body = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    return b"data: " + json.dumps({**body, "choices": [choice]}, ensure_ascii=False).encode()


def end(finish: str = "stop") -> bytes:
    choice = {"index": 0, "delta": {}, "finish_reason": finish}
    body = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    return b"data: " + json.dumps({**body, "choices": [choice]}).encode()


EMPTY = b'data: {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", '
EMPTY += b'"choices": []}'
USAGE = EMPTY[:-1] + b', "usage": {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}}'
LINES = [b": keep-alive", EMPTY, chunk(role="assistant", content=None), chunk(content=SAID[:5])]
LINES += [b": keep-alive", chunk(content=SAID[5:]), end(), USAGE, b"data: [DONE]"]
BODY = b"\n\n".join([*LINES, b""])


def bytewise(body: bytes) -> list[bytes]:
    return [body[i : i + 1] for i in range(len(body))]


@contextlib.asynccontextmanager
async def reading(server: FakeRawServer) -> AsyncIterator[LLM]:
    """The plugin on a graph on the chat client of ours."""
    async with server:
        model = chat_model(ModelOptions(f"{server.url}/v1", "m"))

        async def answer(state: MessagesState) -> dict[str, Any]:
            return {"messages": [await model.ainvoke(state["messages"])]}

        graph = StateGraph(MessagesState).add_node(answer).add_edge(START, "answer").compile()
        ours = LLM(graph)
        async with ours:
            yield ours
        await model.aclose()


@pytest.mark.parametrize(
    "pieces",
    [
        [BODY],
        bytewise(BODY),
        bytewise(BODY.replace(b"\n", b"\r\n")),
        [BODY[i : i + 7] for i in range(0, len(BODY), 7)],
        [line + b"\n\n" for line in LINES],
    ],
    ids=["whole", "one byte a segment", "CRLF, one byte a segment", "cut anywhere", "by event"],
)
async def test_the_chat_client_reads_a_stream_however_it_is_cut(pieces: list[bytes]) -> None:
    async with reading(FakeRawServer(RawReply(pieces))) as ours:
        completion = await complete(ours, "Hi.")
    assert completion.text == SAID
    assert completion.usage is not None
    assert completion.usage.completion_tokens == 2


REFUSED = RawReply([b'{"error": {"message": "slow down"}}'], "429 Too Many Requests")
BUSY = RawReply(
    REFUSED.pieces, REFUSED.status, ("Content-Type: application/json", "Retry-After: 1")
)
ASKS_MUCH = RawReply(
    REFUSED.pieces, REFUSED.status, ("Content-Type: application/json", "Retry-After: 60")
)
GOOD = RawReply([BODY])


async def test_a_busy_server_is_left_alone_for_as_long_as_it_asks_and_asked_again() -> None:
    options = APIConnectOptions(max_retry=2, retry_interval=0.01)
    async with reading(FakeRawServer(BUSY, GOOD)) as ours:
        assert (await complete(ours, "Hi.", options)).text == SAID


@pytest.mark.parametrize(
    ("asked_s", "further_s"), [(None, 0.0), (0.5, 0.0), (3.0, 2.0), (5.0, 4.0), (5.1, None)]
)
def test_livekits_own_pause_counts_and_a_long_wait_is_none(
    asked_s: float | None, further_s: float | None
) -> None:
    failure = Failure("model_refused", "Busy.", True, 429, asked_s)
    assert further_wait_s(failure, 1.0) == further_s


async def test_a_server_that_asks_for_a_minute_is_given_up_at_once() -> None:
    server = FakeRawServer(ASKS_MUCH)
    async with reading(server) as ours:
        with pytest.raises(APIStatusError) as caught:
            await complete(ours, "Hi.", APIConnectOptions(max_retry=3, retry_interval=0.01))
    assert caught.value.status_code == 429
    assert server.requests == 1


@pytest.mark.parametrize(
    "bad",
    [
        RawReply([b"oops"], "500 Internal Server Error", ("Content-Type: text/plain",)),
        RawReply([b"<html>"], "502 Bad Gateway", ("Content-Type: text/html",)),
        RawReply([b"data: {nope\n\n"]),
        RawReply([b"data: [DONE]\n\n"]),
        RawReply([b": keep-alive\n\n"], ends_well=False),
        RawReply([b'data: {"error": {"message": "overloaded", "code": 500}}\n\n']),
    ],
    ids=["500", "a proxy's page", "garbage", "nothing at all", "cut off", "an error object"],
)
async def test_what_a_server_does_wrong_before_it_says_anything_is_tried_again(
    bad: RawReply,
) -> None:
    options = APIConnectOptions(max_retry=1, retry_interval=0.01)
    async with reading(FakeRawServer(bad, GOOD)) as ours:
        assert (await complete(ours, "Hi.", options)).text == SAID
        # the next is a stream again, whatever this one was
        assert (await complete(ours, "Hi.", options)).text == SAID


async def test_an_answer_that_is_cut_off_is_an_error_and_never_said_twice() -> None:
    half = RawReply([chunk(content="Half of") + b"\n\n"], ends_well=False)
    server = FakeRawServer(half, GOOD)
    async with reading(server) as ours:
        with pytest.raises(APIError) as caught:
            await complete(ours, "Hi.", APIConnectOptions(max_retry=3, retry_interval=0.01))
    assert not caught.value.retryable
    assert server.requests == 1


async def saying(state: MessagesState) -> dict[str, Any]:
    return {"messages": [AIMessage(SAID)]}


@pytest.mark.parametrize("wire", ["flows", "openai"])
async def test_what_our_server_sends_is_one_line_of_json_for_the_strictest_reader(
    wire: str,
) -> None:
    graph = StateGraph(MessagesState).add_node(saying).add_edge(START, "saying").compile()
    turn: dict[str, Any] = {"messages": [{"role": "user", "content": "Hi."}]}
    path = "/api/flows/f/stream/s"
    if wire == "openai":
        path, turn = "/v1/chat/completions", {**turn, "model": "f", "stream": True}
    async with (
        flow_server([Flow("f", "", graph, ("saying",))]) as url,
        httpx.AsyncClient(base_url=url, trust_env=False) as client,
    ):
        response = await client.post(path, json=turn)
    # what splits at more characters than the standard names: Python's splitlines, httpx's reader
    lines = [line for line in response.text.splitlines() if line]
    assert all(line.startswith(("id: ", "data: ")) for line in lines)
    events = [json.loads(line[6:]) for line in lines if line[:7] == "data: {"]
    if wire == "openai":
        text = "".join(e["choices"][0]["delta"].get("content", "") for e in events)
    else:
        text = "".join(e["content"] for e in events if e["type"] == "token")
    assert text == SAID


async def test_openais_own_client_reads_our_server() -> None:
    graph = StateGraph(MessagesState).add_node(saying).add_edge(START, "saying").compile()
    async with (
        flow_server([Flow("f", "", graph, ("saying",))]) as url,
        openai.AsyncOpenAI(
            base_url=f"{url}/v1",
            api_key="none",
            max_retries=0,
            http_client=openai.DefaultAsyncHttpxClient(trust_env=False),
        ) as client,
    ):
        stream = await client.chat.completions.create(
            model="f",
            messages=[{"role": "user", "content": "Hi."}],
            stream=True,
            stream_options={"include_usage": True},
        )
        chunks = [chunk async for chunk in stream]
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == SAID
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-1].usage is not None


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_the_speech_reader_takes_every_end_of_a_line_one_byte_at_a_time(line_end: str) -> None:
    lines = [": keep-alive", "", 'data: {"type":"x","audio":', 'data: "AAAA"}', "", "data: [DONE]"]
    stream = line_end.join([*lines, "", ""]).encode()
    reader = SpeechReader()
    events = [event for byte in bytewise(stream) for event in reader.feed(byte)]
    events += reader.finish()
    assert [event.audio for event in events] == [b"\0\0\0", b""]
    assert events[-1].done
