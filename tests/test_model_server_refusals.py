"""Model servers that refuse the usual request: what they want is found out, and remembered."""

from __future__ import annotations

import contextlib
import json
import logging
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import openai
import pytest
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage

from flows.discovery import ServerKind
from flows.model import ModelOptions, VoiceChatModel, chat_model
from flows.model_server.answer_check import EmptyAnswerError
from flows.model_server.habits import Habits
from flows.model_server.refusals import learn
from flows.model_server.too_long import too_long
from flows.model_server.wording import read_refusal
from tests.fake_openai_server import FakeOpenAIServer, Reply, ToolCall

TOOL = {
    "type": "function",
    "function": {"name": "clock", "description": "", "parameters": {"type": "object"}},
}
TALK: list[BaseMessage] = [SystemMessage("Be brief."), HumanMessage("What time is it?")]


@contextlib.asynccontextmanager
async def model_on(upstream: FakeOpenAIServer, **options: Any) -> AsyncIterator[VoiceChatModel]:
    model = chat_model(ModelOptions(upstream.base_url, upstream.model, **options))
    try:
        yield model
    finally:
        await model.aclose()


async def answer_of(
    model: VoiceChatModel, messages: list[BaseMessage] | None = None, *, tools: bool = False
) -> str:
    asked: Any = model.bind_tools([TOOL]) if tools else model
    return "".join([str(chunk.text) async for chunk in asked.astream(messages or TALK)])


def refusing(
    refuses: Callable[[dict[str, Any]], bool], status: int, body: Any
) -> Callable[[dict[str, Any]], Reply]:
    """A server that refuses some requests in its own words and answers all others."""
    return lambda asked: Reply(status=status, body=body) if refuses(asked) else Reply("It is noon.")


def has(*fields: str) -> Callable[[dict[str, Any]], bool]:
    return lambda asked: any(field in asked for field in fields)


def openai_error(message: str, **more: Any) -> dict[str, Any]:
    return {"error": {"message": message, "type": "invalid_request_error", **more}}


FIELDS = {
    "ollama before 0.12.4": (
        ServerKind.OLLAMA,
        ("reasoning_effort",),
        (400, openai_error('invalid reasoning value: \'none\' (must be "high", "medium", "low")')),
    ),
    "ollama, a model that can't think": (
        ServerKind.OLLAMA,
        ("reasoning_effort",),
        (400, openai_error('"gemma2:2b" does not support thinking')),
    ),
    "fastapi with forbidden extras": (
        ServerKind.VLLM,
        ("chat_template_kwargs",),
        (
            422,
            {
                "detail": [
                    {
                        "type": "extra_forbidden",
                        "loc": ["body", "chat_template_kwargs"],
                        "msg": "Extra inputs are not permitted",
                        "input": {"messages": "tools stream_options temperature"},
                    }
                ]
            },
        ),
    ),
    "a pydantic error as text": (
        ServerKind.VLLM,
        ("min_p",),
        (
            400,
            {
                "object": "error",
                "message": "[{'type': 'extra_forbidden', 'loc': ('body', 'min_p'), 'msg': 'Extra "
                "inputs are not permitted', 'input': 0.0}]",
            },
        ),
    ),
    "a range in pydantic's words": (
        ServerKind.OTHER,
        ("presence_penalty",),
        (
            422,
            {
                "detail": [
                    {"loc": ["body", "presence_penalty"], "msg": "Input should be less than 1"}
                ]
            },
        ),
    ),
    "openai's param": (
        ServerKind.OTHER,
        ("temperature",),
        (400, openai_error("Unsupported value. Only the default is.", param="temperature")),
    ),
    "serde": (
        ServerKind.OTHER,
        ("stream_options",),
        (422, "Failed to deserialize the JSON body: unknown field `stream_options`, expected x"),
    ),
    "go": (
        ServerKind.OTHER,
        ("stream_options",),
        (400, {"error": 'json: unknown field "stream_options"'}),
    ),
    "openrouter, the fault within": (
        ServerKind.OPENROUTER,
        ("reasoning",),
        (
            400,
            {
                "error": {
                    "message": "Provider returned error",
                    "code": 400,
                    "metadata": {"raw": '{"error": {"message": "reasoning is not supported"}}'},
                }
            },
        ),
    ),
    "bare": (
        ServerKind.VLLM,
        ("top_k", "min_p", "chat_template_kwargs", "stream_options"),
        (400, "Bad Request"),
    ),
    "no body at all": (ServerKind.LLAMA_CPP, ("presence_penalty",), (400, "")),
    "an error in a page": (ServerKind.OTHER, ("presence_penalty",), (400, "<html>Bad</html>")),
    "a new name for the limit": (
        ServerKind.OTHER,
        ("max_tokens",),
        (400, openai_error("'max_tokens' is not supported. Use 'max_completion_tokens' instead.")),
    ),
}


