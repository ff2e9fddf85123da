"""Tool calls that a model wrote into its text, because its server's parser did not know them.

Each family of models writes them in a form of its own; a call counts only if it names a tool that
the model was offered.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .balance import Balance

_NAME_KEYS = ("name", "tool_name", "tool", "function", "function_name", "action")
_ARGUMENT_KEYS = ("arguments", "parameters", "args", "input", "action_input", "kwargs")
_RECIPIENT = re.compile(r"to=(?:functions\.)?([\w.-]+)")
_FUNCTION = re.compile(r"<(?:function|invoke)(?:=| name=)[\"']?([\w.-]+)[\"']?\s*>")
_PARAMETER = re.compile(
    r"<parameter(?:=| name=)[\"']?([\w.-]+)[\"']?\s*>(.*?)(?:</parameter>|\Z)", re.DOTALL
)
_KEY_VALUE = re.compile(
    r"<arg_key>\s*([\w.-]+)\s*</arg_key>\s*<arg_value>(.*?)(?:</arg_value>|\Z)", re.DOTALL
)
_WORD = re.compile(r"[A-Za-z_][\w.-]*")
_CALL = re.compile(r"[A-Za-z_][\w.]*\(")
_TRAILING_COMMA = re.compile(r",\s*([}\]])")
_LONGEST = 100_000
"""Characters that are looked at; no call of a voice agent is as long."""


@dataclass(frozen=True)
class LeakedCall:
    """A call that stood in the text."""

    name: str
    arguments: dict[str, Any]


def leaked_calls(
    leaks: Sequence[str], tools: Mapping[str, Sequence[str]]
) -> tuple[list[LeakedCall], list[str]]:
    """The calls in what `ThinkFilter` left out.

    Args:
        leaks: Pieces of text.
        tools: The tools that the model was offered, with their parameters in order.

    Returns:
        The calls of those tools, and the names in calls of others.
    """
    calls: list[LeakedCall] = []
    strangers: list[str] = []
    for leak in leaks:
        for name, arguments in _in_any_form(leak[:_LONGEST], tools):
            short = name.removeprefix("functions.")
            if short not in tools:
                strangers.append(short)
                continue
            if isinstance(arguments, str):
                arguments = as_object(arguments)
            call = LeakedCall(short, arguments if isinstance(arguments, dict) else {})
            if call not in calls:
                calls.append(call)
    return calls, strangers


def is_call_or_nothing(text: str, tools: Collection[str]) -> bool:
    """Whether a block of code is a tool call in disguise, or an empty object."""
    text = text.strip()
    if text[:1] in ("{", "["):
        value = as_json(text)
        return value in ({}, []) or any(True for _ in _in_json(value, dict.fromkeys(tools, ())))
    known = dict.fromkeys(tools, ())
    return any(name in known for name, _ in _in_python(text, known))


_Found = Iterator[tuple[str, Any]]


def _in_any_form(text: str, tools: Mapping[str, Sequence[str]]) -> _Found:
    for form in (_in_xml, _in_recipient, _in_values, _in_python):
        found = list(form(text, tools))
        if found:
            yield from found
            return


def _in_xml(text: str, tools: Mapping[str, Sequence[str]]) -> _Found:
    starts = list(_FUNCTION.finditer(text))
    for start, following in zip(starts, [*starts[1:], None], strict=False):
        body = text[start.end() : following.start() if following else len(text)]
        given = {key: _plain(value) for key, value in _PARAMETER.findall(body)}
        if not given and "{" in body:
            given = as_object(body[body.index("{") : body.rfind("}") + 1 or len(body)])
        yield start[1], given
    if not starts and (pairs := _KEY_VALUE.findall(text)):
        head = re.sub(r"^\s*(?:<[^<>]*>\s*)?", "", text)
        if name := _WORD.match(head):
            yield name[0], {key: _plain(value) for key, value in pairs}


def _plain(value: str) -> Any:
    value = value.strip()
    try:
        return json.loads(value)
    except ValueError:
        return value


def _in_recipient(text: str, tools: Mapping[str, Sequence[str]]) -> _Found:
    recipient = _RECIPIENT.search(text)
    if recipient is not None:
        brace = text.find("{", recipient.end())
        yield recipient[1], as_object(text[brace:]) if brace >= 0 else {}


def _in_values(text: str, tools: Mapping[str, Sequence[str]]) -> _Found:
    """JSON that names the tool, or a tool's name before JSON."""
    at, before = 0, 0
    decoder = json.JSONDecoder(strict=False)
    while (start := _next_value(text, at)) is not None:
        try:
            value, at = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            value, at = as_json(text[start:]), len(text)
        found = list(_in_json(value, tools))
        if not found and isinstance(value, dict):
            words = _WORD.findall(text[before:start])
            found = [(word, value) for word in reversed(words) if _known(word, tools)][:1]
        yield from found
        before = at


