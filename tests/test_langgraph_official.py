"""Faults known of the official LangChain adapter, none of which this plugin has.

Each test runs the same graph through both. The check of ours is the point; what the official
adapter does is asserted too, so that the comparison stays true: when a new version mends a fault,
its line here goes.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.config import get_config
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import interrupt
from livekit.agents import APIConnectOptions, APIError, APITimeoutError, llm
from livekit.plugins.langchain import LLMAdapter

from livekit.plugins.langgraph import LLM
from tests.fake_openai_server import FakeOpenAIServer, Reply, ToolCall
from tests.graph_llm import complete, said_by_user, scripted_model

Upstream = tuple[FakeOpenAIServer, Any]


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with scripted_model() as upstream:
        yield upstream


def official(graph: Any, **options: Any) -> llm.LLM[Any]:
    adapter: llm.LLM[Any] = LLMAdapter(graph, **options)
    return adapter


def chatting(model: Any, checkpointer: Any = None) -> Any:
    async def answer(state: MessagesState) -> dict[str, Any]:
        return {"messages": [await model.ainvoke(state["messages"])]}

    graph = StateGraph(MessagesState).add_node(answer).add_edge(START, "answer")
    return graph.compile(checkpointer=checkpointer)


@tool
def clock() -> str:
    """Tells the time."""
    return "raw result"


async def test_tool_results_are_spoken_by_the_official_adapter_only(upstream: Upstream) -> None:
    server, model = upstream

    server.enqueue(*[Reply("", tool_calls=[ToolCall("clock")]), Reply("Noon.")] * 2)
    agent = create_agent(model, [clock])
    assert (await complete(LLM(agent), "When?")).text == "Noon."
    assert "raw result" in (await complete(official(agent), "When?")).text


async def test_routers_are_spoken_by_the_official_adapter_only(upstream: Upstream) -> None:
    server, model = upstream

    async def route(state: MessagesState) -> dict[str, Any]:
        await model.ainvoke(state["messages"])
        return {}

    async def answer(state: MessagesState) -> dict[str, Any]:
        return {"messages": [await model.ainvoke(state["messages"])]}

    graph = StateGraph(MessagesState).add_sequence([route, answer]).add_edge(START, "route")
    compiled = graph.compile()
    server.enqueue(*[Reply("crm"), Reply("Ann.")] * 2)
    assert (await complete(LLM(compiled, speakable_nodes=["answer"]), "Who?")).text == "Ann."
    assert "crm" in (await complete(official(compiled), "Who?")).text


async def test_usage_and_names_are_missing_from_the_official_adapter_only(
    upstream: Upstream,
) -> None:
    _, model = upstream
    ours, theirs = LLM(chatting(model)), official(chatting(model))
    assert (await complete(ours, "Hi.")).usage is not None
    assert ours.model == "scripted-qwen3"
    assert (await complete(theirs, "Hi.")).usage is None
    assert theirs.model == "unknown"


async def test_subgraphs_in_several_stream_modes_are_silent_in_the_official_adapter_only(
    upstream: Upstream,
) -> None:
    server, model = upstream
    server.enqueue(*[Reply("Below.")] * 2)
    outer = StateGraph(MessagesState).add_node("below", chatting(model)).add_edge(START, "below")
    theirs = official(outer.compile(), stream_mode=["messages", "custom"], subgraphs=True)
    assert (await complete(theirs, "Where?")).text == ""
    assert (await complete(LLM(outer.compile()), "Where?")).text == "Below."


async def test_failures_are_foreign_errors_in_the_official_adapter_only(
    upstream: Upstream,
) -> None:
    server, model = upstream
    server.enqueue(*[Reply(status=503)] * 2)
    with pytest.raises(APIError):
        await complete(LLM(chatting(model)), "Hi.")
    with pytest.raises(Exception, match="503") as caught:
        await complete(official(chatting(model)), "Hi.")
    assert not isinstance(caught.value, APIError)


async def test_the_time_limit_is_ignored_by_the_official_adapter_only(upstream: Upstream) -> None:
    server, model = upstream
    limit = APIConnectOptions(max_retry=0, timeout=0.2)
    server.enqueue(*[Reply("Late.", first_token_s=0.8)] * 2)
    with pytest.raises(APITimeoutError):
        await complete(LLM(chatting(model)), "Hi.", limit)
    assert (await complete(official(chatting(model)), "Hi.", limit)).text == "Late."


async def test_thinking_is_spoken_by_the_official_adapter_only(upstream: Upstream) -> None:
    server, model = upstream
    server.enqueue(*[Reply(["<th", "ink>Hm.</thi", "nk>Yes."])] * 2)
    assert (await complete(LLM(chatting(model)), "Is it?")).text == "Yes."
    assert "Hm." in (await complete(official(chatting(model)), "Is it?")).text


async def test_an_interrupted_answer_is_stored_twice_by_the_official_adapter_only(
    upstream: Upstream,
) -> None:
    server, model = upstream

    async def prompt_after_interruption(ours: llm.LLM[Any]) -> list[str]:
        server.enqueue(Reply("One two three."), Reply("Yes."))
        context = said_by_user("Count.")
        await complete(ours, context)
        context.add_message(role="assistant", content="One", interrupted=True)
        context.add_message(role="user", content="Stop.")
        await complete(ours, context)
        return [m["content"] for m in server.requests[-1].messages]

    saver = InMemorySaver()
    assert await prompt_after_interruption(LLM(chatting(model, saver))) == [
        "Count.",
        "One",
        "Stop.",
    ]
    theirs = official(chatting(model, saver), config={"configurable": {"thread_id": "fixed"}})
    assert "One two three." in await prompt_after_interruption(theirs)


async def test_an_interrupt_is_swallowed_by_the_official_adapter_only() -> None:
    async def ask(state: MessagesState) -> dict[str, Any]:
        return {"messages": [AIMessage(interrupt("Which day?"))]}

    graph = StateGraph(MessagesState).add_node(ask).add_edge(START, "ask")
    compiled = graph.compile(checkpointer=InMemorySaver())
    assert (await complete(LLM(compiled), "Book.")).text == "Which day?"
    theirs = official(compiled, config={"configurable": {"thread_id": "fixed"}})
    assert (await complete(theirs, "Book.")).text == ""


async def test_function_history_and_tools_are_dropped_by_the_official_adapter_only() -> None:
    seen: list[tuple[int, int]] = []

    @llm.function_tool
    async def dim() -> None:
        """Dims the lights."""

    async def answer(state: MessagesState) -> dict[str, Any]:
        tools = get_config().get("configurable", {}).get("tools", [])
        seen.append((len(state["messages"]), len(tools)))
        return {"messages": [AIMessage("Ok.")]}

    graph = StateGraph(MessagesState).add_node(answer).add_edge(START, "answer").compile()
    context = said_by_user("Dim.")
    context.items.append(llm.FunctionCall(call_id="c", name="dim", arguments="{}"))
    context.items.append(llm.FunctionCallOutput(call_id="c", name="dim", output="", is_error=False))
    await complete(LLM(graph), context, tools=[dim])
    await complete(official(graph), context, tools=[dim])
    assert seen == [(3, 1), (1, 0)]


async def test_ids_change_in_the_middle_of_a_completion_in_the_official_adapter_only(
    upstream: Upstream,
) -> None:
    server, model = upstream
    server.enqueue(*[Reply("Well. ", tool_calls=[ToolCall("clock")]), Reply("Noon.")] * 2)
    agent = create_agent(model, [clock])
    assert len((await complete(LLM(agent), "When?")).ids) == 1
    assert len((await complete(official(agent), "When?")).ids) > 1


async def test_sessions_share_one_thread_in_the_official_adapter_only() -> None:
    threads: list[str] = []

    async def answer(state: MessagesState) -> dict[str, Any]:
        threads.append(get_config()["configurable"]["thread_id"])
        return {"messages": [AIMessage("Ok.")]}

    graph = StateGraph(MessagesState).add_node(answer).add_edge(START, "answer")
    compiled = graph.compile(checkpointer=InMemorySaver())
    for _ in range(2):
        await complete(LLM(compiled), "Hi.")
    assert len(set(threads)) == 2
    with pytest.raises(ValueError, match="thread_id"):
        # it makes none of its own, and one given to it is every session's
        await complete(official(compiled), "Hi.")
