"""The events on a wire: the JSON objects that a flow server streams, and what they mean.

A `Pause` has no form of its own: a `tool_start` implies it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from .events import (
    ClientCall,
    End,
    Excuse,
    Failure,
    Filler,
    Pause,
    Question,
    Speaker,
    Speech,
    ToolEnded,
    ToolStarted,
    Usage,
    VoiceEvent,
)

LONGEST_OUTPUT = 20_000
"""Characters of a tool's output that are sent; nobody hears it, a page may show it."""

_REASONS = ("completed", "interrupted", "failed", "cancelled")


def to_wire(event: VoiceEvent) -> dict[str, Any] | None:
    """The object for an event; None for one that the wire does not have."""
    match event:
        case Speech(text):
            return {"type": "token", "content": text}
        case Excuse(text, cause):
            return {"type": "token", "content": text, "cause": cause}
        case Filler(text):
            return {"type": "filler", "content": text}
        case Speaker(name, tag, voice):
            return {"type": "speaker", "name": name, "tag": tag, "voice": voice}
        case ToolStarted(call_id, name, arguments):
            return {"type": "tool_start", "id": call_id, "name": name, "arguments": arguments}
        case ClientCall(call_id, name, arguments):
            return {"type": "tool_call", "id": call_id, "name": name, "arguments": arguments}
        case ToolEnded(call_id, ended_name, status, output):
            return {
                "type": "tool_end",
                "id": call_id,
                "name": ended_name,
                "status": status,
                "output": output[:LONGEST_OUTPUT],
            }
        case Question(question_id, text, value):
            return {"type": "interrupt", "id": question_id, "content": text, "value": value}
        case Usage():
            return {
                "type": "usage",
                "input_tokens": event.input_tokens,
                "output_tokens": event.output_tokens,
                "cached_tokens": event.cached_tokens,
                "reasoning_tokens": event.reasoning_tokens,
                "total_tokens": event.total_tokens,
                "model": event.model,
            }
        case Failure():
            wire = {
                "type": "error",
                "code": event.code,
                "message": event.message,
                "retryable": event.retryable,
            }
            if event.status is not None:
                wire["status"] = event.status
            if event.retry_after_s is not None:
                wire["retry_after_s"] = event.retry_after_s
            return wire
        case End(reason):
            return {"type": "done", "reason": reason}
        case Pause():
            return None


def from_wire(data: Mapping[str, Any]) -> VoiceEvent | None:
    """The event that an object means; None for one of a kind that is not known."""
    match data.get("type"):
        case "token" if isinstance(data.get("cause"), str):
            return Excuse(_text(data, "content"), data["cause"])
        case "token":
            return Speech(_text(data, "content"))
        case "filler":
            return Filler(_text(data, "content"))
        case "speaker":
            known = (data.get(key) for key in ("name", "tag", "voice"))
            return Speaker(*(value if isinstance(value, str) else None for value in known))
        case "tool_start":
            return ToolStarted(_text(data, "id"), _text(data, "name"), _arguments(data))
        case "tool_call":
            return ClientCall(_text(data, "id"), _text(data, "name"), _arguments(data))
        case "tool_end":
            name = data.get("name")
            return ToolEnded(
                _text(data, "id"),
                name if isinstance(name, str) else None,
                _text(data, "status") or "success",
                _text(data, "output"),
            )
        case "interrupt":
            return Question(_text(data, "id"), _text(data, "content"), data.get("value"))
        case "usage":
            return Usage(
                input_tokens=_count(data, "input_tokens"),
                output_tokens=_count(data, "output_tokens"),
                cached_tokens=_count(data, "cached_tokens"),
                reasoning_tokens=_count(data, "reasoning_tokens"),
                model=_text(data, "model"),
            )
        case "error":
            status, wait = data.get("status"), data.get("retry_after_s")
            return Failure(
                _text(data, "code") or "flow_failed",
                _text(data, "message") or "the flow failed",
                retryable=data.get("retryable") is True,
                status=status if isinstance(status, int) else None,
                retry_after_s=float(wait) if isinstance(wait, int | float) else None,
            )
        case "done":
            reason = data.get("reason")
            return End(reason if reason in _REASONS else "completed")
    return None


def _text(data: Mapping[str, Any], key: str) -> str:
    value = data.get(key)
    return "" if value is None else str(value)


def _count(data: Mapping[str, Any], key: str) -> int:
    value = data.get(key)
    return value if isinstance(value, int) else 0


def _arguments(data: Mapping[str, Any]) -> dict[str, Any]:
    arguments = data.get("arguments")
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments or "{}")
        except ValueError:
            arguments = None
    return arguments if isinstance(arguments, dict) else {}
