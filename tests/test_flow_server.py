"""The flow server's wire: events, sessions, refusals, and a model that stops with its listener."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import interrupt

from flows.flow import Flow
from flows.graphs import assistant, offline
from flows.memory import Memory, open_memory
from flows.model import ModelOptions, ServerKind, VoiceChatModel, chat_model
from flows.server import FlowServer, ServerOptions
from flows.serving.sessions import Sessions, TurnInput
from flows.serving.turns import FillerOptions
from flows.tools.lookups import LookupEndpoints
from tests.fake_openai_server import FakeOpenAIServer, Reply, ToolCall
from tests.flow_server import ask, flow_server, read_events, served, spoken
from tests.raw_request import answer_to

HI = b'{"messages": [{"role": "user", "content": "hello"}]'


def noon() -> datetime:
    return datetime(2026, 3, 4, 12, 0, tzinfo=UTC)


def offline_flow(memory: Memory | None = None) -> Flow:
    graph = offline.build(
        clock=noon,
        store=memory.store if memory else None,
        checkpointer=memory.checkpointer if memory else None,
    )
    return Flow("offline", offline.DESCRIPTION, graph, offline.SPEAKABLE_NODES)


@contextlib.asynccontextmanager
async def model_on(upstream: FakeOpenAIServer) -> AsyncIterator[VoiceChatModel]:
    model = chat_model(ModelOptions(upstream.base_url, upstream.model, kind=ServerKind.VLLM))
    try:
        yield model
    finally:
        await model.aclose()


def assistant_flow(model: VoiceChatModel, memory: Memory | None = None) -> Flow:
    graph = assistant.build(
        model=model, clock=noon, checkpointer=memory.checkpointer if memory else None
    )
    return Flow("assistant", assistant.DESCRIPTION, graph, assistant.SPEAKABLE_NODES)


@contextlib.asynccontextmanager
async def assistant_on(
    *replies: Reply, default: Reply | None = None, options: ServerOptions | None = None
) -> AsyncIterator[tuple[FakeOpenAIServer, httpx.AsyncClient]]:
    """A scripted model, the assistant on it, and a client of the flow server."""
    async with (
        FakeOpenAIServer(*replies, default=default) as upstream,
        model_on(upstream) as model,
        flow_server([assistant_flow(model)], options) as url,
        httpx.AsyncClient(base_url=url, trust_env=False, timeout=30) as client,
    ):
        yield upstream, client


@pytest.fixture
async def offline_client() -> AsyncIterator[httpx.AsyncClient]:
    async with open_memory() as memory:
        options = ServerOptions(max_body_bytes=30_000)
        async with (
            flow_server([offline_flow(memory)], options, memory) as url,
            httpx.AsyncClient(base_url=url, trust_env=False) as client,
        ):
            yield client


async def test_a_turn_streams_tokens_tools_usage_and_done(
    offline_client: httpx.AsyncClient,
) -> None:
    events = await ask(offline_client, "offline", "s1", "what is two plus three", turn_id="t1")
    kinds = [event["type"] for event in events]
    assert kinds[:2] == ["tool_start", "tool_end"]
    assert kinds[-2:] == ["usage", "done"]
    assert events[0]["name"] == "calculate"
    assert events[0]["arguments"] == {"expression": "2 + 3"}
    assert json.loads(events[1]["output"])["result"] == "5"
    assert spoken(events) == "Two plus three is five."
    assert kinds.count("token") == 5
    assert events[-1] == {
        "type": "done",
        "turn_id": "t1",
        "reason": "completed",
        "content": "Two plus three is five.",
    }
    assert events[-2]["model"] == "offline-rules"


async def test_events_have_running_ids_and_the_headers_forbid_buffering(
    offline_client: httpx.AsyncClient,
) -> None:
    path = "/api/flows/offline/stream/s1"
    response = await offline_client.get(path, params={"message": "hello"})
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.headers["cache-control"] == "no-cache"
    assert response.headers["x-accel-buffering"] == "no"
    lines = response.text.splitlines()
    ids = [int(line.removeprefix("id: ")) for line in lines if line.startswith("id: ")]
    assert ids == list(range(1, len(ids) + 1))
    assert len(ids) == sum(line.startswith('data: {"type": "') for line in lines)


async def test_a_get_session_keeps_its_own_conversation(
    offline_client: httpx.AsyncClient,
) -> None:
    async def say(session: str, text: str) -> str:
        path = f"/api/flows/offline/stream/{session}"
        async with offline_client.stream("GET", path, params={"message": text}) as response:
            return spoken([event async for event in read_events(response)])

    assert await say("s1", "what is one plus one") == "One plus one is two."
    assert await say("s1", "say that again") == "One plus one is two."
    assert await say("s2", "say that again") == "I have not said anything yet."


async def test_a_post_brings_the_history_as_it_was_heard(
    offline_client: httpx.AsyncClient,
) -> None:
    await ask(offline_client, "offline", "s1", "tell me a joke")
    heard = [
        {"id": "m1", "role": "user", "content": "tell me a joke"},
        {"id": "m2", "role": "assistant", "content": "Why did the"},
        {"id": "m3", "role": "user", "content": "say that again"},
    ]
    assert spoken(await ask(offline_client, "offline", "s1", heard)) == "Why did the"


async def test_a_ping_fills_a_silence() -> None:
    async with assistant_on(
        Reply("Hi.", first_token_s=0.3), options=ServerOptions(ping_s=0.05)
    ) as (_, client):
        response = await client.get("/api/flows/assistant/stream/s1", params={"message": "hello"})
    assert response.text.startswith(": ping\n\n")
    assert '"content": "Hi."' in response.text


async def test_a_client_that_goes_away_stops_the_model_every_time() -> None:
    endless = Reply(["word "] * 5000, tokens_per_second=50)
    async with assistant_on(default=endless) as (upstream, client):

        async def hang_up_mid_answer(number: int) -> None:
            path = f"/api/flows/assistant/stream/caller{number}"
            body = {"messages": [{"role": "user", "content": "talk"}]}
            async with client.stream("POST", path, json=body) as response:
                async for event in read_events(response):
                    if event["type"] == "token":
                        return

        await asyncio.gather(*(hang_up_mid_answer(number) for number in range(16)))
        await upstream.wait_until(lambda server: server.cancelled_requests == 16)
        assert upstream.open_requests == 0


async def test_a_second_turn_cancels_the_first_one_of_its_session_only() -> None:
    endless = Reply(["word "] * 5000, tokens_per_second=50)
    async with assistant_on(endless, endless, Reply("Second.")) as (upstream, client):
        first = asyncio.create_task(ask(client, "assistant", "s1", "one", turn_id="t1"))
        await upstream.wait_until(lambda server: len(server.requests) == 1)
        other = asyncio.create_task(ask(client, "assistant", "s2", "one", turn_id="t2"))
        await upstream.wait_until(lambda server: len(server.requests) == 2)
        await upstream.wait_pieces(2, 0)
        second = await ask(client, "assistant", "s1", "two", turn_id="t3")
        assert spoken(second) == "Second."
        done = (await first)[-1]
        assert (done["type"], done["turn_id"], done["reason"]) == ("done", "t1", "cancelled")
        await upstream.wait_until(lambda server: server.requests[0].outcome == "cancelled")
        assert upstream.requests[1].outcome == "open"
        assert not other.done()
        other.cancel()
        await asyncio.wait([other])


async def test_cancel_stops_the_named_turn_and_no_other() -> None:
    endless = Reply(["word "] * 5000, tokens_per_second=50)
    async with assistant_on(endless) as (upstream, client):
        turn = asyncio.create_task(ask(client, "assistant", "s1", "talk", turn_id="t1"))
        await upstream.wait_until(lambda server: len(server.requests) == 1)
        path = "/api/flows/assistant/stream/s1/cancel"
        assert (await client.post(path, json={"turn_id": "t0"})).json() == {"cancelled": False}
        assert (await client.post(path, json={"turn_id": "t1"})).json() == {"cancelled": True}
        assert (await turn)[-1]["reason"] == "cancelled"
        await upstream.wait_until(lambda server: server.cancelled_requests == 1)
        assert (await client.post(path)).json() == {"cancelled": False}


async def test_a_tool_with_side_effects_waits_for_the_commit(
    offline_client: httpx.AsyncClient,
) -> None:
    stream = "/api/flows/offline/stream/s1"
    body = {
        "messages": [{"role": "user", "content": "my name is alice"}],
        "turn_id": "t1",
        "committed": False,
    }
    async with offline_client.stream("POST", stream, json=body) as response:
        events = read_events(response)
        assert (await anext(events))["type"] == "tool_start"
        waiting = asyncio.ensure_future(anext(events))
        await asyncio.sleep(0.1)
        assert not waiting.done()
        answer = await offline_client.post(f"{stream}/commit", json={"turn_id": "t1"})
        assert answer.json() == {"committed": True, "running": True}
        assert (await waiting)["type"] == "tool_end"
        assert spoken([event async for event in events]).startswith("Nice to meet you, Alice.")


async def test_a_commit_that_overtakes_its_turn_still_counts(
    offline_client: httpx.AsyncClient,
) -> None:
    stream = "/api/flows/offline/stream/s1"
    await offline_client.post(f"{stream}/commit", json={"turn_id": "t1"})
    events = await ask(
        offline_client, "offline", "s1", "my name is alice", turn_id="t1", committed=False
    )
    assert spoken(events).startswith("Nice to meet you, Alice.")


async def test_a_slow_tool_is_bridged_by_one_filler() -> None:
    async def slow_weather(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(0.3)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nIt rains. ")
        writer.close()
        await writer.wait_closed()

    endpoint = await asyncio.start_server(slow_weather, "127.0.0.1", 0)
    port = endpoint.sockets[0].getsockname()[1]
    graph = offline.build(
        endpoints=LookupEndpoints(weather=f"http://127.0.0.1:{port}/?q={{query}}")
    )
    flow = Flow("offline", "", graph, offline.SPEAKABLE_NODES)
    options = ServerOptions(filler=FillerOptions(after_s=0.05, text="One moment."))
    async with (
        endpoint,
        flow_server([flow], options) as url,
        httpx.AsyncClient(base_url=url, trust_env=False) as client,
    ):
        events = await ask(client, "offline", "s1", "how is the weather in paris")
        assert [e["type"] for e in events if e["type"] != "token"] == [
            "tool_start",
            "filler",
            "tool_end",
            "usage",
            "done",
        ]
        assert spoken(events) == "It rains."
        plain = await ask(client, "offline", "s1", "how is the weather", filler=False)
        assert "filler" not in {event["type"] for event in plain}


async def test_a_question_of_the_graph_is_answered_by_the_next_turn() -> None:
    def book(state: MessagesState) -> dict[str, Any]:
        answer = interrupt({"question": "For how many people?"})
        return {"messages": [AIMessage(f"A table for {answer}.")]}

    async with open_memory() as memory:
        builder = StateGraph(MessagesState)
        builder.add_node("book", book)
        builder.add_edge(START, "book")
        graph = builder.compile(checkpointer=memory.checkpointer)
        flow = Flow("booking", "", graph, ("book",))
        async with (
            flow_server([flow], memory=memory) as url,
            httpx.AsyncClient(base_url=url, trust_env=False) as client,
        ):
            asked = await ask(client, "booking", "s1", "book a table")
            assert [e["type"] for e in asked] == ["interrupt", "usage", "done"]
            assert asked[0]["content"] == "For how many people?"
            assert asked[-1]["reason"] == "interrupted"
            assert spoken(await ask(client, "booking", "s1", "four")) == "A table for four."
            again = await ask(client, "booking", "s1", "book another")
            assert again[0]["type"] == "interrupt"


@pytest.mark.parametrize(
    ("reply", "code", "retryable"),
    [
        (Reply(status=503), "model_refused", True),
        (Reply(status=400), "model_refused", False),
        (Reply("one two three", error_after=2), "model_failed", False),
    ],
)
async def test_a_failing_model_is_an_event_and_the_next_turn_works(
    reply: Reply, code: str, retryable: bool
) -> None:
    async with assistant_on(reply, Reply("Better now.")) as (_, client):
        events = await ask(client, "assistant", "s1", "hello")
        fault = next(event for event in events if event["type"] == "error")
        assert (fault["code"], fault["retryable"]) == (code, retryable)
        assert events[-1]["reason"] == "failed"
        assert spoken(await ask(client, "assistant", "s1", "hello")) == "Better now."


async def test_thoughts_and_tool_call_text_are_never_tokens() -> None:
    leaky = Reply(["<thi", "nk>secret</th", "ink>", "Hel", "lo <tool", "_call>{}</tool_call>you."])
    async with assistant_on(leaky) as (_, client):
        events = await ask(client, "assistant", "s1", "hello")
    assert spoken(events) == "Hello you."


async def test_the_clients_own_tools_come_back_as_calls() -> None:
    schema = {"type": "function", "function": {"name": "transfer", "parameters": {}}}
    call = ToolCall("transfer", {"to": "sales"}, id="call_1")
    async with assistant_on(Reply(tool_calls=[call]), Reply("Done.")) as (upstream, client):
        events = await ask(
            client,
            "assistant",
            "s1",
            "put me through",
            tools=[schema],
            tool_choice="required",
            parallel_tool_calls=False,
        )
        sent = upstream.requests[0].body
        assert (sent["tool_choice"], sent["parallel_tool_calls"]) == ("required", False)
        assert events[0] == {
            "type": "tool_call",
            "id": "call_1",
            "name": "transfer",
            "arguments": {"to": "sales"},
        }
        assert [event["type"] for event in events[1:]] == ["usage", "done"]
        assert upstream.requests[0].body["tools"][-1]["function"]["name"] == "transfer"
        answered: list[dict[str, Any]] = [
            {"role": "user", "content": "put me through"},
            {
                "role": "assistant",
                "content": "",
                "tool_calls": [
                    {"id": "call_1", "function": {"name": "transfer", "arguments": "{}"}}
                ],
            },
            {"role": "tool", "tool_call_id": "call_1", "content": "ok"},
        ]
        rest = await ask(client, "assistant", "s1", answered, tools=[schema])
        assert [event["type"] for event in rest] == ["token", "usage", "done"]


async def test_a_history_with_a_broken_off_call_is_repaired() -> None:
    history: list[dict[str, Any]] = [
        {"role": "user", "content": "what time is it"},
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [
                {"id": "c1", "function": {"name": "current_time", "arguments": "{oops"}}
            ],
        },
        {"role": "tool", "tool_call_id": "nobody", "content": "stray"},
        {"role": "user", "content": "never mind"},
    ]
    async with assistant_on(Reply("Fine.")) as (upstream, client):
        assert spoken(await ask(client, "assistant", "s1", history)) == "Fine."
    sent = upstream.requests[0].messages
    assert [m["role"] for m in sent] == ["system", "user", "assistant", "tool", "user"]
    assert sent[3]["tool_call_id"] == "c1"
    assert "cancelled" in sent[3]["content"]


async def test_a_hundred_streams_at_once_each_get_their_own_answer(
    offline_client: httpx.AsyncClient,
) -> None:
    limits = httpx.Limits(max_connections=100)
    async with httpx.AsyncClient(
        base_url=offline_client.base_url, trust_env=False, limits=limits, timeout=50
    ) as client:
        answers = await asyncio.gather(
            *(ask(client, "offline", f"s{n}", f"what is {n} plus 100") for n in range(100))
        )
    results = [json.loads(events[1]["output"])["result"] for events in answers]
    assert results == [str(n + 100) for n in range(100)]


async def test_the_list_tells_what_runs_and_why_not() -> None:
    missing = Flow("assistant", "A model.", None, unavailable="No language model was found.")
    async with (
        flow_server([offline_flow(), missing]) as url,
        httpx.AsyncClient(base_url=url, trust_env=False) as client,
    ):
        listed = (await client.get("/api/flows")).json()["flows"]
        assert [(flow["id"], flow["available"]) for flow in listed] == [
            ("offline", True),
            ("assistant", False),
        ]
        refused = await client.post(
            "/api/flows/assistant/stream/s1",
            json={"messages": [{"role": "user", "content": "hi"}]},
        )
        assert refused.status_code == 503
        assert refused.json()["error"]["message"] == "No language model was found."
        models = (await client.get("/v1/models")).json()["data"]
        assert [model["id"] for model in models] == ["offline"]


@pytest.mark.parametrize(
    ("method", "path", "content", "status"),
    [
        ("POST", "/api/flows/nope/stream/s1", b'{"messages": []}', 404),
        ("GET", "/api/flows/nope/stream/s1?message=hi", None, 404),
        ("GET", "/api/flows/offline/stream/s1", None, 400),
        ("GET", "/api/flows/offline/stream/s%20%3B1?message=hi", None, 400),
        ("GET", f"/api/flows/offline/stream/{'s' * 200}?message=hi", None, 400),
        ("GET", "/api/flows/offline/stream/s1?message=hi&turn_id=%00", None, 400),
        ("POST", "/api/flows/offline/stream/s1", b"{not json", 400),
        ("POST", "/api/flows/offline/stream/s1", b"\xff\xfe", 400),
        ("POST", "/api/flows/offline/stream/s1", b"[1, 2]", 400),
        ("POST", "/api/flows/offline/stream/s1", b"[" * 10_000, 400),
        ("POST", "/api/flows/offline/stream/s1", b"{}", 400),
        ("POST", "/api/flows/offline/stream/s1", b'{"messages": []}', 400),
        ("POST", "/api/flows/offline/stream/s1", b'{"messages": [{"role": "king"}]}', 400),
        ("POST", "/api/flows/offline/stream/s1", b"x" * 40_000, 413),
        ("POST", "/api/flows/offline/stream/s1", HI + b', "context": {"x": NaN}}', 400),
        ("POST", "/api/flows/offline/stream/s1", HI + b', "context": {"x": "\\ud800"}}', 400),
        ("POST", "/api/flows/offline/stream/s1", HI + b', "context": {"x": "\xed\xa0\x80"}}', 400),
        ("POST", "/api/flows/offline/stream/s1", HI + b', "tools": [{"function": "x"}]}', 400),
        ("POST", "/api/flows/offline/stream/s1", HI + b', "tools": [{"function": null}]}', 400),
        ("POST", "/api/flows/offline/stream/s1", HI + b', "turn_id": "' + b"t" * 200 + b'"}', 400),
        (
            "POST",
            "/api/flows/offline/stream/s1",
            HI + b', "context": ' + b'{"a":' * 70 + b"1" + b"}" * 71,
            400,
        ),
        (
            "POST",
            "/api/flows/offline/stream/s1",
            HI + b', "context": {"caller_id": "' + b"c" * 300 + b'"}}',
            400,
        ),
        (
            "POST",
            "/v1/chat/completions",
            b'{"model": "offline", "messages": [{"role": "user", "content": "'
            + b" " * 20_001
            + b'"}]}',
            400,
        ),
        ("GET", f"/api/flows/offline/stream/s1?message=a{'%20' * 20_000}a", None, 400),
        ("DELETE", f"/api/callers/{'c' * 300}", None, 400),
        ("GET", "/api/flows/offline/stream/s1/?message=hi", None, 404),
        ("POST", "/api/flows/offline/stream/s1/commit", b"{}", 400),
        ("POST", "/api/flows/offline/stream/s1/commit", b'{"turn_id": "' + b"t" * 200 + b'"}', 400),
        ("PUT", "/api/flows/offline/stream/s1", b"{}", 405),
        ("GET", "/api/flows/offline/stream/s1/cancel", None, 405),
        ("GET", "/nowhere", None, 404),
        ("POST", "/v1/chat/completions", b'{"model": "gpt", "messages": [{"role": "user"}]}', 404),
        ("POST", "/v1/chat/completions", b'{"model": "offline"}', 400),
    ],
)
async def test_a_bad_request_is_refused_in_one_sentence(
    offline_client: httpx.AsyncClient, method: str, path: str, content: bytes | None, status: int
) -> None:
    response = await offline_client.request(method, path, content=content)
    assert response.status_code == status
    message = response.json()["error"]["message"]
    assert message.endswith(".")
    assert "\n" not in message
    assert "Traceback" not in response.text


async def test_a_tool_call_with_arguments_nested_too_deep_has_none(
    offline_client: httpx.AsyncClient,
) -> None:
    arguments = "[" * 5_000 + "]" * 5_000
    call = {"id": "c1", "function": {"name": "clock", "arguments": arguments}}
    history: list[dict[str, Any]] = [
        {"role": "assistant", "tool_calls": [call]},
        {"role": "user", "content": "what is two plus three"},
    ]
    events = await ask(offline_client, "offline", "s1", history)
    assert spoken(events) == "Two plus three is five."


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
        ({"Content-Type": "application/json", "Sec-Fetch-Site": "cross-site"}, 403),
        ({"Content-Type": "Application/JSON; charset=utf-8", "Sec-Fetch-Site": "same-site"}, 200),
    ],
)
async def test_another_sites_page_can_not_ask(
    offline_client: httpx.AsyncClient, headers: dict[str, str], status: int
) -> None:
    path = "/api/flows/offline/stream/s1"
    answer = await offline_client.post(path, content=HI + b"}", headers=headers)
    assert answer.status_code == status


async def test_a_request_that_does_not_come_to_its_end_is_given_up() -> None:
    async with open_memory() as memory:
        app = FlowServer({}, memory, ServerOptions(body_timeout_s=0.1)).app()
        async with served(app, patience_s=0.2) as url:
            head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n"
            for start in (b"", head[:20], head):
                assert await answer_to(url, start) == b""
            assert (await answer_to(url, head + b"\r\n{")).startswith(b"HTTP/1.1 408 ")


async def test_a_body_that_is_announced_too_large_is_not_waited_for(
    offline_client: httpx.AsyncClient,
) -> None:
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
    for length in (b"30001", b"9" * 20):
        data = head + b"Content-Length: " + length + b"\r\n\r\n"
        answer = await answer_to(str(offline_client.base_url), data)
        assert answer.startswith(b"HTTP/1.1 413 ")


async def test_one_session_too_many_ends_the_one_that_was_quiet_longest() -> None:
    async with open_memory() as memory:
        options = ServerOptions(max_sessions=2)
        async with (
            flow_server([offline_flow(memory)], options, memory) as url,
            httpx.AsyncClient(base_url=url, trust_env=False) as client,
        ):

            async def repeat(session: str) -> str:
                path = f"/api/flows/offline/stream/{session}"
                async with client.stream(
                    "GET", path, params={"message": "say that again"}
                ) as response:
                    return spoken([event async for event in read_events(response)])

            await ask(client, "offline", "first", "what is one plus one")
            await ask(client, "offline", "second", "what is two plus two")
            assert await repeat("first") == "One plus one is two."
            await ask(client, "offline", "third", "hello")
            assert await repeat("first") == "One plus one is two."
            assert await repeat("second") == "I have not said anything yet."


async def test_sessions_that_are_at_work_are_not_ended_for_another() -> None:
    endless = Reply(["word "] * 5000, tokens_per_second=50)
    options = ServerOptions(max_sessions=1)
    async with assistant_on(endless, options=options) as (upstream, client):
        turn = asyncio.create_task(ask(client, "assistant", "s1", "talk"))
        await upstream.wait_until(lambda server: len(server.requests) == 1)
        answer = await client.get("/api/flows/assistant/stream/s2", params={"message": "hi"})
        assert answer.status_code == 503 and answer.json()["error"]["code"] == "busy"
        await client.post("/api/flows/assistant/stream/s1/cancel")
        assert (await turn)[-1]["reason"] == "cancelled"


async def test_a_session_forgotten_during_the_sweep_does_not_stop_the_sweep() -> None:
    ending, may_end = asyncio.Event(), asyncio.Event()

    class SlowMemory(Memory):
        async def end_session(self, thread_id: str) -> None:
            ending.set()
            await may_end.wait()
            await super().end_session(thread_id)

    async with open_memory() as plain:
        memory = SlowMemory(plain.store, plain.checkpointer, plain.keeps_conversations)
        async with Sessions(memory, ttl_s=0.4) as sessions:
            flow = offline_flow()

            async def talk(session_id: str) -> None:
                turn = await sessions.start(flow, session_id, TurnInput("t1", [HumanMessage("hi")]))
                await turn.wait()

            await asyncio.gather(talk("first"), talk("second"))
            await ending.wait()
            await sessions.forget("offline", "second")
            may_end.set()
            await talk("third")
            async with asyncio.timeout(20):
                while len(sessions):
                    await asyncio.sleep(0.01)


@pytest.mark.parametrize("token", ["", "s3cret"])
async def test_the_health_check_says_what_is_missing_to_those_within(token: str) -> None:
    reason = "Ollama runs, it has no model: `ollama pull qwen3:8b`"
    flows = [offline_flow(), Flow("assistant", "", None, unavailable=reason)]
    async with (
        flow_server(flows, ServerOptions(token=token)) as url,
        httpx.AsyncClient(base_url=url, trust_env=False) as client,
    ):
        expected = {"status": "ok"} if token else {"status": "ok", "missing": [reason]}
        assert (await client.get("/healthz")).json() == expected


async def test_the_token_guards_everything_but_the_health_check() -> None:
    async with (
        flow_server([offline_flow()], ServerOptions(token="s3cret")) as url,
        httpx.AsyncClient(base_url=url, trust_env=False) as client,
    ):
        assert (await client.get("/healthz")).json() == {"status": "ok"}
        path = "/api/flows/offline/stream/s1?message=hello"
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "s3cret"}):
            for address in (path, "/api/flows", "/v1/models", "/nowhere"):
                refused = await client.get(address, headers=headers)
                assert refused.status_code == 401
                assert refused.headers["www-authenticate"] == "Bearer"
                assert refused.json()["error"]["message"].endswith(".")
        allowed = await client.get(path, headers={"Authorization": "Bearer s3cret"})
        assert allowed.status_code == 200


async def test_openai_clients_get_chunks(offline_client: httpx.AsyncClient) -> None:
    body = {
        "model": "offline",
        "messages": [{"role": "user", "content": [{"type": "text", "text": "one plus one"}]}],
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": 1,
    }
    response = await offline_client.post("/v1/chat/completions", json=body)
    lines = [line.removeprefix("data: ") for line in response.text.splitlines() if line]
    assert lines[-1] == "[DONE]"
    chunks = [json.loads(line) for line in lines[:-1]]
    assert len({chunk["id"] for chunk in chunks}) == 1
    deltas = [c["choices"][0]["delta"] for c in chunks if c["choices"]]
    assert deltas[0]["role"] == "assistant"
    assert "".join(d.get("content", "") for d in deltas) == "One plus one is two."
    assert chunks[-2]["choices"][0]["finish_reason"] == "stop"
    assert chunks[-1]["usage"]["completion_tokens"] > 0


async def test_openai_clients_get_a_whole_completion(offline_client: httpx.AsyncClient) -> None:
    body = {"model": "offline", "messages": [{"role": "user", "content": "one plus one"}]}
    answer = (await offline_client.post("/v1/chat/completions", json=body)).json()
    assert answer["object"] == "chat.completion"
    assert answer["choices"][0]["message"]["content"] == "One plus one is two."
    assert answer["choices"][0]["finish_reason"] == "stop"


async def test_the_openai_face_tells_of_a_failed_model() -> None:
    async with assistant_on(Reply(status=500)) as (_, client):
        body = {"model": "assistant", "messages": [{"role": "user", "content": "hi"}]}
        response = await client.post("/v1/chat/completions", json=body)
    assert response.status_code == 502
    assert response.json()["error"]["code"] == "model_refused"


async def test_a_session_and_a_caller_can_be_forgotten(offline_client: httpx.AsyncClient) -> None:
    name = {"messages": [{"role": "user", "content": "my name is alice"}]}
    known = {"caller_id": "+44 20/7"}
    await ask(offline_client, "offline", "s1", name["messages"], context=known)
    asked = await ask(offline_client, "offline", "s2", "what is my name", context=known)
    assert spoken(asked) == "Your name is Alice."
    response = await offline_client.delete("/api/callers/+44 20%2F7")
    assert response.json() == {"forgotten": 1}
    asked = await ask(offline_client, "offline", "s2", "what is my name", context=known)
    assert spoken(asked) == "You have not told me your name yet."

    await offline_client.get("/api/flows/offline/stream/s3", params={"message": "my name is bob"})
    await offline_client.delete("/api/flows/offline/stream/s3")
    response = await offline_client.get(
        "/api/flows/offline/stream/s3", params={"message": "what is my name"}
    )
    assert "You" in response.text and "Bob" not in response.text


async def test_the_server_stops_while_an_answer_is_under_way() -> None:
    endless = Reply(["word "] * 5000, tokens_per_second=50)
    async with (
        FakeOpenAIServer(endless) as upstream,
        model_on(upstream) as model,
        httpx.AsyncClient(trust_env=False) as client,
    ):
        async with flow_server([assistant_flow(model)]) as url:
            turn = asyncio.create_task(
                client.get(f"{url}/api/flows/assistant/stream/s1?message=hi", timeout=30)
            )
            await upstream.wait_until(lambda server: len(server.requests) == 1)
            await upstream.wait_pieces(2)
        with contextlib.suppress(httpx.HTTPError):
            await turn
        await upstream.wait_until(lambda server: server.cancelled_requests == 1)
