"""What of an `interrupt()` can be asked aloud."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_KEYS = ("text", "question", "prompt", "message", "content", "query", "description")


def question(value: Any) -> str | None:
    """The question in an interrupt's value: a string, or one under a usual key; else None."""
    if isinstance(value, str):
        return value if value.strip() else None
    if isinstance(value, Mapping):
        for key in _KEYS:
            if isinstance(value.get(key), str) and value[key].strip():
                return str(value[key])
        # LangChain's human-in-the-loop middleware asks for the approval of actions
        return question(value.get("action_requests"))
    if isinstance(value, Sequence) and value:
        return question(value[0])
    return None
