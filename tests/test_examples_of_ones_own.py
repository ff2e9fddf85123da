"""`examples/`: the flow, the tool and the characters that somebody adds are tried."""

from __future__ import annotations

import runpy
from pathlib import Path

from langchain_openai import ChatOpenAI

from flows.persona_profiles import load_profiles
from livekit.plugins.langgraph import LLM

from .fake_openai_server import FakeOpenAIServer, Reply, ToolCall
from .graph_llm import complete, said_by_user

EXAMPLES = Path(__file__).parents[1] / "examples"


async def test_a_flow_of_ones_own_speaks_through_the_plugin() -> None:
    example = runpy.run_path(str(EXAMPLES / "own_flow.py"))
    async with LLM(example["flow"], speakable_nodes=["count_words"]) as engine:
        answer = await complete(engine, said_by_user("it rains a little"))
    assert answer.text == "You said 4 words. Say some more."


async def test_a_tool_of_ones_own_is_called_and_its_result_reaches_the_model() -> None:
    example = runpy.run_path(str(EXAMPLES / "own_tool.py"))
    async with FakeOpenAIServer() as server:
        server.enqueue(
            Reply(tool_calls=[ToolCall("room_is_free", {"room": "Blue", "hour": 15})]),
            Reply("No, it is taken."),
        )
        model = ChatOpenAI(base_url=server.base_url, model=server.model, api_key=lambda: "none")
        assert await example["ask"](model, "is the blue room free at three?") == "No, it is taken."
        offered = [tool["function"]["name"] for tool in server.requests[0].body["tools"]]
        assert "room_is_free" in offered
        assert server.requests[1].body["messages"][-1]["content"] == "taken"


def test_the_characters_of_ones_own_load() -> None:
    names = [character.name for character in load_profiles(EXAMPLES / "characters.toml")]
    assert names == ["Nadia", "Otto"]
