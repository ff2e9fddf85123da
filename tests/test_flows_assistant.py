"""The assistant: its prompt, its tools, and what reaches the model."""

import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage

from flows.graphs import assistant, persona, router
from flows.instructions import ECONOMY, VOICE
from flows.model import ModelOptions, VoiceChatModel, chat_model
from flows.one_system_prompt import NOBODY_SPOKE
from flows.tools.clock import Clock
from tests.fake_openai_server import FakeOpenAIServer, Reply, ToolCall


@contextlib.asynccontextmanager
async def model_on(upstream: FakeOpenAIServer) -> AsyncIterator[VoiceChatModel]:
    model = chat_model(ModelOptions(upstream.base_url, upstream.model))
    try:
        yield model
    finally:
        await model.aclose()


def clock_at(moment: datetime) -> Clock:
    return lambda: moment


def thread(name: str = "t") -> Any:
    return {"configurable": {"thread_id": name}}


async def test_the_prompt_and_the_tools_are_the_same_bytes_on_every_turn() -> None:
    async with FakeOpenAIServer() as upstream, model_on(upstream) as model:
        for hour in (9, 17):
            moment = datetime(2026, 3, hour, hour, tzinfo=UTC)
            graph = assistant.build(
                model=model, instructions="You work for Acme.", clock=clock_at(moment)
            )
            await graph.ainvoke({"messages": [HumanMessage(f"turn {hour}")]}, thread())
    first, second = (request.body for request in upstream.requests)
    assert first["messages"][0] == second["messages"][0]
    assert first["tools"] == second["tools"]
    assert first["messages"][0]["content"] == f"{VOICE}\n\nYou work for Acme."


async def test_economy_asks_for_one_sentence() -> None:
    async with FakeOpenAIServer() as upstream, model_on(upstream) as model:
        graph = assistant.build(model=model, economy=True)
        await graph.ainvoke({"messages": [HumanMessage("hi")]}, thread())
    assert upstream.requests[0].messages[0]["content"].endswith(ECONOMY)


async def test_a_tool_is_run_and_its_result_goes_back_to_the_model() -> None:
    call = ToolCall("calculate", {"expression": "17 * 3"})
    async with (
        FakeOpenAIServer(Reply(tool_calls=[call]), Reply("Fifty-one.")) as upstream,
        model_on(upstream) as model,
    ):
        graph = assistant.build(model=model)
        result = await graph.ainvoke({"messages": [HumanMessage("17 times 3")]}, thread())
    assert result["messages"][-1].text == "Fifty-one."
    assert upstream.requests[1].messages[-1]["role"] == "tool"
    assert '"result": "51"' in upstream.requests[1].messages[-1]["content"]


async def test_a_tool_with_arguments_that_do_not_fit_is_told_to_the_model() -> None:
    call = ToolCall("set_timer", {"seconds": "many"})
    async with (
        FakeOpenAIServer(Reply(tool_calls=[call]), Reply("For how long?")) as upstream,
        model_on(upstream) as model,
    ):
        graph = assistant.build(model=model)
        result = await graph.ainvoke({"messages": [HumanMessage("set a timer")]}, thread())
    assert result["messages"][-1].text == "For how long?"
    assert "seconds" in upstream.requests[1].messages[-1]["content"]


@pytest.mark.parametrize("graph_module", [assistant, router, persona])
async def test_instructions_among_the_messages_join_the_one_prompt_at_the_front(
    graph_module: Any,
) -> None:
    conversation: list[BaseMessage] = [
        SystemMessage("Be polite to Alice."),
        HumanMessage("is my order there"),
        AIMessage("No."),
        SystemMessage("Be polite to Alice."),
        SystemMessage("She is in a hurry."),
        HumanMessage("and now"),
    ]
    async with FakeOpenAIServer() as upstream, model_on(upstream) as model:
        graph = graph_module.build(model=model)
        await graph.ainvoke({"messages": conversation}, thread())
    sent = upstream.requests[-1].messages
    assert [message["role"] for message in sent].count("system") == 1
    assert sent[0]["role"] == "system"
    assert sent[0]["content"].startswith(VOICE)
    assert sent[0]["content"].count("Be polite to Alice.") == 1
    assert sent[0]["content"].endswith("She is in a hurry.")
    assert sent[-1]["content"] == "and now"


@pytest.mark.parametrize("graph_module", [assistant, router, persona])
async def test_an_answer_before_the_caller_spoke_still_has_a_user_message(
    graph_module: Any,
) -> None:
    async with FakeOpenAIServer() as upstream, model_on(upstream) as model:
        graph = graph_module.build(model=model)
        await graph.ainvoke({"messages": [SystemMessage("Greet the caller.")]}, thread())
    sent = upstream.requests[-1].messages
    assert [message["role"] for message in sent] == ["system", "user"]
    assert sent[1]["content"] == NOBODY_SPOKE