@pytest.mark.parametrize("case", FIELDS)
async def test_a_field_that_is_refused_is_left_out_from_then_on(case: str) -> None:
    kind, fields, (status, body) = FIELDS[case]
    script = refusing(has(*fields), status, body)
    async with FakeOpenAIServer(script=script) as upstream, model_on(upstream, kind=kind) as model:
        assert await answer_of(model) == "It is noon."
        asked = len(upstream.requests)
        assert 2 <= asked <= 4
        assert await answer_of(model) == "It is noon."
        assert len(upstream.requests) == asked + 1
        kept = {"model", "messages", "stream"}
        if status == 422 or isinstance(body, dict):
            kept |= {"temperature", "top_p"} - set(fields)
        assert kept <= upstream.requests[-1].body.keys()
        if "limit" in case:
            assert upstream.requests[-1].body["max_completion_tokens"] == 256


TOOLS = {
    "vllm without its flags": (
        400,
        {
            "object": "error",
            "message": '"auto" tool choice requires --enable-auto-tool-choice and '
            "--tool-call-parser to be set",
            "type": "BadRequestError",
        },
    ),
    "ollama": (400, openai_error("registry.ollama.ai/library/gemma2:2b does not support tools")),
    "openrouter": (404, openai_error("No endpoints found that support tool use.", code=404)),
    "llama.cpp without jinja": (
        500,
        openai_error("tools param requires --jinja flag", code=500, type="server_error"),
    ),
    "nothing said": (400, "Bad Request"),
}


@pytest.mark.parametrize("case", TOOLS)
async def test_a_server_that_takes_no_tools_is_asked_without(
    case: str, caplog: pytest.LogCaptureFixture
) -> None:
    status, body = TOOLS[case]

    def refuses(asked: dict[str, Any]) -> bool:
        return "tools" in asked or any(m["role"] == "tool" for m in asked["messages"])

    call = {"name": "clock", "args": {}, "id": "1", "type": "tool_call"}
    later: list[BaseMessage] = [
        *TALK,
        AIMessage("", tool_calls=[call]),
        ToolMessage("noon", tool_call_id="1"),
    ]
    script = refusing(refuses, status, body)
    async with (
        FakeOpenAIServer(script=script) as upstream,
        model_on(upstream, kind=ServerKind.VLLM) as model,
    ):
        with caplog.at_level(logging.WARNING, "flows"):
            assert await answer_of(model, tools=True) == "It is noon."
        assert await answer_of(model, later, tools=True) == "It is noon."
        assert "noon" in upstream.requests[-1].messages[-1]["content"]
    assert "takes no tools" in caplog.text
    assert "--enable-auto-tool-choice --tool-call-parser hermes" in caplog.text


NO_STREAM = {
    "in openai's words": openai_error("Streaming is not supported.", param="stream"),
    "by its param alone": openai_error("Unsupported value.", param="stream"),
    "at its place": {"detail": [{"loc": ["body", "stream"], "msg": "Input should be false"}]},
    "in words": {"error": "this endpoint does not support streaming responses"},
    "as a demand": {"error": "stream must be false"},
    "nothing said": "Bad Request",
}


