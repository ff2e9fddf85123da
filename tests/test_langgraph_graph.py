"""What is particular to a graph in this process: nodes, threads, speculation, options."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any, TypedDict

import pytest
from langchain.agents import create_agent
from langchain_core.language_models import BaseChatModel, GenericFakeChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage
from langchain_core.outputs import ChatGenerationChunk
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.config import get_config, get_stream_writer
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.runtime import get_runtime
from langgraph.types import interrupt
from livekit.agents import APIConnectOptions, APIError, APIStatusError, APITimeoutError, llm

from livekit.plugins.langgraph import LLM
from tests.fake_openai_server import Reply, ToolCall
from tests.graph_llm import NO_RETRY, complete, said_by_user, scripted_model


def one_node(answer: Any, checkpointer: Any = None) -> Any:
    graph = StateGraph(MessagesState).add_node("answer", answer).add_edge(START, "answer")
    return graph.compile(checkpointer=checkpointer)


def chain(*nodes: Any, state: Any = MessagesState, checkpointer: Any = None) -> Any:
    graph = StateGraph(state).add_sequence(nodes)
    return graph.add_edge(START, nodes[0].__name__).compile(checkpointer=checkpointer)


async def test_without_a_list_every_node_but_tool_nodes_is_spoken() -> None:
    async with scripted_model(
        Reply("", tool_calls=[ToolCall("ask_expert")]), Reply("Inner secret."), Reply("It is so.")
    ) as (_, model):

        @tool
        async def ask_expert() -> str:
            """Asks a model."""
            return (await model.ainvoke("?")).text

        ours = LLM(create_agent(model, [ask_expert]))
        assert (await complete(ours, "Is it so?")).text == "It is so."


async def test_a_call_tagged_nostream_is_not_spoken_without_a_list() -> None:
    async with scripted_model(Reply("crm"), Reply("Ann.")) as (_, model):

        async def route(state: MessagesState) -> dict[str, Any]:
            await model.with_config(tags=["nostream"]).ainvoke(state["messages"])
            return {}

        async def answer(state: MessagesState) -> dict[str, Any]:
            return {"messages": [await model.ainvoke(state["messages"])]}

        assert (await complete(LLM(chain(route, answer)), "Who?")).text == "Ann."


async def test_a_path_allows_one_node_of_one_subgraph() -> None:
    async def answer(state: MessagesState) -> dict[str, Any]:
        return {"messages": [AIMessage(get_config()["metadata"]["langgraph_checkpoint_ns"])]}

    graph = StateGraph(MessagesState)
    graph.add_node("billing", one_node(answer)).add_node("draft", one_node(answer))
    graph.add_edge(START, "billing").add_edge("billing", "draft")
    by_path = LLM(graph.compile(), speakable_nodes=["billing/answer"])
    assert (await complete(by_path, "Hi.")).text.startswith("billing:")
    by_subgraph = LLM(graph.compile(), speakable_nodes=["draft"])
    assert (await complete(by_subgraph, "Hi.")).text.startswith("draft:")
    by_node = LLM(graph.compile(), speakable_nodes=["answer"])
    assert len((await complete(by_node, "Hi.")).text.split()) == 2


async def test_a_streamed_message_that_a_node_rewraps_is_spoken_once() -> None:
    async with scripted_model(Reply("It is noon.")) as (_, model):

        async def answer(state: MessagesState) -> dict[str, Any]:
            answer = await model.ainvoke(state["messages"])
            return {"messages": [AIMessage(answer.text)]}

        assert (await complete(LLM(one_node(answer)), "When?")).text == "It is noon."


async def test_history_that_a_node_returns_again_is_not_spoken() -> None:
    async def answer(state: MessagesState) -> dict[str, Any]:
        return {"messages": [*state["messages"], AIMessage("New.")]}

    context = said_by_user("Hi.")
    context.add_message(role="assistant", content="Old.")
    context.add_message(role="user", content="And?")
    assert (await complete(LLM(one_node(answer)), context)).text == "New."


async def test_parallel_branches_are_spoken_one_after_the_other() -> None:
    async with scripted_model(
        script=lambda body: Reply(
            [body["messages"][0]["content"]] * 4, tokens_per_second=40, first_token_s=0.02
        )
    ) as (_, model):

        async def left(state: MessagesState) -> dict[str, Any]:
            return {"messages": [await model.ainvoke("a")]}

        async def right(state: MessagesState) -> dict[str, Any]:
            return {"messages": [await model.ainvoke("b")]}

        graph = StateGraph(MessagesState).add_node(left).add_node(right)
        compiled = graph.add_edge(START, "left").add_edge(START, "right").compile()
        text = (await complete(LLM(compiled), "Hi.")).text
    assert sorted(text.split()) == ["aaaa", "bbbb"]


async def test_strings_on_the_custom_stream_are_spoken_and_fillers_are_asides() -> None:
    async def answer(state: MessagesState) -> dict[str, Any]:
        writer = get_stream_writer()
        writer({"type": "filler", "text": "Hm."})
        writer("Plain.")
        return {}

    completion = await complete(LLM(one_node(answer)), "Hi.")
    assert [part.strip() for part in completion.segments] == ["Hm.", "Plain."]
    assert completion.chunks[0].delta.extra


class Tenant(TypedDict):
    name: str


async def test_config_context_and_extra_kwargs_reach_the_nodes() -> None:
    seen: dict[str, Any] = {}

    async def answer(state: MessagesState) -> dict[str, Any]:
        seen.update(get_config()["configurable"], context=get_runtime().context)
        return {}

    graph = StateGraph(MessagesState, context_schema=Tenant).add_node(answer)
    ours = LLM(
        graph.add_edge(START, "answer").compile(),
        session_id="room-7",
        config={"configurable": {"caller_id": "ann"}},
        context=Tenant(name="acme"),
    )
    await complete(ours, "Hi.", extra_kwargs={"mood": "calm"}, tool_choice="auto")
    assert seen["thread_id"] == ours.session_id == "room-7"
    assert (seen["caller_id"], seen["mood"], seen["tool_choice"]) == ("ann", "calm", "auto")
    assert seen["context"] == {"name": "acme"}
    assert "turn_committed" not in {k for k, v in seen.items() if v is not None}


async def test_a_cancelled_tool_leaves_no_dangling_call_in_the_thread() -> None:
    began = asyncio.Event()

    @tool
    async def slow() -> str:
        """Takes long."""
        began.set()
        await asyncio.Event().wait()
        return "never"

    async with scripted_model(Reply("", tool_calls=[ToolCall("slow")])) as (_, model):
        graph = create_agent(model, [slow], checkpointer=InMemorySaver())
        ours = LLM(graph, session_id="s")
        async with ours.chat(chat_ctx=said_by_user("Start."), conn_options=NO_RETRY):
            await began.wait()
        await ours.aclose()
        state = await graph.aget_state({"configurable": {"thread_id": "s"}})
    *_, call, output = state.values["messages"]
    assert output.tool_call_id == call.tool_calls[0]["id"]


class Counting(MessagesState):
    turns: int


async def count(state: Counting) -> dict[str, Any]:
    turns = state.get("turns", 0) + 1
    return {"turns": turns, "messages": [AIMessage(f"Turn {turns}.")]}


@pytest.mark.parametrize("turns_before", [0, 1])
async def test_a_discarded_speculation_leaves_no_trace_in_the_thread(turns_before: int) -> None:
    ours = LLM(chain(count, state=Counting, checkpointer=InMemorySaver()))
    for _ in range(turns_before):
        await complete(ours, "Next.")
    never = asyncio.Event()
    speculation = await complete(ours, "Ne", extra_kwargs={"turn_committed": never})
    assert speculation.text == f"Turn {turns_before + 1}."
    # it ran to its end, was never committed, and the caller said something else
    assert (await complete(ours, "Next.")).text == f"Turn {turns_before + 1}."
    assert (await complete(ours, "Next.")).text == f"Turn {turns_before + 2}."


async def test_a_committed_speculation_is_kept() -> None:
    ours = LLM(chain(count, state=Counting, checkpointer=InMemorySaver()))
    committed = asyncio.Event()
    await complete(ours, "Next.", extra_kwargs={"turn_committed": committed})
    committed.set()
    assert (await complete(ours, "Next.")).text == "Turn 2."


async def test_a_speculative_answer_to_an_interrupt_waits_for_the_commit() -> None:
    async def ask(state: MessagesState) -> dict[str, Any]:
        return {"messages": [AIMessage(f"Booked for {interrupt('Which day?')}.")]}

    ours = LLM(chain(ask, checkpointer=InMemorySaver()))
    context = said_by_user("Book.")
    assert (await complete(ours, context)).text == "Which day?"

    def answered(text: str) -> llm.ChatContext:
        copy = context.copy()
        copy.add_message(role="assistant", content="Which day?")
        copy.add_message(role="user", content=text)
        return copy

    never = asyncio.Event()
    async with ours.chat(
        chat_ctx=answered("Fri"), conn_options=NO_RETRY, extra_kwargs={"turn_committed": never}
    ) as stream:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.1):
                await anext(stream)
                pytest.fail("it answered before the turn was committed")
    assert (await complete(ours, answered("Friday."))).text == "Booked for Friday.."


async def test_a_retry_goes_on_where_it_failed_and_runs_no_tool_twice() -> None:
    booked: list[int] = []

    @tool
    async def book() -> str:
        """Books a table."""
        booked.append(1)
        return "booked"

    script = [Reply("", tool_calls=[ToolCall("book")]), Reply(status=503), Reply("Booked.")]
    async with scripted_model(*script) as (_, model):
        ours = LLM(create_agent(model, [book], checkpointer=InMemorySaver()))
        options = APIConnectOptions(max_retry=2, retry_interval=0.01)
        assert (await complete(ours, "Book.", options)).text == "Booked."
    assert len(booked) == 1


async def test_without_a_checkpointer_nothing_is_retried_after_a_tool_ran() -> None:
    booked: list[int] = []

    @tool
    async def book() -> str:
        """Books a table."""
        booked.append(1)
        return "booked"

    script = [Reply("", tool_calls=[ToolCall("book")]), Reply(status=503), Reply("Booked.")]
    async with scripted_model(*script) as (_, model):
        ours = LLM(create_agent(model, [book]))
        with pytest.raises(APIError):
            await complete(ours, "Book.", APIConnectOptions(max_retry=2, retry_interval=0.01))
    assert len(booked) == 1


async def test_a_tool_may_take_longer_than_the_model_but_not_for_ever() -> None:
    @tool
    async def slow(seconds: float) -> str:
        """Takes long."""
        await asyncio.sleep(seconds)
        return "done"

    def script(seconds: float) -> list[Reply]:
        return [Reply("", tool_calls=[ToolCall("slow", {"seconds": seconds})]), Reply("Done.")]

    options = APIConnectOptions(max_retry=0, timeout=0.4)
    async with scripted_model(*script(0.8), *script(60.0)) as (_, model):
        ours = LLM(create_agent(model, [slow]), fillers=None, tool_timeout_s=1.5)
        assert (await complete(ours, "Go.", options)).text == "Done."
        with pytest.raises(APITimeoutError):
            await complete(ours, "Go.", options)


class StubbornModel(BaseChatModel):
    """Swallows every cancellation, as clients that use `asyncio.wait_for` on Python 3.11 may."""

    closed: asyncio.Event

    @property
    def _llm_type(self) -> str:
        return "stubborn"

    def _generate(self, *_: Any, **__: Any) -> Any:
        raise NotImplementedError

    async def _astream(self, *_: Any, **__: Any) -> AsyncIterator[ChatGenerationChunk]:
        try:
            while True:
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.sleep(0.01)
                yield ChatGenerationChunk(message=AIMessageChunk(content="word "))
        finally:
            self.closed.set()


async def test_a_model_that_swallows_the_cancellation_is_stopped_at_its_next_token() -> None:
    model = StubbornModel(closed=asyncio.Event())

    async def answer(state: MessagesState) -> dict[str, Any]:
        return {"messages": [await model.ainvoke(state["messages"])]}

    stream = LLM(one_node(answer)).chat(chat_ctx=said_by_user("Talk."), conn_options=NO_RETRY)
    await anext(stream)
    await stream.aclose()
    assert model.closed.is_set()


async def test_a_status_error_keeps_its_code_and_cause() -> None:
    async with scripted_model(Reply(status=503)) as (_, model):

        async def answer(state: MessagesState) -> dict[str, Any]:
            return {"messages": [await model.ainvoke(state["messages"])]}

        with pytest.raises(APIStatusError) as caught:
            await complete(LLM(one_node(answer)), "Hi.")
    assert caught.value.status_code == 503
    assert caught.value.__cause__ is not None


async def test_a_list_state_without_reducer_gets_the_history_too() -> None:
    class Plain(MessagesState):
        messages: list[Any]

    async def answer(state: Plain) -> dict[str, Any]:
        texts = [message.text for message in state["messages"]]
        return {"messages": [*state["messages"], AIMessage(" ".join(texts))]}

    ours = LLM(chain(answer, state=Plain, checkpointer=InMemorySaver()))
    assert (await complete(ours, said_by_user("One."))).text == "One."
    assert (await complete(ours, said_by_user("Two.", "Three."))).text == "Two. Three."


async def test_a_graph_that_is_no_graph_is_refused_with_advice() -> None:
    with pytest.raises(TypeError, match="compile"):
        LLM(StateGraph(MessagesState))
    with pytest.raises(TypeError, match="one string"):
        LLM(one_node(count), speakable_nodes="answer")


async def test_options_can_be_changed_for_later_turns() -> None:
    async def left(state: MessagesState) -> dict[str, Any]:
        return {"messages": [AIMessage("Left.")]}

    async def right(state: MessagesState) -> dict[str, Any]:
        return {"messages": [AIMessage("Right.")]}

    ours = LLM(chain(left, right), speakable_nodes=["left"], model="mine", provider="me")
    assert (ours.model, ours.provider) == ("mine", "me")
    assert (await complete(ours, "Hi.")).text == "Left."
    ours.update_options(speakable_nodes=["right"], model="yours")
    assert (await complete(ours, "Hi.")).text == "Right."
    assert ours.model == "yours"


async def test_a_graph_may_be_silent_where_that_is_asked_for() -> None:
    async def answer(state: MessagesState) -> dict[str, Any]:
        return {}

    ours = LLM(one_node(answer), no_answer=None)
    assert (await complete(ours, "Hi.")).text == ""
    ours.update_options(no_answer="Pardon?")
    assert (await complete(ours, "Hi.")).text == "Pardon?"
    ours.update_options(apology="Je regrette.")
    assert (await complete(ours, "Hi.")).text == "Je regrette."


async def test_a_missing_think_opener_is_learned_for_the_next_turn() -> None:
    secret = Reply(["I should greet.", "</think>", "Hello."])
    async with scripted_model(secret, secret, Reply("Bye."), Reply(["By", "e."])) as (_, model):

        async def answer(state: MessagesState) -> dict[str, Any]:
            return {"messages": [await model.ainvoke(state["messages"])]}

        ours = LLM(one_node(answer))
        await complete(ours, "Hi.")
        assert (await complete(ours, "Hi.")).text == "Hello."
        # a model that thinks no longer is heard, and streams again from the next turn on
        assert (await complete(ours, "Bye.")).text == "Bye."
        assert len([c for c in (await complete(ours, "Bye.")).chunks if c.delta]) == 2


async def test_the_history_in_the_thread_has_livekits_ids() -> None:
    graph = chain(count, state=Counting, checkpointer=InMemorySaver())
    context = said_by_user("Hi.")
    await complete(LLM(graph, session_id="s"), context)
    state = await graph.aget_state({"configurable": {"thread_id": "s"}})
    assert isinstance(state.values["messages"][0], HumanMessage)
    assert state.values["messages"][0].id == context.items[0].id


async def test_what_a_node_writes_before_it_asks_a_model_is_spoken_first() -> None:
    model = GenericFakeChatModel(messages=iter([AIMessage("It is noon.")]))

    async def answer(state: MessagesState) -> dict[str, Any]:
        get_stream_writer()({"type": "speak", "text": "Let me look."})
        return {"messages": [await model.ainvoke(state["messages"])]}

    text = (await complete(LLM(one_node(answer)), "When?")).text
    assert text.split() == ["Let", "me", "look.", "It", "is", "noon."]


async def test_a_node_that_is_not_async_streams_too() -> None:
    model = GenericFakeChatModel(messages=iter([AIMessage("It is noon.")]))

    def answer(state: MessagesState) -> dict[str, Any]:
        return {"messages": [model.invoke(state["messages"])]}

    completion = await complete(LLM(one_node(answer)), "When?")
    assert completion.text == "It is noon."
    assert len([chunk for chunk in completion.chunks if chunk.delta]) > 1
