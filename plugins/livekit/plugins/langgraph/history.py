"""LiveKit's chat context as the prompt of a graph: one source of truth, as heard.

LiveKit keeps what the caller has heard: an interrupted answer ends where the voice fell silent.
What the plugin itself said in passing (a filler during a tool, an apology) is in there too, since
the caller heard it, but is marked as an *aside* and taken out again before a model reads it.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)
from livekit.agents import llm

from graph_speech.thread import CANCELLED_OUTPUT

ASIDES_KEY = "langgraph"
"""The key in `ChatMessage.extra` under which asides are marked."""


@dataclass(frozen=True)
class Aside:
    """Something said in passing, at `offset` characters into the answer."""

    offset: int
    text: str


def mark_asides(asides: Sequence[Aside]) -> dict[str, Any]:
    """What a chunk's `extra` must hold so that `heard` finds the asides again."""
    return {ASIDES_KEY: {"asides": [[aside.offset, aside.text] for aside in asides]}}


@dataclass
class Message:
    """One message of the prompt, in the shape that also goes over the wire."""

    id: str
    role: str
    """`system`, `user`, `assistant` or `tool`."""
    content: str | list[dict[str, Any]] = ""
    tool_calls: list[dict[str, Any]] = field(default_factory=list)
    """OpenAI's form: `{id, type, function: {name, arguments}}`."""
    tool_call_id: str | None = None
    name: str | None = None
    is_error: bool = False

    def to_wire(self) -> dict[str, Any]:
        """The JSON object that a flow server takes."""
        wire: dict[str, Any] = {"id": self.id, "role": self.role, "content": self.content}
        if self.tool_calls:
            wire["tool_calls"] = self.tool_calls
        if self.tool_call_id is not None:
            wire |= {"tool_call_id": self.tool_call_id, "name": self.name}
        return wire

    def to_langchain(self) -> BaseMessage:
        """The LangChain message, with LiveKit's id."""
        match self.role:
            case "system":
                return SystemMessage(self.content, id=self.id)  # type: ignore[arg-type]
            case "user":
                return HumanMessage(self.content, id=self.id)  # type: ignore[arg-type]
            case "tool":
                return ToolMessage(
                    self.content,  # type: ignore[arg-type]
                    id=self.id,
                    tool_call_id=self.tool_call_id,
                    name=self.name,
                    status="error" if self.is_error else "success",
                )
        calls = [
            {
                "id": call["id"],
                "name": call["function"]["name"],
                "args": json.loads(call["function"]["arguments"]),
                "type": "tool_call",
            }
            for call in self.tool_calls
        ]
        return AIMessage(self.content, id=self.id, tool_calls=calls)  # type: ignore[arg-type]


def heard(chat_ctx: llm.ChatContext) -> list[Message]:
    """The conversation as heard, as a prompt that every model server accepts.

    Every tool call is followed by its output, a call without one by `CANCELLED_OUTPUT`; outputs
    without a call, empty messages, asides, and LiveKit's own records (hand-offs, configuration)
    are left out. `chat_ctx` is not changed.
    """
    outputs = {item.call_id: item for item in chat_ctx.items if item.type == "function_call_output"}
    prompt: list[Message] = []
    by_id: dict[str, Message] = {}
    for item in chat_ctx.items:
        if item.type == "message":
            if item.id in by_id or not (content := _content(item)):
                continue
            role = "system" if item.role == "developer" else item.role
            message = by_id[item.id] = Message(item.id, role, content)
            prompt.append(message)
        elif item.type == "function_call":
            # Calls of one completion share the id of its text: "item_x" and "item_x/fnc_0".
            group = item.group_id or item.id.split("/")[0]
            caller = by_id.get(group)
            if caller is None or caller.role != "assistant":
                caller = by_id[group] = Message(group, "assistant")
                prompt.append(caller)
            caller.tool_calls.append(_call(item))
    return [part for message in prompt for part in _with_outputs(message, outputs)]


def _with_outputs(message: Message, outputs: Mapping[str, llm.FunctionCallOutput]) -> list[Message]:
    parts = [message]
    for call in message.tool_calls:
        output = outputs.get(call["id"])
        parts.append(
            Message(
                output.id if output else f"{call['id']}_cancelled",
                "tool",
                output.output if output else CANCELLED_OUTPUT,
                tool_call_id=call["id"],
                name=call["function"]["name"],
                is_error=output.is_error if output else True,
            )
        )
    return parts


def _call(item: llm.FunctionCall) -> dict[str, Any]:
    try:
        arguments = llm.utils.parse_function_arguments(item.arguments or "{}")
    except ValueError:
        # Arguments that a model garbled must not break every later turn.
        arguments = {}
    return {
        "id": item.call_id,
        "type": "function",
        "function": {"name": item.name, "arguments": json.dumps(arguments, ensure_ascii=False)},
    }


def _content(message: llm.ChatMessage) -> str | list[dict[str, Any]]:
    texts: list[str] = []
    images: list[dict[str, Any]] = []
    for part in message.content:
        if isinstance(part, llm.ImageContent):
            images.append(_image(part))
        elif isinstance(part, llm.AudioContent):
            texts.append(part.transcript or "")
        elif not isinstance(part, llm.CacheBreakpoint):
            texts.append(str(part))
    text = "\n".join(filter(None, texts))
    if message.role == "assistant":
        text = without_asides(text, message.extra)
    if not text.strip():
        text = ""
    if not images:
        return text
    return [*images, {"type": "text", "text": text}] if text else images


def _image(image: llm.ImageContent) -> dict[str, Any]:
    serialized = llm.utils.serialize_image(image)
    url = serialized.external_url
    if url is None:
        data = base64.b64encode(serialized.data_bytes or b"").decode("ascii")
        url = f"data:{serialized.mime_type};base64,{data}"
    return {"type": "image_url", "image_url": {"url": url}}


def without_asides(text: str, extra: Mapping[str, Any]) -> str:
    """`text` as the model meant it: without the asides that `extra` marks.

    The heard text may be cut off anywhere, an aside included, and its white space may differ from
    what was sent, so an aside is looked for around where it was said.
    """
    marks = (extra.get(ASIDES_KEY) or {}).get("asides") or []
    removed = 0
    for offset, aside in marks:
        aside = aside.strip()
        near = max(0, offset - removed - 8)
        start = text.find(aside, near)
        if start < 0:
            start = text.find(aside)
        if start >= 0:
            end = start + len(aside)
        else:
            start, end = _cut_off(text, aside, near), len(text)
        head, tail = text[:start], text[end:]
        # the aside stood in a paragraph of its own: keep one of the breaks around it
        joined = head + (tail.lstrip() if not head or head[-1:].isspace() else tail)
        removed += len(text) - len(joined)
        text = joined
    return text.rstrip() if marks else text


def _cut_off(text: str, aside: str, near: int) -> int:
    """Where the beginning of `aside` stands at the end of `text`, else the end of `text`."""
    for start in range(near, len(text)):
        if aside.startswith(text[start:].rstrip()):
            return start
    return len(text)