@pytest.mark.parametrize("case", NO_STREAM)
async def test_a_server_that_refuses_to_stream_is_asked_for_whole_answers_and_told_of_once(
    case: str, caplog: pytest.LogCaptureFixture
) -> None:
    script = refusing(lambda asked: bool(asked.get("stream")), 400, NO_STREAM[case])
    async with FakeOpenAIServer(script=script) as upstream, model_on(upstream) as model:
        with caplog.at_level(logging.WARNING, "flows"):
            assert await answer_of(model, tools=True) == "It is noon."
            asked = len(upstream.requests)
            assert await answer_of(model, tools=True) == "It is noon."
            assert len(upstream.requests) == asked + 1
            # after a quarter of an hour it is learnt anew, for the server may be another one
            model.memory.clock = lambda: time.monotonic() + 3600
            assert await answer_of(model, tools=True) == "It is noon."
            assert len(upstream.requests) > asked + 2
        assert not upstream.requests[-1].body.get("stream")
        assert ("tools" in upstream.requests[-1].body) is (case != "nothing said")
    told = [line for line in caplog.messages if "does not stream" in line]
    assert len(told) == 1 and upstream.base_url in told[0]


async def test_a_server_that_answers_a_stream_with_one_object_is_understood() -> None:
    call = ToolCall("clock", {"zone": "utc"})
    replies = Reply("It is noon.", usage=(30, 4, 10)), Reply("One moment.", tool_calls=[call])
    async with FakeOpenAIServer(streams=False) as upstream, model_on(upstream) as model:
        # asked twice as a stream, since nothing at all may pass, and once more as it wants
        upstream.enqueue(Reply("lost"), Reply("lost too"), *replies)
        said = await model.ainvoke(TALK)
        assert said.text == "It is noon."
        assert said.usage_metadata is not None
        assert said.usage_metadata["input_tokens"] == 30
        assert said.usage_metadata["output_tokens"] == 4
        assert len(upstream.requests) == 3
        used = await model.bind_tools([TOOL]).ainvoke(TALK)
        assert used.text == "One moment."
        assert [(c["name"], c["args"]) for c in used.tool_calls] == [("clock", {"zone": "utc"})]
        assert len(upstream.requests) == 4
        # one that says nothing at all is not taken for one that can't stream
        upstream.enqueue(Reply(""), Reply(""))
        with pytest.raises(EmptyAnswerError):
            await model.ainvoke(TALK)


@pytest.mark.parametrize(
    "said",
    [
        "stream_options is only allowed when stream is true",
        "Unknown parameter: 'stream_options'",
        "tools are not supported in streaming mode",
        "the input stream ended unexpectedly",
    ],
)
def test_other_words_about_streams_do_not_end_streaming(said: str) -> None:
    payload = {"model": "m", "messages": [], "stream": True, "stream_options": {}, "tools": [TOOL]}
    learnt = learn(Habits(), read_refusal(400, {"error": {"message": said}}), payload)
    assert learnt is None or not learnt.whole


async def test_only_the_named_one_of_the_tool_fields_goes() -> None:
    body = openai_error("Unknown parameter: 'parallel_tool_calls'.", param="parallel_tool_calls")
    script = refusing(has("parallel_tool_calls"), 400, body)
    async with FakeOpenAIServer(script=script) as upstream, model_on(upstream) as model:
        bound = model.bind_tools([TOOL], parallel_tool_calls=False)
        assert (await bound.ainvoke(TALK)).text == "It is noon."
        assert "tools" in upstream.requests[-1].body


