"""Model servers that leave a caller in silence or read internals aloud, in process and remote."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
from langchain.agents import create_agent
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from pydantic import SecretStr

from agent_worker.speech.read_aloud import read_aloud
from flows.graphs import assistant, router
from graph_speech.runner import MAX_STEPS, NO_ANSWER
from tests.fake_openai_server import FakeOpenAIServer, Reply, ToolCall
from tests.graph_llm import Completion, Mode, complete, graph_llm, said_by_user, scripted_model

pytestmark = pytest.mark.parametrize("mode", ["in_process", "remote"])


@tool
def get_weather(place: str) -> str:
    """Tells the weather."""
    return f"It rains in {place}."


@contextlib.asynccontextmanager
async def any_model(*replies: Reply) -> AsyncIterator[tuple[FakeOpenAIServer, ChatOpenAI]]:
    """LangChain's own client, as anybody's graph has it, on a server that repeats itself."""
    async with FakeOpenAIServer(*replies, default=replies[-1]) as server:
        client = openai.DefaultAsyncHttpxClient(trust_env=False)
        model = ChatOpenAI(
            base_url=server.base_url,
            model=server.model,
            api_key=SecretStr("none"),
            stream_usage=True,
            stream_chunk_timeout=None,
            max_retries=0,
            http_async_client=client,
        )
        try:
            yield server, model
        finally:
            await client.aclose()


def chatting(model: Any) -> Any:
    async def answer(state: MessagesState) -> dict[str, Any]:
        return {"messages": [await model.ainvoke(state["messages"])]}

    return StateGraph(MessagesState).add_node(answer).add_edge(START, "answer").compile()


def causes(completion: Completion) -> list[str]:
    """Why sentences were said in place of an answer, as the chunks tell the turn's record."""
    extras = [c.delta.extra or {} for c in completion.chunks if c.delta]
    return [extra["no_answer"] for extra in extras if "no_answer" in extra]


async def asked(
    mode: Mode, graph: Any, nodes: tuple[str, ...], text: str = "Hi.", **options: Any
) -> Completion:
    async with graph_llm(mode, graph, nodes, **options) as ours:
        return await complete(ours, text)


