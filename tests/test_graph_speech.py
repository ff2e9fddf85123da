"""The runner of graphs: its events, and that both faces of it behave alike."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.config import get_stream_writer
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import interrupt

from flows.flow import Flow
from flows.gate import wait_until_committed
from graph_speech.events import (
    ClientCall,
    End,
    Excuse,
    Failure,
    Filler,
    Pause,
    Question,
    Speaker,
    Speech,
    ToolEnded,
    ToolStarted,
    Usage,
    VoiceEvent,
)
from graph_speech.runner import GraphSpeech
from graph_speech.turn import TurnRequest
from graph_speech.wire import from_wire, to_wire
from livekit.plugins.langgraph import LLM
from tests.fake_openai_server import Reply, ToolCall
from tests.flow_server import flow_server
from tests.graph_llm import Mode, complete, graph_llm, said_by_user, scripted_model

both = pytest.mark.parametrize("mode", ["in_process", "remote"])


def one_node(answer: Any, checkpointer: Any = None, name: str = "answer") -> Any:
    graph = StateGraph(MessagesState).add_node(name, answer).add_edge(START, name)
    return graph.compile(checkpointer=checkpointer)


@both
async def test_a_string_on_the_custom_stream_is_spoken(mode: Mode) -> None:
    async def answer(state: MessagesState) -> dict[str, Any]:
        write = get_stream_writer()
        write("A plain ")
        write("string.")
        write({"type": "token", "content": " A token."})
        write(["no", "string"])
        return {}

    async with graph_llm(mode, one_node(answer), ["answer"]) as ours:
        assert (await complete(ours, "Hi.")).text == "A plain string. A token."


@both
async def test_what_a_graph_gives_to_be_spoken_as_it_stands_is_not_filtered(mode: Mode) -> None:
    async def answer(state: MessagesState) -> dict[str, Any]:
        get_stream_writer()({"type": "speak", "text": 'Say {"a": 1} aloud.'})
        return {}

    async with graph_llm(mode, one_node(answer), ["answer"]) as ours:
        assert (await complete(ours, "Hi.")).text == 'Say {"a": 1} aloud.'


@both
@pytest.mark.parametrize(
    ("nodes", "heard"),
    [
        (["billing/answer"], "From billing."),
        (["draft"], "From draft."),
        (["answer"], "From billing.\n\nFrom draft."),
        (["draft/other"], None),
    ],
)
async def test_a_path_names_one_node_of_one_subgraph(
    mode: Mode, nodes: list[str], heard: str | None
) -> None:
    async def billing(state: MessagesState) -> dict[str, Any]:
        return {"messages": [AIMessage("From billing.")]}

    async def draft(state: MessagesState) -> dict[str, Any]:
        return {"messages": [AIMessage("From draft.")]}

    graph = StateGraph(MessagesState)
    graph.add_node("billing", one_node(billing)).add_node("draft", one_node(draft))
    graph.add_edge(START, "billing").add_edge("billing", "draft")
    async with graph_llm(mode, graph.compile(), nodes, no_answer="Nothing.") as ours:
        assert (await complete(ours, "Hi.")).text == (heard or "Nothing.")


class Counting(MessagesState):
    turns: int


async def count(state: Counting) -> dict[str, Any]:
    turns = state.get("turns", 0) + 1
    return {"turns": turns, "messages": [AIMessage(f"Turn {turns}.")]}


def counting() -> Any:
    graph = StateGraph(Counting).add_node(count).add_edge(START, "count")
    return graph.compile(checkpointer=InMemorySaver())


@both
@pytest.mark.parametrize("turns_before", [0, 2])
async def test_a_discarded_speculation_leaves_no_trace(mode: Mode, turns_before: int) -> None:
    async with graph_llm(mode, counting(), ["count"]) as ours:
        for _ in range(turns_before):
            await complete(ours, "Next.")
        for _ in range(2):
            guess = await complete(ours, "Ne", extra_kwargs={"turn_committed": asyncio.Event()})
            assert guess.text == f"Turn {turns_before + 1}."
        assert (await complete(ours, "Next.")).text == f"Turn {turns_before + 1}."
        assert (await complete(ours, "Next.")).text == f"Turn {turns_before + 2}."


@both
async def test_a_speculation_that_was_committed_is_kept(mode: Mode) -> None:
    async with graph_llm(mode, counting(), ["count"]) as ours:
        committed = asyncio.Event()
        chat = ours.chat(chat_ctx=said_by_user("Next."), extra_kwargs={"turn_committed": committed})
        async with chat as stream:
            await anext(stream)
            committed.set()
            # the remote one tells its server while the stream is open
            await asyncio.sleep(0.2)
            async for _ in stream:
                pass
        assert (await complete(ours, "Next.")).text == "Turn 2."


@both
async def test_a_question_of_a_discarded_speculation_was_never_asked(mode: Mode) -> None:
    async def ask(state: MessagesState) -> dict[str, Any]:
        day = interrupt("Which day?")
        return {"messages": [AIMessage(f"Booked for {day}.")]}

    async with graph_llm(mode, one_node(ask, InMemorySaver()), ["answer"]) as ours:
        never = {"turn_committed": asyncio.Event()}
        assert (await complete(ours, "Boo", extra_kwargs=never)).text == "Which day?"
        assert (await complete(ours, "Book.")).text == "Which day?"
        context = said_by_user("Book.")
        context.add_message(role="assistant", content="Which day?")
        context.add_message(role="user", content="Friday")
        assert (await complete(ours, context)).text == "Booked for Friday."


@both
async def test_a_filler_waits_for_the_commit_with_the_tool_that_it_bridges(mode: Mode) -> None:
    @tool
    async def book(config: RunnableConfig) -> str:
        """Books a table."""
        await wait_until_committed(config)
        await asyncio.sleep(0.4)
        return "booked"

    committed = asyncio.Event()
    async with scripted_model(Reply("", tool_calls=[ToolCall("book")]), Reply("Booked.")) as (
        server,
        model,
    ):
        graph = create_agent(model, [book])
        async with graph_llm(
            mode, graph, ["model"], fillers=["Hold on."], filler_delay_s=0.1
        ) as ours:
            chunks: list[Any] = []
            async with ours.chat(
                chat_ctx=said_by_user("Book."), extra_kwargs={"turn_committed": committed}
            ) as stream:

                async def read() -> None:
                    async for chunk in stream:
                        chunks.append(chunk)

                reading = asyncio.create_task(read())
                await server.wait_until(lambda s: len(s.requests) == 1)
                await asyncio.sleep(0.4)
                assert chunks == []
                committed.set()
                await reading
    said = "".join(c.delta.content for c in chunks if c.delta and c.delta.content)
    assert said.split() == ["Hold", "on.", "Booked."]


async def test_the_events_of_a_turn_end_with_its_cost_and_its_end() -> None:
    events: list[VoiceEvent] = []
    async with scripted_model(Reply(["Hel", "lo."], usage=(9, 2, 4))) as (server, model):

        async def answer(state: MessagesState) -> dict[str, Any]:
            return {"messages": [await model.ainvoke(state["messages"])]}

        speech = GraphSpeech(one_node(answer), thread_id="t")
        await speech.run(TurnRequest("1", [HumanMessage("Hi.")]), events.append)
        assert speech.model == server.model
    assert events == [
        Speech("Hel"),
        Speech("lo."),
        Usage(9, 2, 4, model="scripted-qwen3"),
        End("completed"),
    ]


async def test_what_fails_is_told_and_not_raised() -> None:
    async def answer(state: MessagesState) -> dict[str, Any]:
        raise RuntimeError("private")

    events: list[VoiceEvent] = []
    await GraphSpeech(one_node(answer), thread_id="t").run(
        TurnRequest("1", [HumanMessage("Hi.")]), events.append
    )
    failure, end = events
    assert isinstance(failure, Failure)
    assert (failure.code, failure.retryable, "private" in failure.message) == (
        "flow_failed",
        False,
        False,
    )
    assert end == End("failed")


async def test_a_graphs_own_limit_of_steps_stands() -> None:
    async def again(state: Counting) -> dict[str, Any]:
        return {"turns": state.get("turns", 0) + 1}

    graph = StateGraph(Counting).add_node(again).add_edge(START, "again")
    graph.add_edge("again", "again")
    compiled = graph.compile().with_config(recursion_limit=7)
    events: list[VoiceEvent] = []
    await GraphSpeech(compiled, thread_id="t").run(
        TurnRequest("1", [HumanMessage("Hi.")]), events.append
    )
    assert isinstance(events[0], Excuse)
    assert events[0].cause == "the graph took 7 steps without coming to an end"


async def test_a_turn_does_not_wait_for_ever_for_one_that_hangs() -> None:
    hang = True

    async def answer(state: MessagesState) -> dict[str, Any]:
        while hang:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(60)
        return {"messages": [AIMessage("Here.")]}

    speech = GraphSpeech(one_node(answer, InMemorySaver()), thread_id="t")
    stuck = asyncio.create_task(speech.run(TurnRequest("1", [HumanMessage("Hi.")]), lambda _: None))
    await asyncio.sleep(0.05)
    stuck.cancel()
    hang = False
    events: list[VoiceEvent] = []
    await speech.run(TurnRequest("2", [HumanMessage("Hi?")]), events.append)
    assert Speech("Here.") in events
    await asyncio.wait([stuck])


texts = st.text(max_size=20)
numbers = st.integers(0, 10**6)
objects = st.dictionaries(texts, st.none() | st.booleans() | st.integers() | texts, max_size=3)
EVENTS = st.one_of(
    st.builds(Speech, texts),
    st.builds(Excuse, texts, texts),
    st.builds(Filler, texts),
    st.builds(Speaker, st.none() | texts, st.none() | texts, st.none() | texts),
    st.builds(ToolStarted, texts, texts, objects),
    st.builds(ToolEnded, texts, st.none() | texts, st.sampled_from(["success", "error"]), texts),
    st.builds(ClientCall, texts, texts, objects),
    st.builds(Question, texts, texts, objects),
    st.builds(
        Usage,
        input_tokens=numbers,
        output_tokens=numbers,
        cached_tokens=numbers,
        reasoning_tokens=numbers,
        model=texts,
    ),
    st.builds(
        Failure,
        st.sampled_from(["model_refused", "flow_failed"]),
        texts.filter(bool),
        st.booleans(),
        st.none() | st.integers(400, 599),
        st.none() | st.floats(0, 60),
    ),
    st.builds(End, st.sampled_from(["completed", "interrupted", "failed", "cancelled"])),
)


@given(EVENTS)
def test_every_event_comes_over_the_wire_as_it_was(event: VoiceEvent) -> None:
    assert from_wire(json.loads(json.dumps(to_wire(event)))) == event


def test_a_pause_is_implied_and_what_is_unknown_is_skipped() -> None:
    assert to_wire(Pause()) is None
    assert from_wire({"type": "news"}) is None
    assert from_wire({}) is None
    assert from_wire({"type": "token", "content": None}) == Speech("")
    assert from_wire({"type": "tool_start", "id": 1, "arguments": "{oops"}) == ToolStarted("1")


async def test_the_plugin_speaks_of_a_flow_server_what_its_runner_tells() -> None:
    async def answer(state: MessagesState) -> dict[str, Any]:
        write = get_stream_writer()
        write({"type": "speaker", "name": "Ann", "voice": "ann"})
        write("One. ")
        write({"type": "filler", "text": "Hm."})
        write("Two.")
        return {}

    def chunks(completion: Any) -> list[Any]:
        return [(c.delta.content, c.delta.extra) for c in completion.chunks if c.delta]

    graph = one_node(answer)
    async with (
        LLM(graph) as near,
        flow_server([Flow("f", "", graph, ("answer",))]) as url,
        LLM.remote(url, "f") as far,
    ):
        context = said_by_user("Hi.")
        assert chunks(await complete(near, context)) == chunks(await complete(far, context))
