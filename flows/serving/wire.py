"""What clients send, and how it becomes LangChain messages."""

import asyncio
import json
import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal, NoReturn, TypeVar
from uuid import uuid4

from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)
from langchain_core.messages.tool import ToolCall
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)
from starlette.requests import ClientDisconnect, Request

from .faults import RequestRefusedError

CANCELLED_TOOL = "The call was cancelled before it had a result."

MAX_MESSAGES = 2000
"""An hour of talk is some hundreds; each costs the event loop some 20 µs."""

MAX_SAID = 20_000
"""Characters of what a caller said or typed in one turn: 20 minutes of speech."""

MAX_CALLS = 64
"""Tool calls in one message."""

MAX_TOOLS = 256
MAX_DEPTH = 64
"""Nested lists and objects in a body: what is beyond breaks encoders further in."""

MAX_CALLER_ID = 256

_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


class FunctionCall(BaseModel):
    """OpenAI's form of a call: a name, and arguments as JSON text."""

    name: str
    arguments: str | dict[str, Any] = "{}"


class WireToolCall(BaseModel):
    """A tool call of an assistant message."""

    id: str
    function: FunctionCall


class ContentPart(BaseModel):
    """A part of a message's content in OpenAI's form: text, or an image by its URL."""

    type: Literal["text", "image_url"]
    text: str = ""
    image_url: dict[str, Any] | None = None


class WireMessage(BaseModel):
    """A message of the conversation, as heard."""

    id: str | None = None
    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[ContentPart] | None = None
    tool_calls: list[WireToolCall] | None = Field(default=None, max_length=MAX_CALLS)
    tool_call_id: str | None = None
    name: str | None = None

    @model_validator(mode="after")
    def _is_not_too_long(self) -> "WireMessage":
        if self.role == "user" and len(self.text) > MAX_SAID:
            raise ValueError(f"a user's message has up to {MAX_SAID} characters")
        return self

    @property
    def text(self) -> str:
        """The content as one string."""
        if isinstance(self.content, list):
            return "".join(part.text for part in self.content)
        return self.content or ""

    @property
    def langchain_content(self) -> str | list[str | dict[Any, Any]]:
        """The content for LangChain: one string, but for images."""
        if isinstance(self.content, list) and any(part.image_url for part in self.content):
            return [part.model_dump(exclude_unset=True) for part in self.content]
        return self.text


def _check_tool(tool: dict[str, Any]) -> dict[str, Any]:
    function = tool.get("function", tool)
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise ValueError("a tool has a function with a name")
    return tool


ClientTool = Annotated[dict[str, Any], AfterValidator(_check_tool)]
"""A tool that the client runs, as OpenAI's function schema."""


def _check_context(context: dict[str, Any]) -> dict[str, Any]:
    caller_id = context.get("caller_id")
    if isinstance(caller_id, str) and len(caller_id) > MAX_CALLER_ID:
        raise ValueError(f"caller_id has up to {MAX_CALLER_ID} characters")
    return context


class TurnRequest(BaseModel):
    """The body of `POST /api/flows/{flow_id}/stream/{session_id}`."""

    model_config = ConfigDict(extra="ignore")

    messages: list[WireMessage] = Field(min_length=1, max_length=MAX_MESSAGES)
    turn_id: str = Field(default_factory=lambda: uuid4().hex, min_length=1, max_length=128)
    context: Annotated[dict[str, Any], AfterValidator(_check_context)] = {}
    tools: list[ClientTool] = Field(default=[], max_length=MAX_TOOLS)
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    committed: bool = True
    filler: bool = True
    """Whether a slow tool is bridged by a `filler` event."""


class TurnReference(BaseModel):
    """The body of `commit` and `cancel`."""

    turn_id: str | None = Field(default=None, max_length=128)


class StreamOptions(BaseModel):
    """OpenAI's `stream_options`."""

    include_usage: bool = False


class ChatRequest(BaseModel):
    """The body of `/v1/chat/completions`; sampling is the flow's own affair."""

    model_config = ConfigDict(extra="ignore")

    model: str
    messages: list[WireMessage] = Field(min_length=1, max_length=MAX_MESSAGES)
    stream: bool = False
    stream_options: StreamOptions | None = None
    tools: list[ClientTool] | None = Field(default=None, max_length=MAX_TOOLS)
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    user: str | None = Field(default=None, max_length=MAX_CALLER_ID)


_Body = TypeVar("_Body", bound=BaseModel)