@pytest.mark.parametrize(
    ("reply", "cause"),
    [
        (
            Reply("", reasoning=["Hm, "] * 3, usage=(7, 256, 0), finish_reason="length"),
            "all 256 tokens",
        ),
        (
            Reply("<think>I wonder", usage=(7, 256, 0), finish_reason="length"),
            "all 256 tokens went into",
        ),
        (Reply("<think>I wonder"), "went into thinking"),
        (Reply("analysisI wonder"), "went into thinking"),
        (Reply("<|channel|>analysis<|message|>Hm."), "went into thinking"),
        (Reply("<think>I wonder</think>", usage=(7, 9, 0)), "thought and then answered nothing"),
        (Reply('{"a": 1}'), "markup"),
        (Reply("<|im_end|>"), "answered nothing"),
        (Reply(""), "answered nothing"),
        (Reply("", usage=(7, 0, 0)), "answered nothing"),
        (Reply("hang_up()"), "'hang_up'"),
        (Reply('<tool_call>{"name": "hang_up", "arguments": {}}</tool_call>'), "'hang_up'"),
        (Reply("", tool_calls=[ToolCall("clock", "{oops")]), "'clock' could not be read"),
    ],
)
async def test_an_answer_with_nothing_to_say_is_a_sentence_and_its_cause_is_named(
    mode: Mode, reply: Reply, cause: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with any_model(reply) as (_, model):
        completion = await asked(mode, chatting(model), ("answer",))
    assert completion.text == NO_ANSWER
    (named,) = causes(completion)
    assert cause in named
    logged = [r for r in caplog.records if getattr(r, "cause", None) == named]
    assert logged
    assert logged[0].levelno == logging.WARNING


async def test_a_promise_that_an_unknown_tool_was_to_keep_is_taken_back(mode: Mode) -> None:
    call = '<tool_call>{"name": "hang_up", "arguments": {}}</tool_call>'
    async with any_model(Reply(f"Let me see. {call}"), Reply("Goodbye.\nhang_up()")) as (_, model):
        completion = await asked(mode, chatting(model), ("answer",))
        assert completion.text.split() == ["Let", "me", "see.", *NO_ANSWER.split()]
        # what was said is whole in itself
        assert (await asked(mode, chatting(model), ("answer",))).text.strip() == "Goodbye."


async def test_the_sentence_is_the_callers_own_and_no_part_of_the_next_prompt(mode: Mode) -> None:
    async with (
        any_model(Reply("<think>I"), Reply("Yes.")) as (server, model),
        graph_llm(mode, chatting(model), ["answer"], no_answer="Pardon?") as ours,
    ):
        context = said_by_user("Hi.")
        first = await complete(ours, context)
        assert first.text == "Pardon?"
        extra = next(c.delta.extra for c in first.chunks if c.delta and c.delta.extra)
        context.add_message(role="assistant", content=first.text, extra=extra)
        context.add_message(role="user", content="Well?")
        assert (await complete(ours, context)).text == "Yes."
    assert [m["role"] for m in server.requests[1].messages] == ["user", "user"]


async def test_an_answer_cut_off_after_words_gets_no_sentence_on_top(mode: Mode) -> None:
    async with any_model(Reply("One, two", finish_reason="length")) as (_, model):
        completion = await asked(mode, chatting(model), ("answer",))
    assert (completion.text, causes(completion)) == ("One, two", [])


PARIS = [
    '<tool_call>\n{"name": "get_weather", "arguments": {"place": "Paris"}}\n</tool_call>',
    '[TOOL_CALLS] [{"name": "get_weather", "arguments": {"place": "Paris"}}]',
    '<|python_tag|>get_weather(place="Paris")',
    'get_weather(place="Paris")',
    "<|channel|>analysis<|message|>Weather.<|end|><|start|>assistant<|channel|>commentary "
    'to=functions.get_weather <|constrain|>json<|message|>{"place": "Paris"}<|call|>',
    '{"name": "get_weather", "parameters": {"place": "Paris"}}',
]


@pytest.mark.parametrize("leak", PARIS)
async def test_a_call_in_the_text_is_made_if_it_names_a_tool_that_was_offered(
    mode: Mode, leak: str
) -> None:
    rng = random.Random(leak)
    text = f"Let me look.\n{leak}" if "|>" not in leak else leak
    pieces = []
    while text:
        length = rng.choice((1, 2, 5))
        pieces.append(text[:length])
        text = text[length:]
    async with scripted_model(Reply(pieces), Reply("It rains.")) as (server, model):
        graph = create_agent(model, [get_weather])
        completion = await asked(mode, graph, ("model",))
    assert completion.text.split() in (["Let", "me", "look.", "It", "rains."], ["It", "rains."])
    *_, call, result = server.requests[1].messages
    assert call["tool_calls"][0]["function"]["name"] == "get_weather"
    assert result["content"] == "It rains in Paris."
    # what it wrote is not in the prompt, or it would write it again
    assert (call.get("content") or "").strip() in ("", "Let me look.")


async def test_arguments_that_are_nearly_json_are_read_as_they_were_meant(mode: Mode) -> None:
    broken = ToolCall("get_weather", "{'place': 'Paris',")
    async with scripted_model(Reply("", tool_calls=[broken]), Reply("Rain.")) as (server, model):
        completion = await asked(mode, create_agent(model, [get_weather]), ("model",))
    assert completion.text == "Rain."
    assert server.requests[1].messages[-1]["content"] == "It rains in Paris."


async def test_only_what_is_meant_is_heard_of_harmony(mode: Mode) -> None:
    noon = "<|channel|>analysis<|message|>Hm.<|channel|>final<|message|>It is noon."
    async with scripted_model(Reply(list(noon)), Reply("analysisSum.assistantfinalFour.")) as (
        _,
        model,
    ):
        assert (await asked(mode, chatting(model), ("answer",))).text == "It is noon."
        assert (await asked(mode, chatting(model), ("answer",))).text == "Four."


async def test_code_is_shown_as_it_is(mode: Mode) -> None:
    code = 'Here:\n```python\nd = {"a": 1}\nprint(d)\n```\nDone.'
    async with scripted_model(Reply(list(code))) as (_, model):
        assert (await asked(mode, chatting(model), ("answer",))).text == code


async def test_the_voice_says_that_there_is_code_and_the_text_has_it(mode: Mode) -> None:
    reply = Reply(list("Here you are: ```python\nprint(1)\n```That is all."))
    async with scripted_model(reply) as (_, model):
        completion = await asked(mode, chatting(model), ("answer",))

    async def pieces() -> AsyncIterator[str]:
        for chunk in completion.chunks:
            if chunk.delta and chunk.delta.content:
                yield chunk.delta.content

    voice = "".join([piece async for piece in read_aloud(pieces(), language="en")])
    assert "```python\nprint(1)\n```" in completion.text
    assert " ".join(voice.split()) == "Here you are: The code is in the text. That is all."


async def test_a_loop_of_calls_ends_after_some_steps_with_a_sentence(mode: Mode) -> None:
    again = Reply("", tool_calls=[ToolCall("get_weather", {"place": "Paris"})])
    async with scripted_model(default=again) as (server, model):
        completion = await asked(mode, create_agent(model, [get_weather]), ("model",))
    assert completion.text == NO_ANSWER
    assert causes(completion) == [f"the graph took {MAX_STEPS} steps without coming to an end"]
    assert len(server.requests) <= MAX_STEPS / 2


async def test_a_loop_in_an_agent_behind_a_router_ends_too(mode: Mode) -> None:
    again = Reply("", tool_calls=[ToolCall("current_time")])
    async with scripted_model(default=again) as (server, model):
        graph = router.build(model=model)
        completion = await asked(mode, graph, router.SPEAKABLE_NODES, "an order of mine")
    assert completion.text == NO_ANSWER
    assert "steps" in causes(completion)[0]
    assert len(server.requests) <= MAX_STEPS


@tool
def explode() -> str:
    """Fails."""
    raise RuntimeError("private")


@tool
async def hang() -> str:
    """Hangs."""
    await asyncio.Event().wait()
    return "never"


@tool
def megabyte() -> str:
    """Returns much."""
    return "x" * 1_000_000


@tool
def nothing() -> str:
    """Returns nothing."""
    return ""


@pytest.fixture
async def quick_limits(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    monkeypatch.setattr("flows.tool_faults.LONGEST_S", 0.2)
    yield


@pytest.mark.parametrize(
    ("call", "answer"),
    [
        (ToolCall("explode"), "The tool failed."),
        (ToolCall("hang"), "took too long"),
        (ToolCall("megabyte"), "992000 more characters"),
        (ToolCall("nothing"), "returned nothing"),
        (ToolCall("nobody"), "not a valid tool"),
        (ToolCall("calculate", "certainly!"), "not valid JSON"),
        (ToolCall("current_time", "certainly!"), "not valid JSON"),
        (ToolCall("calculate", {"wrong": 1}), "Field required"),
    ],
)
@pytest.mark.usefixtures("quick_limits")
async def test_whatever_a_tool_does_its_call_is_answered_and_the_turn_goes_on(
    mode: Mode, call: ToolCall, answer: str
) -> None:
    async with scripted_model(Reply("Let me look.", tool_calls=[call]), Reply("All is well.")) as (
        server,
        model,
    ):
        graph = assistant.build(
            model=model, tools=[explode, hang, megabyte, nothing], checkpointer=InMemorySaver()
        )
        completion = await asked(mode, graph, assistant.SPEAKABLE_NODES, filler_delay_s=9.0)
    assert completion.segments[0].strip().startswith("Let me look.")
    assert completion.text.endswith("All is well.")
    _valid(server)
    (result,) = [m for m in server.requests[1].messages if m["role"] == "tool"]
    assert answer in result["content"]
    assert len(result["content"]) < 10_000
    assert "private" not in result["content"]


def _valid(server: FakeOpenAIServer) -> None:
    """Every call in a request is followed by its result, and no result comes without its call."""
    for request in server.requests:
        waiting: list[str] = []
        for message in request.messages:
            if message["role"] == "tool":
                waiting.remove(message["tool_call_id"])
            else:
                assert not waiting
                waiting = [call["id"] for call in message.get("tool_calls") or ()]
        assert not waiting