def _next_value(text: str, at: int) -> int | None:
    found = re.compile(r"\{|\[\s*\{").search(text, at)
    return None if found is None else found.start()


def _known(word: str, tools: Mapping[str, Sequence[str]]) -> bool:
    return word.removeprefix("functions.") in tools


def _in_json(value: Any, tools: Mapping[str, Sequence[str]]) -> _Found:
    if isinstance(value, list):
        for one in value:
            yield from _in_json(one, tools)
        return
    if not isinstance(value, dict):
        return
    inner = value.get("function") or value.get("tool_call")
    if isinstance(inner, dict):
        yield from _in_json(inner, tools)
        return
    if isinstance(value.get("tool_calls"), list):
        yield from _in_json(value["tool_calls"], tools)
        return
    name = next((value[key] for key in _NAME_KEYS if isinstance(value.get(key), str)), None)
    keys = [key for key in _ARGUMENT_KEYS if key in value]
    if name is not None and (keys or _known(name, tools)):
        yield name, value[keys[0]] if keys else {}
    elif len(value) == 1:
        (only,) = value
        if _known(str(only), tools) and isinstance(value[only], dict):
            yield str(only), value[only]


def _in_python(text: str, tools: Mapping[str, Sequence[str]]) -> _Found:
    start = _CALL.search(text)
    if start is None:
        return
    source = re.sub(r"<[|｜/][^<>]*>?|`", "\n", text[start.start() :]).strip().rstrip("];,. \n")
    source = source.replace("), ", ")\n") if "\n" not in source else source
    for candidate in (source, source.splitlines()[0]):
        try:
            tree = ast.parse(candidate)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and (name := _dotted(node.func)):
                if name == "print" and name not in tools:
                    continue
                yield name, _arguments(node, tools.get(name.removeprefix("functions."), ()))
        return
    yield start[0][:-1], {}


def _dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return node.attr
    return ""


def _arguments(call: ast.Call, parameters: Sequence[str]) -> dict[str, Any]:
    given = {key.arg: _literal(key.value) for key in call.keywords if key.arg}
    for name, value in zip(parameters, call.args, strict=False):
        given.setdefault(name, _literal(value))
    return given


def _literal(node: ast.expr) -> Any:
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        words = {"true": True, "false": False, "null": None}
        if isinstance(node, ast.Name) and node.id in words:
            return words[node.id]
        return ast.unparse(node)


def as_object(text: str) -> dict[str, Any]:
    """The object that `text` is meant to be; empty if it is none."""
    value = as_json(text)
    if isinstance(value, str):
        value = as_json(value)
    return value if isinstance(value, dict) else {}


def as_json(text: str) -> Any:
    """What `text` is meant to be in JSON: with Python's words, commas too many, or an end that
    was cut off; None if nothing helps."""
    text = text.strip()
    text = text[: Balance("\"'").end(text)]
    for candidate in (text, _TRAILING_COMMA.sub(r"\1", text), _completed(text)):
        try:
            return json.JSONDecoder(strict=False).raw_decode(candidate)[0]
        except (ValueError, RecursionError):
            pass
        try:
            value = ast.literal_eval(candidate)
        except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
            continue
        if isinstance(value, dict | list):
            return value
    return None


def _completed(text: str) -> str:
    """`text` with the brackets closed that it leaves open."""
    closers: list[str] = []
    quoted = False
    for token in re.finditer(r'\\.|["{}\[\]]', text, re.DOTALL):
        mark = token[0]
        if mark == '"':
            quoted = not quoted
        elif not quoted and mark in "{[":
            closers.append("}" if mark == "{" else "]")
        elif not quoted and mark in "}]" and closers:
            closers.pop()
    ending = '"' if quoted else ""
    whole = text.rstrip().rstrip(",") + ending + "".join(reversed(closers))
    return _TRAILING_COMMA.sub(r"\1", whole)