TOO_LONG = {
    "vllm": "This model's maximum context length is {limit} tokens. However, you requested {sent} "
    "tokens ({sent} in the messages, 256 in the completion). Please reduce the length of the "
    "messages or completion.",
    "vllm, newer": "You passed {sent} input tokens and requested 256 output tokens. However, the "
    "model's context length is only {limit} tokens, resulting in a maximum input length of 1792 "
    "tokens. Please reduce the length of the input prompt. (parameter=input_tokens)",
    "vllm, the answer": "'max_tokens' or 'max_completion_tokens' is too large: 256. This model's "
    "maximum context length is {limit} tokens and your request has {sent} input tokens "
    "(256 > {limit} - {sent}).",
    "vllm, the decoder": "The decoder prompt (length {sent}) is longer than the maximum model "
    "length of {limit}. Make sure that `max_model_len` is no smaller.",
    "sglang": "The input ({sent} tokens) is longer than the model's context length ({limit} "
    "tokens).",
    "sglang, with the answer": "Requested token count exceeds the model's maximum context length "
    "of {limit} tokens. You requested a total of {sent} tokens: 9 from the input messages.",
    "llama.cpp": "request ({sent} tokens) exceeds the available context size ({limit} tokens), try "
    "increasing it",
    "llama-cpp-python": "Requested tokens ({sent}) exceed context window of {limit}",
    "lm studio": "Trying to keep the first {sent} tokens when context the overflows. However, the "
    "model is loaded with context length of only {limit} tokens, which is not enough.",
    "lm studio, older": "The number of tokens to keep from the initial prompt is greater than the "
    "context length (n_keep: {sent}>= n_ctx: {limit}). Try to load it with a larger one.",
    "tgi": "Input validation error: `inputs` tokens + `max_new_tokens` must be <= {limit}. Given: "
    "{sent} `inputs` tokens and 256 `max_new_tokens`",
    "tabby": "Prompt length {sent} is greater than max_seq_len {limit}",
    "openvino": "Number of prompt tokens: {sent} exceeds model max length: {limit}",
    "tensorrt": "Prompt length ({sent}) should not exceed max_seq_len ({limit}).",
    "hosted": "prompt is too long: {sent} tokens > {limit} maximum",
    "mistral": "Prompt contains {sent} tokens, too large for model with {limit} maximum context "
    "length",
}


@pytest.mark.parametrize("server", TOO_LONG)
def test_the_limit_is_read_from_every_servers_words(server: str) -> None:
    said = TOO_LONG[server].format(limit=2048, sent=3111)
    told = too_long(read_refusal(400, {"message": said}))
    assert told is not None
    assert (told.limit, told.sent) == (2048, 3111)


@pytest.mark.parametrize(
    "said",
    [
        "prompt too long; exceeded max context length by 1230 tokens",
        "the input length exceeds the context length",
        "context_length_exceeded",
        "Input is too long for requested model.",
        "Please reduce the length of the messages or completion.",
    ],
)
def test_a_length_without_a_figure_is_understood_too(said: str) -> None:
    told = too_long(read_refusal(400, {"error": said}))
    assert told is not None
    assert told.limit is None


@pytest.mark.parametrize(
    "said",
    [
        "temperature must be at most 2",
        "Input should be greater than or equal to -2",
        "max_tokens must be greater than 0",
        "model 'qwen3' not found",
        "Internal error",
    ],
)
def test_other_refusals_are_not_about_the_length(said: str) -> None:
    assert too_long(read_refusal(400, {"error": {"message": said}})) is None


def long_call() -> list[BaseMessage]:
    call = {"name": "clock", "args": {}, "id": "1", "type": "tool_call"}
    turns: list[BaseMessage] = [SystemMessage("You are Ada. " + "Be kind. " * 20)]
    for n in range(60):
        turns += [HumanMessage(f"Question {n}: " + "why so " * 20), AIMessage("Because. " * 20)]
    turns += [
        HumanMessage("What time is it now?"),
        AIMessage("Let me see.", tool_calls=[call]),
        ToolMessage("noon", tool_call_id="1"),
    ]
    return turns


