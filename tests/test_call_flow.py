"""The graphs of a worker's calls: those of the flow server, with the same settings."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import HumanMessage

from agent_worker.commands.serve_web import open_gateway
from agent_worker.engines.build import EngineError, build_engines
from agent_worker.engines.call_flow import flow_for_call, shared_tools
from agent_worker.engines.call_options import for_call, read_options
from agent_worker.engines.choice import choose
from agent_worker.engines.closing import close_shared
from agent_worker.engines.inventory import Found
from agent_worker.engines.offers import find_offers
from agent_worker.gateway.protocol import SessionStart
from agent_worker.settings import Settings, SettingsError, load_settings
from agent_worker.telemetry.outlets import Telemetry
from flows.business.data import BusinessData
from flows.instructions import ECONOMY
from flows.model import ECONOMY_MAX_TOKENS, ModelOptions, chat_model
from flows.tools.mcp_host import McpHost, close_shared_mcp
from flows.tools.mcp_source import McpError
from livekit.plugins import langgraph
from tests.fake_openai_server import FakeOpenAIServer, Reply, ToolCall
from tests.graph_llm import complete
from tests.voices_at_hand import ESPEAK

DESK = {"name": "desk", "command": [sys.executable, "-m", "tests.fake_mcp_server"]}


@contextlib.asynccontextmanager
async def answering(
    flow: str, *replies: Reply, **more: object
) -> AsyncIterator[tuple[FakeOpenAIServer, Any]]:
    """The graph of a call with a scripted model, as a function from words to messages."""
    async with FakeOpenAIServer(*replies) as server:
        settings = load_settings(database_url="memory", **more)
        model = chat_model(ModelOptions(server.base_url, server.model))
        one = flow_for_call(settings, flow, model=model)

        async def ask(text: str, **configurable: Any) -> list[Any]:
            state = await one.graph.ainvoke(
                {"messages": [HumanMessage(text)]},
                {"configurable": {"thread_id": "t", **configurable}},
            )
            return list(state["messages"])

        yield server, ask
        await one.aclose()
        await model.aclose()


def tools_in(server: FakeOpenAIServer, request: int = 0) -> list[str]:
    return [tool["function"]["name"] for tool in server.requests[request].body.get("tools", ())]


async def test_every_flow_remembers_and_has_the_servers_tools() -> None:
    call = ToolCall("desk_opening_hours", {"day": "Sunday"})
    try:
        for flow in ("assistant", "router", "persona"):
            replies = (Reply(tool_calls=[call]), Reply("It is closed."))
            async with answering(flow, *replies, mcp_servers=(DESK,)) as (server, ask):
                messages = await ask("is the order desk open on sunday")
                assert messages[-1].text == "It is closed."
                assert [m.text for m in messages if m.type == "tool"] == ["closed"]
                assert {"remember", "recall", "forget", "desk_opening_hours"} <= set(
                    tools_in(server)
                )
    finally:
        await asyncio.to_thread(close_shared)


def test_calls_in_threads_of_their_own_share_one_connection(tmp_path: Path) -> None:
    settings = load_settings(mcp_servers=(DESK,))
    answers: list[str] = []

    def one_call() -> None:
        tools = {tool.name: tool for tool in shared_tools(settings)}
        answers.append(asyncio.run(tools["desk_opening_hours"].ainvoke({"day": "Monday"})))

    threads = [threading.Thread(target=one_call) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == ["nine to five"] * 4
    held = [thread for thread in threading.enumerate() if thread.name == "mcp servers"]
    assert len(held) == 1
    late = {tool.name: tool for tool in shared_tools(settings)}["desk_opening_hours"]
    close_shared()
    close_shared_mcp()
    assert not held[0].is_alive()
    said = json.loads(asyncio.run(late.ainvoke({"day": "Monday"})))
    assert said == {"error": "the server was closed"}


def test_an_mcp_server_that_does_not_start_is_named_before_the_first_call() -> None:
    broken = {"name": "desk", "command": ["/no/such/program"]}
    settings = load_settings(llm="offline", tts="espeak", stt="bundled", mcp_servers=(broken,))
    choices = choose(settings, Found(voices=ESPEAK))
    with pytest.raises(EngineError, match="thinking: MCP server 'desk' does not answer"):
        build_engines(settings, choices)
    host = McpHost(settings.mcp_servers)
    with pytest.raises(McpError):
        host.open()
    host.close()


async def test_a_clients_tool_takes_the_place_of_the_graphs_own() -> None:
    theirs = {"type": "function", "function": {"name": "get_weather", "parameters": {}}}
    call = ToolCall("get_weather", {"town": "Leeds"})
    for flow in ("assistant", "persona"):
        async with answering(flow, Reply(tool_calls=[call])) as (server, ask):
            messages = await ask("how is the weather", tools=[theirs])
            offered = tools_in(server)
            assert offered.count("get_weather") == 1
            assert len(set(offered)) == len(offered)
            # the run ends with the call, for the client to answer
            assert messages[-1].tool_calls[0]["args"] == {"town": "Leeds"}


async def test_a_flow_without_a_model_says_that_it_can_not_use_a_clients_tools(
    caplog: pytest.LogCaptureFixture,
) -> None:
    theirs = {"type": "function", "function": {"name": "transfer", "parameters": {}}}
    async with answering("offline") as (_, ask):
        for _ in range(2):
            assert (await ask("hello", tools=[theirs]))[-1].text.startswith("Hello.")
    warned = [record for record in caplog.records if "client's tools are not used" in record.msg]
    assert len(warned) == 1


@pytest.mark.parametrize("flow", ["assistant", "router", "persona"])
async def test_economy_is_the_setting_of_a_worker_and_the_wish_of_a_call(flow: str) -> None:
    async with answering(flow, default_economy(), economy=True) as (server, ask):
        await ask("where is my order")
        assert server.requests[0].messages[0]["content"].count(ECONOMY) == 1
    async with answering(flow, default_economy(), default_economy()) as (server, ask):
        # as a flow server's client asks for it
        await ask("where is my order", context={"economy": True})
        await ask("where is my order")
        first, second = server.requests
        assert first.messages[0]["content"].count(ECONOMY) == 1
        assert first.body["max_tokens"] == ECONOMY_MAX_TOKENS
        assert ECONOMY not in second.messages[0]["content"]
        assert second.body["max_tokens"] == 256


def default_economy() -> Reply:
    return Reply("On its way.")


def test_a_caller_may_choose_short_answers_where_a_model_gives_them() -> None:
    found = Found(voices=ESPEAK, llm_endpoint="http://127.0.0.1:1/v1", llm_models=("m",))
    settings = load_settings()
    choices = choose(settings, found)
    options, troubles = read_options('{"economy": "on"}', find_offers(settings, choices))
    assert not troubles
    assert for_call(settings, choices, options)[0].economy
    bare = choose(settings, Found(voices=ESPEAK))
    assert find_offers(settings, bare).economy == ()
    fixed = load_settings(caller_may_choose=("flow",))
    assert find_offers(fixed, choices).economy == ()


async def test_the_router_has_the_database_of_the_settings(tmp_path: Path) -> None:
    file = tmp_path / "business.sqlite3"
    data = BusinessData(file)
    data.change("INSERT INTO products VALUES ('tea pot', 3, 12.5)")
    data.close()
    call = ToolCall("check_stock", {"product": "tea pot"})
    replies = (Reply(tool_calls=[call]), Reply("Three."))
    async with answering("router", *replies, business_database=file) as (_, ask):
        messages = await ask("are tea pots in stock")
        assert [json.loads(m.text)["products"] for m in messages if m.type == "tool"] == [
            [{"name": "tea pot", "stock": 3, "price": 12.5}]
        ]


def test_a_look_up_without_a_place_for_its_question_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"weather_url: needs \{query\}"):
        load_settings(weather_url="http://127.0.0.1/weather")


@pytest.mark.parametrize(("setting", "expected"), [("session_start", "alice"), ("identity", None)])
async def test_a_websocket_client_tells_who_calls_where_the_setting_lets_it(
    setting: str, expected: str | None
) -> None:
    settings = load_settings(
        llm="offline", stt="bundled", tts="espeak", database_url="memory", caller_id=setting
    )
    choices = choose(settings, Found(voices=ESPEAK))
    gateway = await open_gateway(settings, choices, Telemetry())
    start = SessionStart(type="session_start", session_id="0123456789abcdef", caller_id="alice")
    call = await gateway._build_call(start)
    try:
        assert call.who() == expected  # type: ignore[attr-defined]
    finally:
        await call.aclose()


async def test_two_chats_at_once_on_one_remote_session_are_both_answered() -> None:
    from flows.graphs import offline
    from tests.graph_llm import graph_llm

    async with graph_llm("remote", offline.build(), offline.SPEAKABLE_NODES) as model:
        assert isinstance(model, langgraph.LLM)
        answers = await asyncio.gather(
            complete(model, "what is one plus one"), complete(model, "what is two plus two")
        )
    assert [answer.text for answer in answers] == [
        "One plus one is two.",
        "Two plus two is four.",
    ]


def test_unset_settings_of_compose_are_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WEATHER_URL", "MEMORY_DAYS", "BUSINESS_DATABASE", "CALLER_ID"):
        monkeypatch.setenv(f"AGENT_WORKER_{name}", "")
    own: Settings = load_settings()
    assert (own.weather_url, own.memory_days, own.business_database) == (None, None, None)
    assert own.caller_id == ""
