"""The plugin as the LLM of a plain `AgentSession`, and of LiveKit's `FallbackAdapter`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage
from langchain_core.tools import tool
from langgraph.config import get_config
from langgraph.graph import START, MessagesState, StateGraph
from livekit.agents import Agent, AgentSession, APIConnectOptions, ErrorEvent, llm
from livekit.agents.voice import RunContext, SpeechHandle
from livekit.agents.voice.agent_activity import _SpeechHandleContextVar
from livekit.agents.voice.agent_session import SessionConnectOptions

from livekit.plugins.langgraph import DEFAULT_APOLOGY, LLM
from livekit.plugins.langgraph.turn import turn_committed
from tests.fake_openai_server import Reply, ToolCall
from tests.graph_llm import scripted_model

QUICK = APIConnectOptions(max_retry=1, retry_interval=0.01, timeout=5.0)


def chatting(model: Any) -> Any:
    async def answer(state: MessagesState) -> dict[str, Any]:
        tools = get_config()["configurable"]["tools"]
        bound = model.bind_tools(tools) if tools else model
        return {"messages": [await bound.ainvoke(state["messages"])]}

    return StateGraph(MessagesState).add_node(answer).add_edge(START, "answer").compile()


@asynccontextmanager
async def session_with(
    model: llm.LLM[Any], agent: Agent | None = None
) -> AsyncIterator[AgentSession[Any]]:
    options = SessionConnectOptions(llm_conn_options=QUICK)
    async with AgentSession[Any](llm=model, conn_options=options) as session:
        await session.start(agent or Agent(instructions="Be brief."))
        yield session


def said(session: AgentSession[Any]) -> list[str | None]:
    return [m.text_content for m in session.history.messages() if m.role == "assistant"]


async def test_a_turn_is_answered_and_remembered() -> None:
    async with (
        scripted_model(Reply("Hello Ann."), Reply("You are Ann.")) as (server, model),
        session_with(LLM(chatting(model))) as session,
    ):
        await session.run(user_input="I am Ann.")
        await session.run(user_input="Who am I?")
        assert said(session) == ["Hello Ann.", "You are Ann."]
    assert [m["content"] for m in server.requests[1].messages] == [
        "Be brief.",
        "I am Ann.",
        "Hello Ann.",
        "Who am I?",
    ]


async def test_a_model_that_is_down_is_apologised_for_and_asked_again_next_turn() -> None:
    errors: list[ErrorEvent] = []
    down = Reply(status=503)
    async with (
        scripted_model(*[down] * 12, Reply("Here again.")) as (server, model),
        session_with(LLM(chatting(model))) as session,
    ):
        session.on("error", errors.append)
        # more turns than the unrecoverable errors at which a session closes
        for turn in range(6):
            await session.run(user_input=f"Turn {turn}.")
        await session.run(user_input="Are you there?")
        assert said(session) == [DEFAULT_APOLOGY] * 6 + ["Here again."]
    # each failure was told to whoever watches the session
    assert len(errors) == 12
    # the apologies are not in the prompt
    assert {m["role"] for m in server.requests[-1].messages} == {"system", "user"}


async def test_a_failure_in_the_middle_of_an_answer_is_apologised_for() -> None:
    async with (
        scripted_model(Reply("The first. ", drop_after=2)) as (_, model),
        session_with(LLM(chatting(model), apology="Sorry.")) as session,
    ):
        await session.run(user_input="Go on.")
        (text,) = said(session)
    assert text is not None
    assert text.split() == ["The", "first.", "Sorry."]


async def test_without_an_apology_the_error_is_raised() -> None:
    async with (
        scripted_model(default=Reply(status=401)) as (_, model),
        session_with(LLM(chatting(model), apology=None)) as session,
    ):
        with pytest.raises(Exception, match="401"):
            await session.run(user_input="Hi.")
        assert said(session) == []


async def test_in_a_fallback_adapter_the_next_llm_answers_instead_of_an_apology() -> None:
    async with (
        scripted_model(default=Reply(status=503)) as (_, first),
        scripted_model(Reply("From the second.")) as (_, second),
    ):
        adapter = llm.FallbackAdapter([LLM(chatting(first)), LLM(chatting(second))])
        async with session_with(adapter) as session:
            await session.run(user_input="Hi.")
            assert said(session) == ["From the second."]
        await adapter.aclose()


async def test_a_filler_is_heard_but_the_model_never_reads_it() -> None:
    @tool
    async def slow() -> str:
        """Takes long."""
        await asyncio.sleep(0.2)
        return "noon"

    replies = Reply("Well.", tool_calls=[ToolCall("slow")]), Reply("Noon."), Reply("Bye.")
    async with scripted_model(*replies) as (server, model):
        ours = LLM(create_agent(model, [slow]), fillers=["Hold on."], filler_delay_s=0.05)
        async with session_with(ours) as session:
            await session.run(user_input="When?")
            await session.run(user_input="Thanks.")
            assert (said(session)[0] or "").split() == ["Well.", "Hold", "on.", "Noon."]
    assert [m["content"] for m in server.requests[2].messages if m["role"] == "assistant"] == [
        "Well. Noon."
    ]


async def test_the_agents_own_tools_run_in_the_session() -> None:
    levels: list[int] = []

    class Lights(Agent):
        def __init__(self) -> None:
            super().__init__(instructions="Be brief.")

        @llm.function_tool
        async def dim(self, context: RunContext[Any], level: int) -> str:
            """Dims the lights."""
            levels.append(level)
            return "dimmed"

    async with (
        scripted_model(
            Reply("Sure.", tool_calls=[ToolCall("dim", {"level": 3})]), Reply("Done.")
        ) as (server, model),
        session_with(LLM(chatting(model)), Lights()) as session,
    ):
        await session.run(user_input="Dim the lights.")
        assert said(session)[-1] == "Done."
    assert levels == [3]
    assert [m["role"] for m in server.requests[1].messages] == [
        "system",
        "user",
        "assistant",
        "tool",
    ]


async def test_interrupting_the_speech_closes_the_request() -> None:
    async with (
        scripted_model(Reply("One two three.", hang_after=2)) as (server, model),
        session_with(LLM(chatting(model))) as session,
    ):
        speech = session.generate_reply(user_input="Count.")
        await server.wait_until(lambda s: bool(s.requests) and s.requests[0].pieces_sent >= 2)
        await speech.interrupt()
        await server.wait_until(lambda s: s.cancelled_requests == 1)


async def test_a_node_that_defects_does_not_end_the_call() -> None:
    fail = True

    async def answer(state: MessagesState) -> dict[str, Any]:
        if fail:
            raise RuntimeError("a defect")
        return {"messages": [AIMessage("Better.")]}

    graph = StateGraph(MessagesState).add_node(answer).add_edge(START, "answer").compile()
    async with session_with(LLM(graph)) as session:
        await session.run(user_input="Hi.")
        fail = False
        await session.run(user_input="And now?")
        assert said(session) == [DEFAULT_APOLOGY, "Better."]


async def test_a_speculative_reply_of_a_plain_session_is_committed_when_it_is_scheduled() -> None:
    speech = SpeechHandle.create()
    token = _SpeechHandleContextVar.set(speech)
    try:
        committed = turn_committed({})
        assert committed is not None
        waiting = asyncio.create_task(committed.wait())
        await asyncio.sleep(0)
        assert not committed.is_set()
        assert not waiting.done()
        speech._mark_scheduled()
        await waiting
        assert committed.is_set()
        assert turn_committed({}) is None
    finally:
        _SpeechHandleContextVar.reset(token)