def narrow(words: str, status: int, *, limit: int = 2048, in_stream: bool = False) -> Any:
    """A server with a context of `limit` tokens of four bytes, the answer among them."""

    def script(asked: dict[str, Any]) -> Reply:
        sent = len(json.dumps(asked["messages"])) // 4
        if sent + asked.get("max_tokens", 0) <= limit:
            return Reply("It is noon.")
        said = words.format(limit=limit, sent=sent)
        if in_stream:
            return Reply(error_after=0, error_message=said)
        return Reply(status=status, body={"error": {"message": said}})

    return script


@pytest.mark.parametrize(
    ("words", "status", "in_stream"),
    [
        *((TOO_LONG[name], 400, False) for name in ("vllm", "sglang", "llama.cpp", "lm studio")),
        (TOO_LONG["tgi"], 422, False),
        (TOO_LONG["llama.cpp"], 500, False),
        (TOO_LONG["sglang"], 0, True),
        ("the input length exceeds the context length", 400, False),
        ("Request Entity Too Large", 413, False),
    ],
)
async def test_a_call_beyond_the_context_goes_on_without_its_oldest_turns(
    words: str, status: int, in_stream: bool
) -> None:
    script = narrow(words, status, in_stream=in_stream)
    async with FakeOpenAIServer(script=script) as upstream, model_on(upstream) as model:
        assert await answer_of(model, long_call()) == "It is noon."
        asked = len(upstream.requests)
        assert asked <= 5
        messages = upstream.requests[-1].messages
        assert messages[0]["role"] == "system"
        assert messages[0]["content"].startswith("You are Ada.")
        assert messages[1]["role"] == "user"
        assert [m["role"] for m in messages[-3:]] == ["user", "assistant", "tool"]
        assert messages[-2]["tool_calls"][0]["id"] == messages[-1]["tool_call_id"] == "1"
        assert len(messages) > 6
        # The next turn is made to fit at once.
        assert await answer_of(model, long_call()) == "It is noon."
        assert len(upstream.requests) == asked + 1


async def test_a_known_context_is_never_overrun() -> None:
    script = narrow("", 500)
    async with (
        FakeOpenAIServer(script=script) as upstream,
        model_on(upstream, context_tokens=2048) as model,
    ):
        assert await answer_of(model, long_call()) == "It is noon."
        assert len(upstream.requests) == 1


async def test_ollama_is_kept_below_the_context_at_which_it_cuts_silently() -> None:
    async with (
        FakeOpenAIServer() as upstream,
        model_on(upstream, kind=ServerKind.OLLAMA) as model,
    ):
        await answer_of(model, [*long_call()[:-3], *long_call()])
        sent = len(json.dumps(upstream.requests[-1].messages))
        assert sent / 3 + 256 <= 4096
        assert upstream.requests[-1].messages[0]["role"] == "system"


async def test_a_result_that_alone_is_too_long_is_cut() -> None:
    call = {"name": "clock", "args": {}, "id": "1", "type": "tool_call"}
    messages: list[BaseMessage] = [
        *TALK,
        AIMessage("", tool_calls=[call]),
        ToolMessage("noon " * 50_000, tool_call_id="1"),
    ]
    script = narrow(TOO_LONG["vllm"], 400)
    async with FakeOpenAIServer(script=script) as upstream, model_on(upstream) as model:
        assert await answer_of(model, messages) == "It is noon."
        assert upstream.requests[-1].messages[-1]["content"].startswith("noon noon")


def roles_of(asked: dict[str, Any]) -> list[str]:
    return [message["role"] for message in asked["messages"]]


def alternates(asked: dict[str, Any]) -> bool:
    roles = [role for role in roles_of(asked) if role != "system"]
    return all(role == ("user", "assistant")[at % 2] for at, role in enumerate(roles))


GREETED: list[BaseMessage] = [
    SystemMessage("Be brief."),
    AIMessage("Hello, this is Ada."),
    HumanMessage("Hi."),
    HumanMessage("What time is it?"),
]


