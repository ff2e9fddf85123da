"""A turn's life without a server: ends that come early, late, or twice."""

import asyncio
from typing import Any

import pytest
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from langgraph.graph import START, MessagesState, StateGraph

from flows.flow import Flow
from flows.serving.turns import Turn
from graph_speech.runner import GraphSpeech
from graph_speech.turn import TurnRequest


def flow_of(node: Any) -> Flow:
    builder = StateGraph(MessagesState)
    builder.add_node("talk", node)
    builder.add_edge(START, "talk")
    return Flow("test", "", builder.compile(), ("talk",))


def turn_of(node: Any) -> Turn:
    flow = flow_of(node)
    turn = Turn("t1", flow.id)
    speech = GraphSpeech(flow.graph, thread_id="t", speakable_nodes=flow.speakable_nodes)
    turn.start(speech, TurnRequest("t1", []))
    return turn


async def events_of(turn: Turn) -> list[dict[str, Any]]:
    return [event async for batch in turn.batches(ping_s=60) for event in batch]


async def test_a_turn_that_is_cancelled_before_it_begins_still_ends() -> None:
    async def talk(_: MessagesState) -> dict[str, Any]:
        raise AssertionError("it never came so far")

    turn = turn_of(talk)
    assert turn.cancel()
    assert not turn.cancel()
    assert await events_of(turn) == [{"type": "done", "turn_id": "t1", "reason": "cancelled"}]


async def test_a_listener_that_does_not_listen_holds_the_graph_back() -> None:
    spoken: list[int] = []

    async def talk(_: MessagesState) -> dict[str, Any]:
        from langgraph.config import get_stream_writer

        write = get_stream_writer()
        for number in range(2000):
            write({"type": "speak", "text": f"{number} "})
            spoken.append(number)
            await asyncio.sleep(0)
        return {}

    turn = turn_of(talk)
    for _ in range(20_000):
        await asyncio.sleep(0)
    held_back = len(turn._events)
    assert held_back <= 256
    events = await events_of(turn)
    assert sum(event["type"] == "token" for event in events) == 2000
    assert events[-1]["reason"] == "completed"


async def test_a_cancelled_turn_runs_the_clean_up_of_its_node() -> None:
    cleaned = asyncio.Event()
    started = asyncio.Event()

    async def talk(_: MessagesState) -> dict[str, Any]:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.01)
            cleaned.set()
        return {}

    turn = turn_of(talk)
    await started.wait()
    turn.cancel()
    turn.cancel()
    await turn.wait()
    assert cleaned.is_set()
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_tokens_that_nobody_takes_are_joined_and_none_is_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("flows.serving.turns._JOINED_FROM", 50)
    model = GenericFakeChatModel(messages=iter([AIMessage("a " * 300)]))

    async def talk(state: MessagesState) -> dict[str, Any]:
        return {"messages": [await model.ainvoke("Hi.")]}

    turn = turn_of(talk)
    await turn.wait()
    assert len(turn._events) < 60
    events = await events_of(turn)
    text = "".join(event["content"] for event in events if event["type"] == "token")
    assert text == "a " * 300
