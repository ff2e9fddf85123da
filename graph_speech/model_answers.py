"""A model's finished message: its leaked calls made real, and how it ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import uuid4

from langchain_core.messages import AIMessage
from langchain_core.messages.tool import tool_call

from .leaked_calls import as_json, leaked_calls
from .silence import ModelOutcome
from .think_filter import ThinkFilter

Tools = Mapping[str, Sequence[str]]
"""The tools that a model was offered, with their parameters in order."""


def offered_tools(parameters: Mapping[str, Any] | None) -> Tools:
    """The tools in a model call's `invocation_params`, in whatever provider's form."""
    tools: dict[str, Sequence[str]] = {}
    for entry in (parameters or {}).get("tools") or ():
        schema = entry.get("function", entry) if isinstance(entry, Mapping) else None
        if not isinstance(schema, Mapping) or not isinstance(schema.get("name"), str):
            continue
        form = schema.get("parameters") or schema.get("input_schema") or {}
        properties = form.get("properties") if isinstance(form, Mapping) else None
        tools[schema["name"]] = tuple(properties or ())
    return tools


def recover_calls(message: AIMessage, tools: Tools) -> tuple[Sequence[str], Sequence[str]]:
    """Makes calls of what a server left in the text, or could not read, in place.

    The message is the very object that the node which asked the model gets, so that the graph
    goes on as if the server had parsed it. It is left as it is where nothing can be done.

    Args:
        message: A complete answer.
        tools: What its model was offered.

    Returns:
        The names of tools in calls that nobody knows, and of those whose arguments are unreadable.
    """
    broken = _mend_arguments(message, tools)
    if message.tool_calls or message.invalid_tool_calls:
        return (), broken
    the_filter = ThinkFilter(tools=tools)
    spoken = the_filter.push(message.text) + the_filter.finish()
    if not the_filter.leaks:
        return (), broken
    calls, strangers = leaked_calls(the_filter.leaks, tools)
    if calls:
        message.tool_calls = [
            tool_call(name=call.name, args=call.arguments, id=f"call_{uuid4().hex[:24]}")
            for call in calls
        ]
        # the prompt of the next step must not teach the model to do it again
        message.content = spoken
        return (), broken
    return strangers, broken


def _mend_arguments(message: AIMessage, tools: Tools) -> Sequence[str]:
    broken: list[str] = []
    for call in list(message.invalid_tool_calls):
        name, text = call.get("name") or "", call.get("args") or ""
        arguments = as_json(text) if text.strip() else {}
        if name in tools and isinstance(arguments, dict):
            message.invalid_tool_calls.remove(call)
            made = tool_call(name=name, args=arguments, id=call.get("id") or f"call_{uuid4().hex}")
            message.tool_calls.append(made)
        else:
            broken.append(name)
    return broken


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
        called=bool(message.tool_calls),
    )
