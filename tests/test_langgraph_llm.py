"""What a caller hears of a graph and what LiveKit learns of it, in process and remote."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.config import get_config, get_stream_writer
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import interrupt
from livekit.agents import (
    APIConnectionError,
    APIConnectOptions,
    APIError,
    APITimeoutError,
    llm,
)
from livekit.agents.metrics import LLMMetrics

from tests.fake_openai_server import Reply, ToolCall
from tests.graph_llm import NO_RETRY, Mode, complete, graph_llm, said_by_user, scripted_model

pytestmark = pytest.mark.parametrize("mode", ["in_process", "remote"])


@tool
def clock() -> str:
    """Tells the time."""
    return "12:34:56 raw"


def one_node(answer: Callable[..., Any], checkpointer: Any = None, name: str = "answer") -> Any:
    graph = StateGraph(MessagesState).add_node(name, answer).add_edge(START, name)
    return graph.compile(checkpointer=checkpointer)


def chatting(model: Any, checkpointer: Any = None) -> Any:
    async def answer(state: MessagesState) -> dict[str, Any]:
        return {"messages": [await model.ainvoke(state["messages"])]}

    return one_node(answer, checkpointer)


async def test_tokens_are_streamed_with_one_id_and_the_usage_comes_last(mode: Mode) -> None:
    reply = Reply(["Hel", "lo ", "there."], usage=(20, 3, 5))
    async with (
        scripted_model(reply, Reply("Bye.")) as (_, model),
        graph_llm(mode, chatting(model), ["answer"]) as ours,
    ):
        first, second = await complete(ours, "Hi."), await complete(ours, "Bye.")
    assert [c.delta.content for c in first.chunks if c.delta] == ["Hel", "lo ", "there."]
    assert len(first.ids) == len(second.ids) == 1
    assert first.ids != second.ids
    assert all(first.ids)
    usage = first.usage
    assert usage is not None
    assert first.chunks[-1].usage is usage
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (20, 3, 23)
    assert usage.prompt_cached_tokens == 5


async def test_metrics_name_the_model_and_count_from_the_first_spoken_token(mode: Mode) -> None:
    metrics: list[LLMMetrics] = []
    reply = Reply(["<think>", "Hm, ", "</think>", "Yes."], tokens_per_second=10)
    async with (
        scripted_model(reply) as (server, model),
        graph_llm(mode, chatting(model), ["answer"]) as ours,
    ):
        assert ours.model not in ("", "unknown")
        assert ours.provider not in ("", "unknown")
        ours.on("metrics_collected", metrics.append)
        completion = await complete(ours, "Is it?")
        assert ours.model == server.model
    (measured,) = metrics
    assert completion.text == "Yes."
    assert measured.metadata is not None
    assert measured.metadata.model_name == "scripted-qwen3"
    assert measured.request_id in completion.ids
    # three pieces, a tenth of a second apart each, were thought before one was spoken
    assert measured.ttft >= 0.3
    assert measured.completion_tokens == 4


async def test_tool_results_and_calls_are_not_spoken(mode: Mode) -> None:
    replies = Reply("", tool_calls=[ToolCall("clock")]), Reply("It is noon.")
    async with (
        scripted_model(*replies) as (_, model),
        graph_llm(mode, create_agent(model, [clock]), ["model"]) as ours,
    ):
        completion = await complete(ours, "What time is it?")
    assert completion.text == "It is noon."
    assert completion.calls == []


async def test_what_was_said_before_a_tool_is_spoken_before_it_runs(mode: Mode) -> None:
    replies = Reply("Let me look.", tool_calls=[ToolCall("clock")]), Reply("It is noon.")
    async with (
        scripted_model(*replies) as (_, model),
        graph_llm(mode, create_agent(model, [clock]), ["model"]) as ours,
    ):
        completion = await complete(ours, "What time is it?")
    assert completion.segments == ["Let me look. ", "It is noon."]
    assert len(completion.ids) == 1


async def test_only_allowed_nodes_are_spoken(mode: Mode) -> None:
    async with scripted_model(Reply("crm"), Reply("Your customer is Ann.")) as (_, model):

        async def route(state: MessagesState) -> dict[str, Any]:
            await model.ainvoke(state["messages"])
            return {}

        async def answer(state: MessagesState) -> dict[str, Any]:
            return {"messages": [await model.ainvoke(state["messages"])]}

        graph = StateGraph(MessagesState).add_node(route).add_node(answer)
        compiled = graph.add_edge(START, "route").add_edge("route", "answer").compile()
        async with graph_llm(mode, compiled, ["answer"]) as ours:
            completion = await complete(ours, "Who is my customer?")
    assert completion.text == "Your customer is Ann."
    assert completion.usage is not None
    # the router's tokens are not heard, but paid for
    assert completion.usage.prompt_tokens == 14


async def test_usage_counts_calls_that_are_not_streamed(mode: Mode) -> None:
    async with scripted_model(Reply("crm"), Reply("Ann.")) as (_, model):

        async def answer(state: MessagesState) -> dict[str, Any]:
            await model.with_config(tags=["nostream"]).ainvoke(state["messages"])
            return {"messages": [await model.ainvoke(state["messages"])]}

        async with graph_llm(mode, one_node(answer), ["answer"]) as ours:
            completion = await complete(ours, "Who?")
    assert completion.text == "Ann."
    assert completion.usage is not None
    assert completion.usage.total_tokens == 16


async def test_a_message_that_a_node_returns_whole_is_spoken_once(mode: Mode) -> None:
    async def answer(state: MessagesState) -> dict[str, Any]:
        return {"messages": [AIMessage("It is all ready.")]}

    async with graph_llm(mode, one_node(answer), ["answer"]) as ours:
        assert (await complete(ours, "Is it?")).text == "It is all ready."


async def test_subgraphs_are_spoken(mode: Mode) -> None:
    async with scripted_model(Reply("From below.")) as (_, model):
        outer = StateGraph(MessagesState).add_node("below", chatting(model))
        compiled = outer.add_edge(START, "below").compile()
        async with graph_llm(mode, compiled, ["answer"]) as ours:
            assert (await complete(ours, "Where?")).text == "From below."


async def test_the_custom_stream_is_spoken_and_other_data_on_it_is_not(mode: Mode) -> None:
    async def answer(state: MessagesState) -> dict[str, Any]:
        writer = get_stream_writer()
        writer({"progress": 0.5})
        writer({"type": "speak", "text": "Half "})
        writer({"type": "speak", "text": "way."})
        writer({"type": "debug", "text": "secret"})
        return {}

    async with graph_llm(mode, one_node(answer), ["answer"]) as ours:
        assert (await complete(ours, "How far?")).text == "Half way."


async def test_several_messages_of_one_turn_are_not_glued_together(mode: Mode) -> None:
    async with scripted_model(Reply("First."), Reply("Second.")) as (_, model):

        async def answer(state: MessagesState) -> dict[str, Any]:
            first = await model.ainvoke(state["messages"])
            return {"messages": [first, await model.ainvoke(state["messages"])]}

        async with graph_llm(mode, one_node(answer), ["answer"]) as ours:
            completion = await complete(ours, "Go on.")
    assert completion.text.split() == ["First.", "Second."]
    assert len(completion.ids) == 1


@pytest.mark.parametrize(
    "pieces",
    [
        ["<think>They", " ask</thi", "nk>\n\nNo", "on."],
        ["No", "on.", "<|im_end|>"],
        ["</think>", "\n\nNoon."],
        ["Noon.", "<tool_", 'call>{"name"', ': "clock"}</tool_call>'],
        ['{"time": ', '"12:00"}', "Noon."],
    ],
)
async def test_thinking_and_markup_are_not_spoken(mode: Mode, pieces: list[str]) -> None:
    async with (
        scripted_model(Reply(pieces)) as (_, model),
        graph_llm(mode, chatting(model), ["answer"]) as ours,
    ):
        assert (await complete(ours, "When?")).text == "Noon."


async def test_the_prompt_is_what_was_heard_once_with_a_checkpointer(mode: Mode) -> None:
    async with (
        scripted_model(Reply("One two three four."), Reply("Yes.")) as (server, model),
        graph_llm(mode, chatting(model, InMemorySaver()), ["answer"]) as ours,
    ):
        context = said_by_user("Count.")
        await complete(ours, context)
        context.add_message(role="assistant", content="One two", interrupted=True)
        context.add_message(role="user", content="Stop.")
        await complete(ours, context)
    prompt = [(m["role"], m["content"]) for m in server.requests[1].messages]
    assert prompt == [("user", "Count."), ("assistant", "One two"), ("user", "Stop.")]


async def test_state_other_than_messages_is_kept_between_turns(mode: Mode) -> None:
    class Counting(MessagesState):
        turns: int

    async def answer(state: Counting) -> dict[str, Any]:
        turns = state.get("turns", 0) + 1
        return {"turns": turns, "messages": [AIMessage(f"Turn {turns}.")]}

    graph = StateGraph(Counting).add_node(answer).add_edge(START, "answer")
    async with graph_llm(mode, graph.compile(checkpointer=InMemorySaver()), ["answer"]) as ours:
        texts = [(await complete(ours, "Next.")).text for _ in range(3)]
    assert texts == ["Turn 1.", "Turn 2.", "Turn 3."]


async def test_an_interrupt_is_asked_and_the_next_turn_answers_it(mode: Mode) -> None:
    async def book(state: MessagesState) -> dict[str, Any]:
        day = interrupt({"question": "Which day?"})
        time = interrupt("What time?")
        return {"messages": [AIMessage(f"Booked for {day} at {time}.")]}

    async with graph_llm(mode, one_node(book, InMemorySaver(), "book"), ["book"]) as ours:
        context = said_by_user("Book a table.")
        said = []
        for answer in ("Friday", "eight", None):
            said.append((await complete(ours, context)).text)
            context.add_message(role="assistant", content=said[-1])
            if answer:
                context.add_message(role="user", content=answer)
    assert said == ["Which day?", "What time?", "Booked for Friday at eight."]


async def test_livekit_function_tools_reach_the_graph_and_come_back_as_calls(mode: Mode) -> None:
    @llm.function_tool
    async def dim_lights(level: int) -> str:
        """Dims the lights."""
        return str(level)

    call = ToolCall("dim_lights", {"level": 3})
    async with scripted_model(Reply("Sure. ", tool_calls=[call]), Reply("Done.")) as (
        server,
        model,
    ):

        async def answer(state: MessagesState) -> dict[str, Any]:
            bound = model.bind_tools(get_config()["configurable"]["tools"])
            return {"messages": [await bound.ainvoke(state["messages"])]}

        async with graph_llm(mode, one_node(answer), ["answer"]) as ours:
            context = said_by_user("Dim the lights.")
            completion = await complete(ours, context, tools=[dim_lights])
            (made,) = completion.calls
            context.items.append(
                llm.FunctionCall(call_id=made.call_id, name=made.name, arguments=made.arguments)
            )
            context.items.append(
                llm.FunctionCallOutput(
                    call_id=made.call_id, name=made.name, output="3", is_error=False
                )
            )
            assert (await complete(ours, context, tools=[dim_lights])).text == "Done."
    assert server.requests[0].body["tools"][0]["function"]["name"] == "dim_lights"
    assert (made.call_id, made.name, made.arguments) == (call.id, "dim_lights", '{"level": 3}')
    assert [m["role"] for m in server.requests[1].messages] == ["user", "assistant", "tool"]
    assert server.requests[1].messages[2]["tool_call_id"] == call.id


async def test_closing_the_stream_closes_the_request_to_the_model(mode: Mode) -> None:
    reply = Reply("One two three four five six.", hang_after=3)
    async with (
        scripted_model(default=reply) as (server, model),
        graph_llm(mode, chatting(model, InMemorySaver()), ["answer"]) as ours,
    ):
        for _ in range(4):
            stream = ours.chat(chat_ctx=said_by_user("Count."), conn_options=NO_RETRY)
            async for chunk in stream:
                if chunk.delta and chunk.delta.content:
                    break
            await stream.aclose()
            await server.wait_until(lambda s: s.open_requests == 0)
        assert server.cancelled_requests == 4


async def test_closing_the_stream_before_the_first_token_closes_the_request(mode: Mode) -> None:
    async with (
        scripted_model(Reply("Hi.", headers_s=60.0)) as (server, model),
        graph_llm(mode, chatting(model), ["answer"]) as ours,
    ):
        async with ours.chat(chat_ctx=said_by_user("Hi.")):
            await server.wait_until(lambda s: s.open_requests == 1)
        await server.wait_until(lambda s: s.cancelled_requests == 1)


async def test_closing_the_stream_cancels_a_tool_and_leaves_no_call_dangling(mode: Mode) -> None:
    began, ended = asyncio.Event(), asyncio.Event()

    @tool
    async def slow() -> str:
        """Takes long."""
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return "never"

    saver = InMemorySaver()
    call = Reply("Wait.", tool_calls=[ToolCall("slow")])
    async with scripted_model(call, Reply("Ready.")) as (server, model):
        graph = create_agent(model, [slow], checkpointer=saver)
        async with graph_llm(mode, graph, ["model"]) as ours:
            context = said_by_user("Start.")
            async with ours.chat(chat_ctx=context, conn_options=NO_RETRY):
                await began.wait()
            await ended.wait()
            context.add_message(role="assistant", content="Wait.", interrupted=True)
            context.add_message(role="user", content="And now?")
            assert (await complete(ours, context)).text == "Ready."
    assert [m["role"] for m in server.requests[1].messages] == ["user", "assistant", "user"]


@pytest.mark.parametrize(
    ("reply", "error", "retryable"),
    [
        (Reply(status=503), APIError, True),
        (Reply(status=429), APIError, True),
        (Reply(status=400), APIError, False),
        (Reply(status=401), APIError, False),
        (Reply("Hi there.", drop_after=0), APIError, True),
        (Reply("Hi there.", error_after=0), APIError, True),
    ],
)
async def test_failures_are_livekits_and_tell_truthfully_whether_to_retry(
    mode: Mode, reply: Reply, error: type[APIError], retryable: bool
) -> None:
    async with (
        scripted_model(reply) as (server, model),
        graph_llm(mode, chatting(model), ["answer"]) as ours,
    ):
        with pytest.raises(error) as caught:
            await complete(ours, "Hi.")
    assert caught.value.retryable is retryable
    assert len(server.requests) == 1


async def test_a_defect_in_a_node_is_an_api_error_that_is_not_retried(mode: Mode) -> None:
    runs = []

    async def answer(state: MessagesState) -> dict[str, Any]:
        runs.append(1)
        raise KeyError("slot")

    async with graph_llm(mode, one_node(answer), ["answer"]) as ours:
        with pytest.raises(APIError) as caught:
            await complete(ours, "Hi.", APIConnectOptions(max_retry=3, retry_interval=0.01))
    assert not caught.value.retryable
    assert len(runs) == 1


async def test_a_failure_that_may_pass_is_retried(mode: Mode) -> None:
    errors: list[llm.LLMError] = []
    async with (
        scripted_model(Reply(status=503), Reply(status=503), Reply("Hello.")) as (server, model),
        graph_llm(mode, chatting(model), ["answer"]) as ours,
    ):
        ours.on("error", errors.append)
        options = APIConnectOptions(max_retry=2, retry_interval=0.01)
        completion = await complete(ours, "Hi.", options)
    assert completion.text == "Hello."
    assert len(server.requests) == 3
    assert [error.recoverable for error in errors] == [True, True]


async def test_when_retries_are_used_up_the_error_is_raised(mode: Mode) -> None:
    async with (
        scripted_model(default=Reply(status=503)) as (server, model),
        graph_llm(mode, chatting(model), ["answer"]) as ours,
    ):
        with pytest.raises(APIConnectionError):
            await complete(ours, "Hi.", APIConnectOptions(max_retry=1, retry_interval=0.01))
    assert len(server.requests) == 2


async def test_nothing_is_retried_after_something_was_spoken(mode: Mode) -> None:
    said = []
    async with (
        scripted_model(Reply("One two three.", drop_after=2), Reply("Again.")) as (server, model),
        graph_llm(mode, chatting(model), ["answer"]) as ours,
    ):
        stream = ours.chat(
            chat_ctx=said_by_user("Count."),
            conn_options=APIConnectOptions(max_retry=3, retry_interval=0.01),
        )
        with pytest.raises(APIError) as caught:
            async with stream:
                async for chunk in stream:
                    said.append((chunk.delta and chunk.delta.content) or "")
    assert "".join(said).strip() == "One two"
    assert not caught.value.retryable
    assert len(server.requests) == 1


@pytest.mark.parametrize("hang", [{"headers_s": 60.0}, {"first_token_s": 60.0}, {"hang_after": 2}])
async def test_silence_of_the_model_is_a_timeout_that_closes_the_request(
    mode: Mode, hang: dict[str, float]
) -> None:
    async with (
        scripted_model(Reply("One two three.", **hang)) as (server, model),  # type: ignore[arg-type]
        graph_llm(mode, chatting(model), ["answer"]) as ours,
    ):
        with pytest.raises(APITimeoutError):
            await complete(ours, "Hi.", APIConnectOptions(max_retry=0, timeout=1.0))
        # on a busy machine the time may be up before the request has even come
        await server.wait_until(lambda s: s.open_requests == 0)


async def test_a_tool_with_side_effects_waits_until_the_turn_is_committed(mode: Mode) -> None:
    booked = asyncio.Event()
    waiting = asyncio.Event()

    @tool(description="Books a table.")
    async def book() -> str:
        waiting.set()
        await get_config()["configurable"]["turn_committed"].wait()
        booked.set()
        return "booked"

    committed = asyncio.Event()
    async with (
        scripted_model(Reply("", tool_calls=[ToolCall("book")]), Reply("Booked.")) as (_, model),
        graph_llm(mode, create_agent(model, [book]), ["model"]) as ours,
    ):
        stream = ours.chat(
            chat_ctx=said_by_user("Book."),
            conn_options=NO_RETRY,
            extra_kwargs={"turn_committed": committed},
        )
        collected = asyncio.create_task(stream.collect())
        await waiting.wait()
        assert not booked.is_set()
        committed.set()
        assert (await collected).text == "Booked."
    assert booked.is_set()


async def test_a_slow_tool_is_bridged_by_a_filler_that_no_later_prompt_holds(mode: Mode) -> None:
    @tool
    async def slow() -> str:
        """Takes long."""
        await asyncio.sleep(0.2)
        return "noon"

    replies = Reply("Well.", tool_calls=[ToolCall("slow")]), Reply("Noon."), Reply("Bye.")
    async with (
        scripted_model(*replies) as (server, model),
        graph_llm(
            mode, create_agent(model, [slow]), ["model"], fillers="Hold on.", filler_delay_s=0.05
        ) as ours,
    ):
        context = said_by_user("When?")
        completion = await complete(ours, context)
        extra = {
            k: v for c in completion.chunks if c.delta for k, v in (c.delta.extra or {}).items()
        }
        context.add_message(role="assistant", content=completion.text, extra=extra)
        context.add_message(role="user", content="Thanks.")
        await complete(ours, context)
    assert [part.strip() for part in completion.segments] == ["Well.", "Hold on.", "Noon."]
    assert server.requests[2].messages[1]["content"] == "Well. Noon."


async def test_a_quick_tool_gets_no_filler(mode: Mode) -> None:
    replies = Reply("", tool_calls=[ToolCall("clock")]), Reply("Noon.", first_token_s=0.3)
    async with (
        scripted_model(*replies) as (_, model),
        graph_llm(
            mode, create_agent(model, [clock]), ["model"], fillers=["Hm."], filler_delay_s=0.2
        ) as ours,
    ):
        assert (await complete(ours, "When?")).text == "Noon."


async def test_odd_conversations_are_answered(mode: Mode) -> None:
    async def answer(state: MessagesState) -> dict[str, Any]:
        return {"messages": [AIMessage(f"{len(state['messages'])} heard.")]}

    context = llm.ChatContext()
    context.items.append(llm.AgentHandoff(new_agent_id="x"))
    context.add_message(role="user", content="🙂" * 5000)
    context.items.append(llm.FunctionCall(call_id="c", name="gone", arguments="{"))
    async with graph_llm(mode, one_node(answer), ["answer"]) as ours:
        assert (await complete(ours, context)).text == "3 heard."


async def test_two_sessions_do_not_share_a_thread(mode: Mode) -> None:
    class Naming(MessagesState):
        name: str

    async def answer(state: Naming) -> dict[str, Any]:
        last = state["messages"][-1].text
        return {"name": last, "messages": [AIMessage(state.get("name", "nobody"))]}

    graph = StateGraph(Naming).add_node(answer).add_edge(START, "answer")
    compiled = graph.compile(checkpointer=InMemorySaver())
    async with (
        graph_llm(mode, compiled, ["answer"]) as ann,
        graph_llm(mode, compiled, ["answer"]) as bob,
    ):
        assert (await complete(ann, "Ann")).text == "nobody"
        assert (await complete(bob, "Bob")).text == "nobody"
        assert (await complete(ann, "?")).text == "Ann"


async def test_closing_twice_is_safe_and_leaves_no_task(mode: Mode) -> None:
    async with (
        scripted_model(Reply("Hi there.", hang_after=1)) as (_, model),
        graph_llm(mode, chatting(model), ["answer"]) as ours,
    ):
        ours.prewarm()
        stream = ours.chat(chat_ctx=said_by_user("Hi."))
        await anext(stream)
        await stream.aclose()
        await stream.aclose()
        await ours.aclose()
        await ours.aclose()
        left = {task.get_name() for task in asyncio.all_tasks()}
    assert not any(name.startswith(("langgraph", "LLM")) for name in left)


async def test_history_reaches_a_graph_with_tool_messages_intact(mode: Mode) -> None:
    seen: list[Any] = []

    async def answer(state: MessagesState) -> dict[str, Any]:
        seen.extend(state["messages"])
        return {"messages": [AIMessage("Ok.")]}

    context = said_by_user("Time?")
    context.items.append(llm.FunctionCall(call_id="c", name="clock", arguments="{}"))
    context.items.append(
        llm.FunctionCallOutput(call_id="c", name="clock", output="noon", is_error=False)
    )
    async with graph_llm(mode, one_node(answer), ["answer"]) as ours:
        await complete(ours, context)
    assert [type(message) for message in seen] == [HumanMessage, AIMessage, ToolMessage]
