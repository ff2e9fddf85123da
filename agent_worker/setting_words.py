"""Settings in words: what each one takes, and what is wrong with a value, for people."""

from __future__ import annotations

import difflib
import json
import re
import types
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

_SPECIAL = {
    "language": "a language tag, such as en, zh or pt-BR, or auto",
    "call_processes": "auto, or a whole number from 1 to 256",
    "livekit_url": "an address that begins with ws:// or wss://",
    "web_livekit_url": "an address that begins with ws:// or wss://",
    "llm_url": "an address that begins with http:// or https://",
    "flow_url": "an address that begins with http:// or https://",
    "tts_url": "an address that begins with http:// or https://",
    "otel_endpoint": "an address that begins with http:// or https://",
    "weather_url": "an address with {query} in it",
    "stock_url": "an address with {query} in it",
    "search_url": "an address with {query} in it",
    "allowed_origins": "origins, such as http://localhost:3000, separated by commas",
    "mcp_servers": "a list of servers, each a name with a command or a url",
}
"""Where a validator of its own, or a pattern, says more than the type."""


def allowed(name: str, field: FieldInfo) -> str:
    """What a setting takes, such as "a whole number from 1 to 1000"."""
    return _SPECIAL.get(name) or _allowed_type(field.annotation, _bounds(field))


def _bounds(field: FieldInfo) -> dict[str, float]:
    return {
        bound: getattr(part, bound)
        for part in field.metadata
        for bound in ("ge", "gt", "le", "lt", "min_length")
        if getattr(part, bound, None) is not None
    }


def _allowed_type(kind: Any, bounds: Mapping[str, float]) -> str:
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Literal:
        return _either([str(value) for value in arguments])
    if origin in (Union, types.UnionType):
        return _either([_allowed_type(a, bounds) for a in arguments if a is not types.NoneType])
    if origin is tuple:
        inner = arguments[0]
        if get_origin(inner) is Literal:
            return "a list of " + _either([str(v) for v in get_args(inner)]).replace(
                " or ", " and "
            )
        return "a list of texts" if inner is str else "a list"
    if origin is dict:
        return "a table of texts"
    if kind is bool:
        return "true or false"
    if kind in (int, float):
        noun = "a whole number" if kind is int else "a number"
        return f"{noun}{_range(bounds)}"
    if isinstance(kind, type) and issubclass(kind, Path):
        return "a path"
    return "text, not empty" if bounds.get("min_length") else "text"


def _range(bounds: Mapping[str, float]) -> str:
    low, high = bounds.get("ge"), bounds.get("le")
    above = bounds.get("gt")
    if low is not None and high is not None:
        return f" from {low:g} to {high:g}"
    words = []
    if above is not None:
        words.append(f"over {above:g}")
    if low is not None:
        words.append(f"of at least {low:g}")
    if high is not None:
        words.append(f"{'and' if words else 'of'} at most {high:g}")
    return " " + " ".join(words) if words else ""


def _either(words: Sequence[str]) -> str:
    return " or ".join(filter(None, [", ".join(words[:-1]), words[-1]])) if words else ""


def what_is_wrong(name: str, field: FieldInfo, error: Mapping[str, Any]) -> str:
    """One of Pydantic's errors as a sentence without a subject, such as "must be true or false"."""
    if error["type"] == "value_error":
        return str(error["msg"]).removeprefix("Value error, ")
    inner = [str(part) for part in error["loc"][1:] if part in _keys_of(field)]
    if inner:
        missing = error["type"] == "missing"
        unknown = error["type"] == "extra_forbidden"
        return f"{inner[-1]} " + (
            "is missing" if missing else "is unknown" if unknown else "is bad"
        )
    close = difflib.get_close_matches(str(error.get("input", "")), _words_of(field.annotation), n=1)
    hint = f"; did you mean {close[0]}?" if close else ""
    return f"must be {allowed(name, field)}{hint}"


def _keys_of(field: FieldInfo) -> set[str]:
    """Names inside of a setting that is a list of tables."""
    models = [a for a in get_args(field.annotation) if _is_model(a)]
    return {key for model in models for key in model.model_fields}


def _is_model(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _words_of(kind: Any) -> list[str]:
    """The words that a closed set of values has."""
    if get_origin(kind) is Literal:
        return [str(value) for value in get_args(kind)]
    return [word for argument in get_args(kind) for word in _words_of(argument)]


def tables_hint(values: Mapping[str, Any], fields: Mapping[str, FieldInfo]) -> str:
    """What to write in place of a file's tables; empty where it has none that do not belong.

    Settings are plain lines. Whoever knows other programs writes ``[stt]`` and ``model = …``, and
    would get an error for each of them.
    """
    tables = {
        name: table
        for name, table in values.items()
        if isinstance(table, dict)
        and not (name in fields and get_origin(fields[name].annotation) is dict)
    }
    if not tables:
        return ""
    names = ", ".join(f"[{name}]" for name in tables)
    examples = list(_as_lines(tables, fields))[:3]
    if not examples:
        return (
            f"settings are plain lines, without tables, and none belongs to {names}; "
            "`agent-worker settings` lists them all"
        )
    shown = ", ".join(examples)
    return f"settings are plain lines, without tables; in place of {names} write them so: {shown}"


def _as_lines(tables: Mapping[str, Any], fields: Mapping[str, FieldInfo]) -> Iterator[str]:
    for table, keys in tables.items():
        for key in keys:
            name = next((n for n in (f"{table}_{key}", key) if n in fields), None)
            if name is not None:
                yield f"{name} = …"


def shown(value: object) -> str:
    """A value as it is written in a file; secrets are not shown."""
    if value is None:
        return "(unset)"
    if isinstance(value, SecretStr):
        return "(hidden)" if value.get_secret_value() not in ("", "none") else "(unset)"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return f"{value}"
    if isinstance(value, tuple):
        return f"[{', '.join(shown(item) for item in value)}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key} = {shown(item)}' for key, item in value.items())}}}"
    if isinstance(value, BaseModel):
        # what a program gets as its environment is mostly keys
        items = {k: v for k, v in value.model_dump().items() if v not in (None, (), {})}
        if "env" in items:
            items["env"] = "(hidden)"
        return shown(items)
    return json.dumps(without_password(str(value)), ensure_ascii=False)


def without_password(text: str) -> str:
    """An address without the password or key in it: postgresql://user:…@host, …?key=…."""
    text = _KEY_IN_ADDRESS.sub(r"\1…", text)
    scheme, separator, rest = text.partition("://")
    place, slash, path = rest.partition("/")
    user, at, host = place.rpartition("@")
    if not separator or not at or ":" not in user:
        return text
    return f"{scheme}://{user.partition(':')[0]}:…@{host}{slash}{path}"


_KEY_IN_ADDRESS = re.compile(r"([?&](?:\w*key|\w*token|appid|password)=)[^&]+", re.IGNORECASE)
