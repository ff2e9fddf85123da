"""The flows under OpenAI's wire: `/v1/chat/completions`, where the model is the flow's id."""

import json
import time
from typing import Any
from uuid import uuid4

from .events import Event, one_line

_FINISH = {"completed": "stop", "interrupted": "stop", "cancelled": "stop", "failed": "error"}


def _spoken(event: Event) -> str:
    """What an event adds to the answer's text."""
    return event["content"] if event["type"] in ("token", "interrupt") else ""


def _call(event: Event, index: int) -> dict[str, Any]:
    arguments = json.dumps(event["arguments"], ensure_ascii=False)
    return {
        "index": index,
        "id": event["id"],
        "type": "function",
        "function": {"name": event["name"], "arguments": arguments},
    }


def _usage(event: Event) -> dict[str, Any]:
    return {
        "prompt_tokens": event["input_tokens"],
        "completion_tokens": event["output_tokens"],
        "total_tokens": event["total_tokens"],
    }


class ChunkEncoder:
    """Events as `chat.completion.chunk` objects, with `[DONE]` at the end."""

    def __init__(self, model: str, *, include_usage: bool) -> None:
        self._head = {
            "id": f"chatcmpl-{uuid4().hex}",
            "object": "chat.completion.chunk",
            "created": int(time.time()),
            "model": model,
        }
        self._include_usage = include_usage
        self._calls = 0
        self._started = False
        self._usage: dict[str, Any] | None = None

    def __call__(self, event: Event) -> bytes:
        match event["type"]:
            case "token" | "interrupt":
                return self._delta({"content": _spoken(event)})
            case "tool_call":
                call = _call(event, self._calls)
                self._calls += 1
                return self._delta({"tool_calls": [call]})
            case "usage":
                self._usage = _usage(event)
            case "error":
                return self._line({"error": {k: event[k] for k in ("code", "message")}})
            case "done":
                return self._end(event["reason"])
        return b""

    def _delta(self, delta: dict[str, Any], finish: str | None = None) -> bytes:
        if not self._started:
            self._started = True
            delta = {"role": "assistant", **delta}
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return self._line({**self._head, "choices": [choice]})

    def _end(self, reason: str) -> bytes:
        if reason == "failed":
            return b"data: [DONE]\n\n"
        lines = self._delta({}, "tool_calls" if self._calls else _FINISH[reason])
        if self._include_usage and self._usage is not None:
            lines += self._line({**self._head, "choices": [], "usage": self._usage})
        return lines + b"data: [DONE]\n\n"

    def _line(self, data: dict[str, Any]) -> bytes:
        return b"data: %b\n\n" % one_line(data)


def completion(model: str, events: list[Event]) -> dict[str, Any]:
    """A turn as one `chat.completion` object."""
    calls = [_call(e, i) for i, e in enumerate(e for e in events if e["type"] == "tool_call")]
    text = "".join(_spoken(event) for event in events)
    message: dict[str, Any] = {"role": "assistant", "content": text or None}
    if calls:
        message["tool_calls"] = calls
    usage = next((_usage(event) for event in events if event["type"] == "usage"), None)
    reason = next((event["reason"] for event in events if event["type"] == "done"), "cancelled")
    finish = "tool_calls" if calls else _FINISH[reason]
    return {
        "id": f"chatcmpl-{uuid4().hex}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": model,
        "choices": [{"index": 0, "message": message, "finish_reason": finish}],
        "usage": usage,
    }


def failure(events: list[Event]) -> Event | None:
    """The error among a turn's events, if it failed."""
    return next((event for event in events if event["type"] == "error"), None)