@pytest.mark.parametrize(
    ("said", "status"),
    [
        ("Conversation roles must alternate user/assistant/user/assistant/...", 400),
        (
            "Value is not callable: After the optional system message, conversation roles must "
            "alternate user and assistant roles except for tool calls and results.",
            500,
        ),
        ("Jinja Exception: the first message must be from the user", 500),
        ("messages: consecutive messages with the same role", 422),
    ],
)
async def test_user_and_assistant_take_turns_where_the_template_wants_it(
    said: str, status: int
) -> None:
    script = refusing(lambda asked: not alternates(asked), status, openai_error(said))
    async with FakeOpenAIServer(script=script) as upstream, model_on(upstream) as model:
        assert await answer_of(model, GREETED) == "It is noon."
        assert len(upstream.requests) == 2
        system, user = upstream.requests[-1].messages
        assert "Hello, this is Ada." in system["content"]
        assert user["content"] == "Hi.\nWhat time is it?"
        assert await answer_of(model, GREETED) == "It is noon."
        assert len(upstream.requests) == 3


@pytest.mark.parametrize(
    "said",
    [
        "System role not supported",
        "Only user and assistant roles are supported!",
        "Developer instruction is not enabled for models/gemma-3",
        "this model does not support system messages",
        "invalid role: system",
    ],
)
async def test_a_template_without_a_system_prompt_gets_it_in_the_callers_words(said: str) -> None:
    def refuses(asked: dict[str, Any]) -> bool:
        return "system" in roles_of(asked) or not alternates(asked)

    script = refusing(refuses, 400, openai_error(said))
    async with FakeOpenAIServer(script=script) as upstream, model_on(upstream) as model:
        assert await answer_of(model, GREETED) == "It is noon."
        (user,) = upstream.requests[-1].messages
        assert user["content"].startswith("Be brief.")
        assert user["content"].endswith("What time is it?")


def role_at(number: int) -> dict[str, Any]:
    place = ["body", "messages", number, "role"]
    return {"detail": [{"loc": place, "msg": "Input should be 'user' or 'assistant'"}]}


MESSAGES: dict[str, tuple[Callable[[dict[str, Any]], bool], int, Any]] = {
    "a role that it does not know": (lambda a: "system" in roles_of(a), 422, role_at(0)),
    "text for content": (
        lambda a: any(not isinstance(m.get("content"), str) for m in a["messages"]),
        422,
        {
            "detail": [
                {"loc": ["body", "messages", 1, "content"], "msg": "Input should be a string"}
            ]
        },
    ),
    "no names": (
        lambda a: any("name" in m for m in a["messages"]),
        400,
        openai_error("'messages.1' : property 'name' is unsupported"),
    ),
    "no answer that is begun": (
        lambda a: roles_of(a)[-1] == "assistant",
        400,
        openai_error("Assistant response prefill is incompatible with enable_thinking."),
    ),
    "one system prompt": (
        lambda a: "system" in roles_of(a)[1:],
        500,
        openai_error("System message must be at the beginning."),
    ),
    "not implemented": (has("stream_options"), 501, openai_error("stream_options not implemented")),
}


@pytest.mark.parametrize("case", MESSAGES)
async def test_messages_get_the_form_that_a_server_wants(case: str) -> None:
    messages: list[BaseMessage] = [
        SystemMessage("Be brief."),
        HumanMessage([{"type": "text", "text": "Hi."}], name="bob"),
        SystemMessage("Be kind."),
        AIMessage("It is about"),
    ]
    async with (
        FakeOpenAIServer(script=refusing(*MESSAGES[case])) as upstream,
        model_on(upstream, kind=ServerKind.VLLM) as model,
    ):
        assert await answer_of(model, messages) == "It is noon."
        assert len(upstream.requests) == 2
        assert "Hi." in str(upstream.requests[-1].messages)


