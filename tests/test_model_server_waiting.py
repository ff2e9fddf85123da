"""Models that load, think, or say nothing: the caller is never left in silence."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langgraph.graph import START, MessagesState, StateGraph

from flows.discovery import ServerKind
from flows.model import ModelOptions, ServerMemory, VoiceChatModel, chat_model
from flows.model_server.answer_check import EmptyAnswerError
from flows.model_server.refusals import is_loading
from flows.model_server.wording import read_refusal
from flows.warm_up import keep_warm, warm_up
from livekit.plugins.langgraph import LLM
from tests.fake_cold_server import FakeColdServer
from tests.fake_openai_server import FakeOpenAIServer, Reply, ToolCall
from tests.graph_llm import complete


@contextlib.asynccontextmanager
async def model_at(url: str, **options: Any) -> AsyncIterator[VoiceChatModel]:
    model = chat_model(ModelOptions(url, "scripted-qwen3", **options))
    try:
        yield model
    finally:
        await model.aclose()


async def answer_of(model: VoiceChatModel, *messages: BaseMessage) -> str:
    asked = list(messages) or [HumanMessage("What time is it?")]
    return "".join([str(chunk.text) async for chunk in model.astream(asked)])


def graph_on(model: VoiceChatModel) -> Any:
    async def answer(state: MessagesState) -> dict[str, Any]:
        return {"messages": [await model.ainvoke(state["messages"])]}

    return StateGraph(MessagesState).add_node(answer).add_edge(START, "answer").compile()


THOUGHT = Reply(reasoning=["Well, "] * 8, finish_reason="length")
NOTHING = {
    "thinking in its own field, up to the limit": THOUGHT,
    "thinking that is never closed": Reply("<think>Well, the caller wants", finish_reason="length"),
    "thinking, then nothing": Reply("<think>Well.</think>\n\n"),
    "thinking whose opener stood in the prompt": Reply("Well.\n</think>\n"),
    "no text at all": Reply(""),
    "white space": Reply([" ", "\n"]),
    "taken by a filter": Reply("", finish_reason="content_filter"),
}


@pytest.mark.parametrize("case", NOTHING)
async def test_an_answer_of_nothing_is_asked_for_once_more(case: str) -> None:
    async with (
        FakeOpenAIServer(NOTHING[case], Reply("It is noon.")) as upstream,
        model_at(upstream.base_url) as model,
    ):
        heard = await complete(LLM(graph_on(model)), "What time is it?")
        # That the first words were thoughts shows at their end only: the voice knows it next time.
        assert heard.text.removeprefix("Well.").strip() == "It is noon."
        assert len(upstream.requests) == 2


@pytest.mark.parametrize("case", NOTHING)
async def test_a_model_that_says_nothing_twice_fails_with_the_cause(
    case: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        FakeOpenAIServer(default=NOTHING[case]) as upstream,
        model_at(upstream.base_url) as model,
    ):
        with pytest.raises(EmptyAnswerError) as caught:
            await answer_of(model)
        assert len(upstream.requests) == 2
    expected = "content filter" if "filter" in case else "nothing"
    if "up to the limit" in case or "never closed" in case:
        expected = "tokens went into thinking"
    assert expected in str(caught.value)
    assert str(caught.value) in caplog.text
    assert caught.value.__notes__ == [str(caught.value)]


async def test_thinking_is_switched_off_in_every_way_that_is_left() -> None:
    def script(asked: dict[str, Any]) -> Reply:
        return Reply("It is noon.") if "chat_template_kwargs" in asked else THOUGHT

    async with (
        FakeOpenAIServer(script=script) as upstream,
        model_at(upstream.base_url, kind=ServerKind.OTHER) as model,
    ):
        assert await answer_of(model) == "It is noon."
        last = upstream.requests[-1].body
        assert last["chat_template_kwargs"] == {"enable_thinking": False}
        assert last["reasoning_effort"] == "none"
        assert await answer_of(model) == "It is noon."
        assert len(upstream.requests) == 3


async def test_a_model_that_always_thinks_gets_room_for_it() -> None:
    def script(asked: dict[str, Any]) -> Reply:
        return Reply("It is noon.") if asked["max_tokens"] > 1000 else THOUGHT

    async with (
        FakeOpenAIServer(script=script) as upstream,
        model_at(upstream.base_url, kind=ServerKind.OTHER) as model,
    ):
        with pytest.raises(EmptyAnswerError):
            await answer_of(model)
        assert await answer_of(model) == "It is noon."
        assert upstream.requests[-1].messages[0] == {"role": "system", "content": "/no_think"}


async def test_silence_after_a_tool_is_none_where_nothing_was_said_before() -> None:
    call = {"name": "clock", "args": {}, "id": "1", "type": "tool_call"}
    asked = [
        HumanMessage("What time is it?"),
        AIMessage("", tool_calls=[call]),
        ToolMessage("noon", tool_call_id="1"),
    ]
    script = (Reply(""), Reply("It is noon."))
    async with FakeOpenAIServer(*script) as upstream, model_at(upstream.base_url) as model:
        assert await answer_of(model, *asked) == "It is noon."
        assert len(upstream.requests) == 2


async def test_silence_after_a_tool_is_an_answer_where_something_was() -> None:
    call = {"name": "hang_up", "args": {}, "id": "1", "type": "tool_call"}
    done = [
        HumanMessage("Bye."),
        AIMessage("Goodbye.", tool_calls=[call]),
        ToolMessage("", tool_call_id="1"),
    ]
    async with FakeOpenAIServer(Reply("")) as upstream, model_at(upstream.base_url) as model:
        assert await answer_of(model, *done) == ""
        assert len(upstream.requests) == 1


async def test_a_tool_call_alone_is_an_answer() -> None:
    reply = Reply("<think>\n\n</think>\n\n", tool_calls=[ToolCall("clock")])
    async with FakeOpenAIServer(reply) as upstream, model_at(upstream.base_url) as model:
        message = await model.ainvoke([HumanMessage("What time is it?")])
        assert isinstance(message, AIMessage)
        assert [made["name"] for made in message.tool_calls] == ["clock"]
        assert len(upstream.requests) == 1


async def test_a_server_that_is_loading_is_waited_for_and_the_caller_hears_so() -> None:
    async with FakeColdServer(2.5, refuses=True) as upstream, model_at(upstream.base_url) as model:
        heard = await complete(LLM(graph_on(model)), "What time is it?")
        assert heard.text.endswith("It is noon.")
        assert heard.text.startswith("One moment, please.")


async def test_loading_goes_on_when_the_caller_interrupts() -> None:
    async with FakeColdServer(1.5) as upstream, model_at(upstream.base_url) as model:
        for _ in range(3):
            impatient = asyncio.create_task(answer_of(model))
            await asyncio.sleep(0.6)
            impatient.cancel()
            await asyncio.wait([impatient])
            # The caller talks: meanwhile nobody of theirs is connected.
            await asyncio.sleep(0.2)
        assert await answer_of(model) == "It is noon."
        # Begun anew after the first interruption at most, not after each.
        assert upstream.loads_begun <= 2


async def test_a_loading_that_nobody_waits_for_ends_with_the_model() -> None:
    async with FakeColdServer(60.0) as upstream:
        async with model_at(upstream.base_url, first_token_timeout_s=0.6) as model:
            with pytest.raises(TimeoutError):
                await answer_of(model)
            while len(upstream.asked) < 2:
                await asyncio.sleep(0.01)
            assert upstream.asked[1]["max_tokens"] == 1
        assert not [task for task in asyncio.all_tasks() if task.get_name() == "load the model"]


@pytest.mark.parametrize(
    ("status", "said", "loading"),
    [
        (503, "Loading model", True),
        (503, "The model is still loading, please wait.", True),
        (503, "Model qwen3 is currently loading", True),
        (503, "server is warming up", True),
        (500, "model is not ready", True),
        (503, "scripted failure", False),
        (400, "the model is loaded with context length of only 4096 tokens", False),
        (401, "Loading model", False),
    ],
)
def test_loading_is_told_from_failure(status: int, said: str, loading: bool) -> None:
    assert is_loading(read_refusal(status, {"error": {"message": said}})) is loading


async def test_warming_up_loads_the_model_and_keeps_it_and_reads_its_context() -> None:
    said: list[str] = []
    memory = ServerMemory()
    async with FakeColdServer(2.2, context_tokens=5000) as upstream:
        options = ModelOptions(upstream.base_url, "qwen3:4b", kind=ServerKind.OLLAMA)
        found = await warm_up(options, memory, on_wait=said.append)
        assert found.ready
        assert memory.is_warm()
        assert memory.habits.context_tokens == 5000
        assert upstream.kept_for == ["40m"]
        assert [line for line in said if "still loading" in line]
        (note,) = found.notes
        assert "5000 tokens" in note and "OLLAMA_CONTEXT_LENGTH" in note


async def test_warming_up_learns_what_a_call_would_stumble_over() -> None:
    def script(asked: dict[str, Any]) -> Reply:
        if "tools" in asked:
            message = '"auto" tool choice requires --enable-auto-tool-choice to be set'
            return Reply(status=400, error_message=message)
        if "chat_template_kwargs" not in asked:
            return THOUGHT
        return Reply("It is noon.")

    memory = ServerMemory()
    async with FakeOpenAIServer(script=script) as upstream:
        options = ModelOptions(upstream.base_url, upstream.model)
        found = await warm_up(options, memory)
        assert found.ready
        notes = "\n".join(found.notes)
        assert "--enable-auto-tool-choice --tool-call-parser hermes" in notes
        assert "thinks before it answers" in notes
        before = len(upstream.requests)
        model = chat_model(options, memory)
        assert await answer_of(model) == "It is noon."
        await model.aclose()
        assert len(upstream.requests) == before + 1


async def test_a_server_of_unknown_make_is_warmed_up_too_and_a_counting_one_is_not() -> None:
    async with FakeOpenAIServer(streams=False) as upstream:
        options = ModelOptions(upstream.base_url, upstream.model, kind=ServerKind.OTHER)
        memory = ServerMemory()
        await keep_warm(options, memory)
        assert memory.is_warm() and memory.habits.whole
        assert ["does not stream" in sentence for sentence in memory.told] == [True]
        asked = len(upstream.warm_ups)
        await keep_warm(replace(options, kind=ServerKind.OPENROUTER), ServerMemory())
        await keep_warm(replace(options, model=""), ServerMemory())
        assert len(upstream.warm_ups) == asked == 3 and not upstream.requests


async def test_warming_up_says_why_there_is_no_answer(caplog: pytest.LogCaptureFixture) -> None:
    async with FakeOpenAIServer(api_key="k3y") as upstream:
        options = ModelOptions(upstream.base_url, upstream.model)
        with caplog.at_level(logging.DEBUG, "flows"):
            refused = await warm_up(options)
    assert not refused.ready
    assert "refuses the key" in refused.notes[0]
    gone = await warm_up(options)
    assert not gone.ready
    assert gone.notes == (f"no model server answers at {options.base_url}",)
