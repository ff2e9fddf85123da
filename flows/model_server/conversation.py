"""Making a conversation fit a model: its order, its roles, its length. On the wire's messages."""

import json
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

Message = dict[str, Any]

_GREETED = "You have greeted the caller with: "
_GO_ON = "(Go on.)"
_NOBODY_SPOKE = "(The caller has not spoken yet.)"
_CUT = " […]"
_LEAST_TEXT = 200
"""Bytes that are left of a text that alone is too long."""
_STEP = 4
"""Turns that go at once: what stays is the same for some turns, for the server's prefix cache."""


def text_of(message: Mapping[str, Any]) -> str:
    """The text of a message, whose content may be a list of parts."""
    content = message.get("content")
    if isinstance(content, list):
        parts = (p.get("text") if isinstance(p, dict) else p for p in content)
        return "".join(p for p in parts if isinstance(p, str))
    return content if isinstance(content, str) else ""


def plain(messages: Sequence[Message]) -> list[Message]:
    """Only what every server knows: roles, text, tool calls."""
    kept = ("role", "tool_calls", "tool_call_id")
    return [{k: m[k] for k in kept if k in m} | {"content": text_of(m)} for m in messages]


def without_tools(messages: Sequence[Message]) -> list[Message]:
    """Calls of tools go, and their results become what the caller's side says."""
    out: list[Message] = []
    for message in messages:
        if message["role"] == "tool":
            out.append({"role": "user", "content": f"(Found out: {text_of(message)})"})
        elif message.get("tool_calls"):
            if text := text_of(message):
                out.append({"role": "assistant", "content": text})
        else:
            out.append(message)
    return out


def one_system(messages: Sequence[Message]) -> list[Message]:
    """One system message, at the front."""
    system = [text_of(m) for m in messages if m["role"] in ("system", "developer")]
    rest = [m for m in messages if m["role"] not in ("system", "developer")]
    return [{"role": "system", "content": "\n\n".join(system)}, *rest] if system else rest


def in_turn(messages: Sequence[Message]) -> list[Message]:
    """User and assistant in turn, the user first and last; the greeting goes into the prompt."""
    messages = one_system(messages)
    system = [messages.pop(0)] if messages and messages[0]["role"] == "system" else []
    greeting = []
    while messages and messages[0]["role"] == "assistant" and not messages[0].get("tool_calls"):
        greeting.append(text_of(messages.pop(0)))
    if greeting:
        told = text_of(system[0]) + "\n\n" if system else ""
        system = [{"role": "system", "content": told + _GREETED + " ".join(greeting)}]
    merged: list[Message] = []
    for message in messages:
        before = merged[-1] if merged else None
        same = before is not None and before["role"] == message["role"] in ("user", "assistant")
        if same and not (before or {}).get("tool_calls") and not message.get("tool_calls"):
            both = f"{text_of(merged[-1])}\n{text_of(message)}".strip()
            merged[-1] = {"role": message["role"], "content": both}
        else:
            merged.append(message)
    if not merged or merged[0]["role"] != "user":
        merged.insert(0, {"role": "user", "content": _NOBODY_SPOKE})
    if merged[-1]["role"] == "assistant":
        merged.append({"role": "user", "content": _GO_ON})
    return [*system, *merged]


def system_in_user(messages: Sequence[Message]) -> list[Message]:
    """The system prompt in front of the caller's first words."""
    messages = one_system(messages)
    if not messages or messages[0]["role"] != "system":
        return messages
    prompt = text_of(messages.pop(0))
    at = next((i for i, m in enumerate(messages) if m["role"] == "user"), None)
    if at is None:
        return [{"role": "user", "content": prompt}, *messages]
    messages[at] = messages[at] | {"content": f"{prompt}\n\n{text_of(messages[at])}"}
    return messages


def size(messages: Sequence[Message], tools: Any = None) -> int:
    """Bytes of UTF-8 of a conversation as the server gets it, and of its tools."""
    told = json.dumps(list(messages), ensure_ascii=False)
    if tools:
        told += json.dumps(tools, ensure_ascii=False)
    return len(told.encode(errors="replace"))


def fit(messages: Sequence[Message], most: int, tools: Any = None) -> list[Message]:
    """Leave the oldest turns out until the rest is at most `most` bytes.

    The system prompt and the last turn stay, and a call of a tool stays with its result. Where
    that alone is too long, its longest texts are cut, those of tools first.
    """
    if size(messages, tools) <= most:
        return list(messages)
    head = [m for m in messages if m["role"] in ("system", "developer")]
    turns = _turns([m for m in messages if m["role"] not in ("system", "developer")])
    fixed = size(head, tools)
    sizes = [size(turn) for turn in turns]
    dropped = 0
    while dropped < len(turns) - 1 and fixed + sum(sizes[dropped:]) > most:
        dropped += 1
    stepped = -(-dropped // _STEP) * _STEP
    if len(turns) - stepped >= _STEP:
        dropped = stepped
    kept = [message for turn in turns[dropped:] for message in turn]
    return _cut_longest([*head, *kept], most, tools)


def _turns(messages: Sequence[Message]) -> list[list[Message]]:
    """From one sentence of the caller to the next; what came before the first is a turn too."""
    starts = [i for i, m in enumerate(messages) if m["role"] == "user"]
    # Neighbours are one turn: the caller went on talking.
    starts = [i for i in starts if i == 0 or messages[i - 1]["role"] != "user"]
    edges = [0, *(i for i in starts if i), len(messages)]
    return [list(messages[a:b]) for a, b in pairwise(edges) if b > a]


def _cut_longest(messages: list[Message], most: int, tools: Any) -> list[Message]:
    order = {"tool": 0, "user": 1, "assistant": 2, "system": 3, "developer": 3}
    for role in range(4):
        while (over := size(messages, tools) - most) > 0:
            candidates = [
                (len(text_of(m).encode(errors="replace")), i)
                for i, m in enumerate(messages)
                if order.get(m["role"], 2) == role
            ]
            longest, at = max(candidates, default=(0, 0))
            if longest <= _LEAST_TEXT:
                break
            keep = max(longest - over - len(_CUT.encode()) - 8, _LEAST_TEXT - 10)
            text = text_of(messages[at]).encode(errors="replace")[:keep]
            messages[at] = messages[at] | {"content": text.decode(errors="ignore") + _CUT}
    return messages