async def test_several_reasons_are_met_one_after_the_other() -> None:
    def script(asked: dict[str, Any]) -> Reply:
        if "stream_options" in asked:
            return Reply(status=422, body={"error": "unknown field `stream_options`"})
        if "tools" in asked:
            return Reply(status=400, body=openai_error("tool calling is not available"))
        if "system" in roles_of(asked):
            return Reply(status=500, body=openai_error("System role not supported"))
        return Reply("It is noon.")

    async with FakeOpenAIServer(script=script) as upstream, model_on(upstream) as model:
        assert await answer_of(model, tools=True) == "It is noon."
        assert len(upstream.requests) == 4


async def test_what_did_not_help_is_not_remembered() -> None:
    bad = Reply(status=400, body="Bad Request")
    async with FakeOpenAIServer(default=bad) as upstream, model_on(upstream) as model:
        with pytest.raises(openai.BadRequestError):
            await answer_of(model, tools=True)
        assert 2 <= len(upstream.requests) <= 8
        upstream.default = Reply("It is noon.")
        assert await answer_of(model, tools=True) == "It is noon."
        assert "tools" in upstream.requests[-1].body


async def test_a_refused_key_is_told_apart(caplog: pytest.LogCaptureFixture) -> None:
    async with FakeOpenAIServer(api_key="k3y") as upstream, model_on(upstream) as model:
        with pytest.raises(openai.AuthenticationError) as caught:
            await answer_of(model)
        assert len(upstream.requests) == 1
    assert "refuses the key" in "".join(caught.value.__notes__)
    assert "refuses the key" in caplog.text


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (404, "The model `scripted-qwen3` does not exist."),
        (404, 'model "scripted-qwen3" not found, try pulling it first'),
        (400, "Model not found: no models loaded. Please load one."),
    ],
)
async def test_a_model_that_is_not_there_is_said_with_those_that_are(
    status: int, said: str
) -> None:
    there = [{"id": "qwen3:4b"}, {"id": "llama3:8b"}]
    reply = Reply(status=status, body=openai_error(said))
    async with (
        FakeOpenAIServer(default=reply, models=there) as upstream,
        model_on(upstream) as model,
    ):
        with pytest.raises(openai.APIStatusError) as caught:
            await answer_of(model)
        assert len(upstream.requests) == 1
    (note,) = caught.value.__notes__
    assert "qwen3:4b, llama3:8b" in note
    assert "llm_model" in note


async def test_a_busy_server_is_asked_again_when_it_says() -> None:
    busy = Reply(status=429, headers={"Retry-After": "0.2"})
    async with FakeOpenAIServer(busy, Reply("It is noon.")) as upstream, model_on(upstream) as m:
        assert await answer_of(m) == "It is noon."
        assert len(upstream.requests) == 2


async def test_nobody_waits_for_a_server_that_is_busy_for_long() -> None:
    busy = Reply(status=429, headers={"Retry-After": "120"})
    async with FakeOpenAIServer(busy) as upstream, model_on(upstream) as model:
        with pytest.raises(openai.RateLimitError):
            await answer_of(model)
        assert len(upstream.requests) == 1


async def test_no_word_of_the_call_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    def script(asked: dict[str, Any]) -> Reply:
        # As FastAPI does, it echoes the whole request.
        return Reply(status=422, body={"detail": [{"msg": "bad", "loc": ["body"], "input": asked}]})

    async with FakeOpenAIServer(script=script) as upstream, model_on(upstream) as model:
        with caplog.at_level(logging.INFO), pytest.raises(openai.APIStatusError):
            await answer_of(model, [HumanMessage("my secret is pistachio")])
    assert "refuses every way of asking" in caplog.text
    assert "pistachio" not in caplog.text


def test_an_echo_of_the_request_names_no_field() -> None:
    payload = {"model": "m", "messages": [], "stream": True, "temperature": 0.4, "top_p": 0.8}
    body = {"detail": [{"msg": "bad", "loc": ["body"], "input": {"temperature": 0.4}}]}
    learnt = learn(Habits(), read_refusal(500, body), payload)
    assert learnt is None