async def read_body(
    request: Request, form: type[_Body], limit: int, *, timeout_s: float = 10.0
) -> _Body:
    """Read and check a JSON body of at most `limit` bytes.

    Raises:
        RequestRefusedError: It is too large or too slow, not JSON, or not of this form.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind and kind != "application/json":
        raise RequestRefusedError(415, "not_json", "Send the body as application/json.")
    try:
        async with asyncio.timeout(timeout_s):
            received = await _receive(request, limit)
    except TimeoutError as e:
        raise RequestRefusedError(408, "too_slow", "The body did not come in time.") from e
    except ClientDisconnect as e:
        raise RequestRefusedError(400, "gone", "The request ended early.") from e
    return checked(parse(received or b"{}"), form)


async def _receive(request: Request, limit: int) -> bytes:
    announced = request.headers.get("content-length", "")
    too_large = RequestRefusedError(
        413, "body_too_large", f"The body is larger than {limit} bytes."
    )
    if announced.isdecimal() and (len(announced) > 18 or int(announced) > limit):
        raise too_large
    received = bytearray()
    async for chunk in request.stream():
        received += chunk
        if len(received) > limit:
            raise too_large
    return bytes(received)


def parse(body: bytes) -> Any:
    """The JSON of a body.

    Raises:
        RequestRefusedError: It is no JSON as RFC 8259 has it: NaN, halves of surrogate pairs and
            other encodings than UTF-8 are none. Or it is nested too deep.
    """
    bad_json = RequestRefusedError(400, "bad_json", "The body is not valid JSON.")
    try:
        text = body.decode()
        data = json.loads(text, parse_constant=_no_constant)
        if _SURROGATE.search(text):
            # A half of a pair can't be sent on to anybody.
            json.dumps(data, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as e:
        raise bad_json from e
    if text.count("[") + text.count("{") > MAX_DEPTH and _is_deeper(data, MAX_DEPTH):
        raise RequestRefusedError(
            400, "too_deep", f"The body is nested more than {MAX_DEPTH} deep."
        )
    return data


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _is_deeper(data: Any, limit: int) -> bool:
    level = [data]
    for _ in range(limit + 1):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return False
    return True


def checked(data: Any, form: type[_Body]) -> _Body:
    """Check data against a form.

    Raises:
        RequestRefusedError: It does not fit; the sentence names the first field at fault.
    """
    try:
        return form.model_validate(data)
    except ValidationError as e:
        first = e.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "body"
        message = f"The field {place!r} is not right: {first['msg']}."
        raise RequestRefusedError(400, "bad_request", message) from e


def to_messages(wire: Sequence[WireMessage]) -> list[BaseMessage]:
    """LangChain messages with the client's ids.

    A tool call that never got its result (the caller interrupted) is answered as cancelled, and
    a result without its call is left out: model servers refuse both.
    """
    messages: list[BaseMessage] = []
    waiting: dict[str, str] = {}
    for message in wire:
        if message.role == "tool":
            if message.tool_call_id in waiting:
                name = waiting.pop(message.tool_call_id)
                messages.append(
                    ToolMessage(
                        message.text, tool_call_id=message.tool_call_id, name=name, id=message.id
                    )
                )
            continue
        messages += _cancelled(waiting)
        waiting = {}
        match message.role:
            case "user":
                messages.append(
                    HumanMessage(message.langchain_content, id=message.id, name=message.name)
                )
            case "assistant":
                calls = [_tool_call(call) for call in message.tool_calls or ()]
                waiting = {call["id"] or "": call["name"] for call in calls}
                messages.append(
                    AIMessage(message.text, id=message.id, name=message.name, tool_calls=calls)
                )
            case _:
                messages.append(SystemMessage(message.text, id=message.id))
    return messages + _cancelled(waiting)


def _tool_call(call: WireToolCall) -> ToolCall:
    arguments: Any = call.function.arguments
    if isinstance(arguments, str):
        try:
            arguments = parse((arguments or "{}").encode())
        except RequestRefusedError:
            arguments = {}
    if not isinstance(arguments, dict):
        arguments = {}
    return ToolCall(id=call.id, name=call.function.name, args=arguments, type="tool_call")


def _cancelled(waiting: dict[str, str]) -> list[BaseMessage]:
    return [
        ToolMessage(CANCELLED_TOOL, tool_call_id=call_id, name=name, status="error")
        for call_id, name in waiting.items()
    ]
