"""What clients send, and how it becomes LangChain messages."""

import json
from collections.abc import Sequence
from typing import Any, Literal, TypeVar
from uuid import uuid4

from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)
from langchain_core.messages.tool import ToolCall
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import Request

from flows.serving.faults import RequestRefusedError

CANCELLED_TOOL = "The call was cancelled before it had a result."


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
    tool_calls: list[WireToolCall] | None = None
    tool_call_id: str | None = None
    name: str | None = None

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


class TurnRequest(BaseModel):
    """The body of `POST /api/flows/{flow_id}/stream/{session_id}`."""

    model_config = ConfigDict(extra="ignore")

    messages: list[WireMessage] = Field(min_length=1)
    turn_id: str = Field(default_factory=lambda: uuid4().hex, min_length=1, max_length=128)
    context: dict[str, Any] = {}
    tools: list[dict[str, Any]] = []
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    committed: bool = True
    filler: bool = True
    """Whether a slow tool is bridged by a `filler` event."""


class TurnReference(BaseModel):
    """The body of `commit` and `cancel`."""

    turn_id: str | None = None


class StreamOptions(BaseModel):
    """OpenAI's `stream_options`."""

    include_usage: bool = False


class ChatRequest(BaseModel):
    """The body of `/v1/chat/completions`; sampling is the flow's own affair."""

    model_config = ConfigDict(extra="ignore")

    model: str
    messages: list[WireMessage] = Field(min_length=1)
    stream: bool = False
    stream_options: StreamOptions | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    user: str | None = None


_Body = TypeVar("_Body", bound=BaseModel)


async def read_body(request: Request, form: type[_Body], limit: int) -> _Body:
    """Read and check a JSON body of at most `limit` bytes.

    Raises:
        RequestRefusedError: It is too large, not JSON, or not of this form.
    """
    received = bytearray()
    async for chunk in request.stream():
        received += chunk
        if len(received) > limit:
            raise RequestRefusedError(
                413, "body_too_large", f"The body is larger than {limit} bytes."
            )
    try:
        data = json.loads(bytes(received) or b"{}")
    except (ValueError, RecursionError) as fault:
        raise RequestRefusedError(400, "bad_json", "The body is not valid JSON.") from fault
    return checked(data, form)


def checked(data: Any, form: type[_Body]) -> _Body:
    """Check data against a form.

    Raises:
        RequestRefusedError: It does not fit; the sentence names the first field at fault.
    """
    try:
        return form.model_validate(data)
    except ValidationError as fault:
        first = fault.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "body"
        message = f"The field {place!r} is not right: {first['msg']}."
        raise RequestRefusedError(400, "bad_request", message) from fault


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
            arguments = json.loads(arguments or "{}")
        except ValueError:
            arguments = {}
    if not isinstance(arguments, dict):
        arguments = {}
    return ToolCall(id=call.id, name=call.function.name, args=arguments, type="tool_call")


def _cancelled(waiting: dict[str, str]) -> list[BaseMessage]:
    return [
        ToolMessage(CANCELLED_TOOL, tool_call_id=call_id, name=name, status="error")
        for call_id, name in waiting.items()
    ]
