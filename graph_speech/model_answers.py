"""A model's finished message: its leaked calls made real, how it ended, what it cost."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import uuid4

from langchain_core.messages import AIMessage
from langchain_core.messages.tool import invalid_tool_call, tool_call

from .events import Usage
from .leaked_calls import as_json, leaked_calls
from .silence import ModelOutcome
from .think_filter import ThinkFilter


@dataclass(frozen=True)
class OfferedTools:
    """The tools that a model was offered."""

    parameters: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """The parameters of each, in order."""
    demanding: frozenset[str] = frozenset()
    """Those that can't be called without arguments."""


NO_TOOLS = OfferedTools()


def offered_tools(parameters: Mapping[str, Any] | None) -> OfferedTools:
    """The tools in a model call's `invocation_params`, in whatever provider's form."""
    tools: dict[str, Sequence[str]] = {}
    demanding: set[str] = set()
    for entry in (parameters or {}).get("tools") or ():
        schema = entry.get("function", entry) if isinstance(entry, Mapping) else None
        if not isinstance(schema, Mapping) or not isinstance(schema.get("name"), str):
            continue
        form = schema.get("parameters") or schema.get("input_schema") or {}
        properties = form.get("properties") if isinstance(form, Mapping) else None
        tools[schema["name"]] = tuple(properties or ())
        if isinstance(form, Mapping) and form.get("required"):
            demanding.add(schema["name"])
    return OfferedTools(tools, frozenset(demanding)) if tools else NO_TOOLS


def recover_calls(
    message: AIMessage, tools: OfferedTools, written: Mapping[str, str]
) -> tuple[Sequence[str], Sequence[str]]:
    """Makes calls of what a server left in the text, or could not read, in place.

    The message is the very object that the node which asked the model gets, so that the graph
    goes on as if the server had parsed it. It is left as it is where nothing can be done.

    Args:
        message: A complete answer.
        tools: What its model was offered.
        written: The arguments of its calls by id, as the model wrote them.

    Returns:
        The names of tools in calls that nobody knows, and of those whose arguments are unreadable.
    """
    broken = _mend_arguments(message, tools, written)
    if message.tool_calls or message.invalid_tool_calls:
        return (), broken
    the_filter = ThinkFilter(tools=tools.parameters)
    spoken = the_filter.push(message.text) + the_filter.finish()
    if not the_filter.leaks:
        return (), broken
    calls, strangers = leaked_calls(the_filter.leaks, tools.parameters)
    if calls:
        message.tool_calls = [
            tool_call(name=call.name, args=call.arguments, id=f"call_{uuid4().hex[:24]}")
            for call in calls
        ]
        # the prompt of the next step must not teach the model to do it again
        message.content = spoken
        return (), broken
    return strangers, broken


def _mend_arguments(
    message: AIMessage, tools: OfferedTools, written: Mapping[str, str]
) -> Sequence[str]:
    broken: list[str] = []
    for call in list(message.tool_calls):
        text = written.get(call["id"] or "", "").strip()
        if not text or _is_json(text):
            continue
        # LangChain reads as much of it as it can, down to nothing
        arguments = as_json(text)
        if isinstance(arguments, dict):
            call["args"] = arguments
        elif call["name"] not in tools.demanding:
            # a tool that needs none would run as if nothing had been asked of it
            message.tool_calls.remove(call)
            message.invalid_tool_calls.append(
                invalid_tool_call(name=call["name"], args=text, id=call["id"], error="no JSON")
            )
            broken.append(call["name"])
    for invalid in list(message.invalid_tool_calls):
        name, text = invalid.get("name") or "", invalid.get("args") or ""
        arguments = as_json(text) if text.strip() else {}
        if name in tools.parameters and isinstance(arguments, dict):
            message.invalid_tool_calls.remove(invalid)
            call_id = invalid.get("id") or f"call_{uuid4().hex[:24]}"
            message.tool_calls.append(tool_call(name=name, args=arguments, id=call_id))
        elif name not in broken:
            broken.append(name)
    return broken


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def outcome(
    message: AIMessage,
    the_filter: ThinkFilter | None,
    *,
    spoke: bool,
    strangers: Sequence[str],
    broken: Sequence[str],
) -> ModelOutcome:
    """How a model call ended whose message is complete.

    Args:
        message: The answer.
        the_filter: What its text went through; None if it had none.
        spoke: Whether anything of it was said.
        strangers: As `recover_calls` returns them.
        broken: As `recover_calls` returns them.
    """
    usage = message.usage_metadata
    details = usage.get("output_token_details", {}) if usage else {}
    finish = message.response_metadata.get("finish_reason")
    return ModelOutcome(
        spoke=spoke,
        tokens=usage["output_tokens"] if usage else 0,
        reasoning_tokens=details.get("reasoning") or 0,
        finish=finish if isinstance(finish, str) else "",
        thought=the_filter.thought if the_filter else 0,
        thinks_on=the_filter.thinks_on if the_filter else False,
        strangers=strangers,
        broken=broken,
        filtered=bool(the_filter and the_filter.leaks),
        swallowed=bool(strangers and the_filter and _in_markup(the_filter.leaks, strangers)),
        called=bool(message.tool_calls),
    )


def _in_markup(leaks: Sequence[str], names: Sequence[str]) -> bool:
    return any(leak[:1] in ("<", "[", "{") and name in leak for leak in leaks for name in names)


def with_usage_of(message: AIMessage, before: Usage) -> Usage:
    """The tokens so far and those of one answer more."""
    usage = message.usage_metadata
    if usage is None:
        return before
    read = usage.get("input_token_details", {})
    return replace(
        before,
        input_tokens=before.input_tokens + usage["input_tokens"],
        output_tokens=before.output_tokens + usage["output_tokens"],
        cached_tokens=before.cached_tokens + (read.get("cache_read") or 0),
        created_tokens=before.created_tokens + (read.get("cache_creation") or 0),
        reasoning_tokens=before.reasoning_tokens
        + (usage.get("output_token_details", {}).get("reasoning") or 0),
    )
