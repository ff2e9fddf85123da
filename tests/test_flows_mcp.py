"""MCP servers as sources of tools: a real server over stdio."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessageChunk
from pydantic import ValidationError

from flows.gate import has_side_effects
from flows.graphs import assistant
from flows.model import ModelOptions, chat_model
from flows.tools.mcp_server import McpServer
from flows.tools.mcp_source import McpError, open_mcp_tools
from tests.fake_mcp_server import server as desk_server
from tests.fake_openai_server import FakeOpenAIServer, Reply, ToolCall
from tests.flow_server import served


def desk(*arguments: str, timeout_s: float = 20.0) -> McpServer:
    command = (sys.executable, "-m", "tests.fake_mcp_server", *arguments)
    return McpServer(name="desk", command=command, timeout_s=timeout_s)


async def test_the_tools_of_a_server_can_be_called() -> None:
    async with open_mcp_tools([desk()]) as tools:
        by_name = {tool.name: tool for tool in tools}
        assert sorted(by_name) == [
            "desk_broken",
            "desk_leave_message",
            "desk_opening_hours",
            "desk_slow",
        ]
        assert await by_name["desk_opening_hours"].ainvoke({"day": "Sunday"}) == "closed"
        assert "when the desk is open" in by_name["desk_opening_hours"].description
        answer = json.loads(await by_name["desk_broken"].ainvoke({}))
        assert "broken" in answer["error"]


async def test_a_tool_counts_as_having_side_effects_unless_it_only_reads() -> None:
    async with open_mcp_tools([desk()]) as tools:
        gated = {tool.name for tool in tools if has_side_effects(tool)}
    assert gated == {"desk_leave_message", "desk_broken", "desk_slow"}


async def test_a_tool_that_takes_too_long_is_given_up() -> None:
    async with open_mcp_tools([desk(timeout_s=0.3)]) as tools:
        slow = next(tool for tool in tools if tool.name == "desk_slow")
        assert "did not answer" in json.loads(await slow.ainvoke({}))["error"]


async def test_the_assistant_uses_a_servers_tool_once_the_turn_is_committed(
    tmp_path: Path,
) -> None:
    note = tmp_path / "note.txt"
    call = ToolCall("desk_leave_message", {"text": "call me back"})
    committed = asyncio.Event()
    async with (
        open_mcp_tools([desk(str(note))]) as tools,
        FakeOpenAIServer(Reply(tool_calls=[call]), Reply("I left your message.")) as upstream,
    ):
        model = chat_model(ModelOptions(upstream.base_url, upstream.model))
        graph = assistant.build(model=model, tools=tools)

        async def turn() -> str:
            heard = ""
            part: Any
            async for part in graph.astream(
                {"messages": [("user", "leave a message")]},
                {"configurable": {"thread_id": "t", "turn_committed": committed}},
                stream_mode=["messages"],
                version="v2",
            ):
                message = part["data"][0]
                if isinstance(message, AIMessageChunk):
                    heard += message.text
            return heard

        running = asyncio.create_task(turn())
        await upstream.wait_until(
            lambda server: any(r.outcome == "completed" for r in server.requests)
        )
        await asyncio.sleep(0.1)
        assert not note.exists()
        committed.set()
        assert await running == "I left your message."
        assert note.read_text(encoding="utf-8") == "call me back"
        await model.aclose()


async def test_a_server_that_does_not_start_is_named() -> None:
    lost = McpServer(name="lost", command=("/nowhere/at-all",))
    with pytest.raises(McpError, match="'lost' does not answer"):
        async with open_mcp_tools([desk(), lost]):
            pass
    assert asyncio.all_tasks() == {asyncio.current_task()}


def test_a_server_needs_exactly_one_transport() -> None:
    both = {"name": "x", "command": ("a",), "url": "http://127.0.0.1/mcp"}
    for fields in ({"name": "x"}, both):
        with pytest.raises(ValidationError, match="either a command or a url"):
            McpServer.model_validate(fields)


async def test_a_server_behind_a_url_can_be_called() -> None:
    async with (
        served(desk_server.streamable_http_app()) as url,
        open_mcp_tools([McpServer(name="desk", url=f"{url}/mcp")]) as tools,
    ):
        hours = next(tool for tool in tools if tool.name == "desk_opening_hours")
        assert await hours.ainvoke({"day": "Monday"}) == "nine to five"
