"""What a server said when it refused, without what it echoes of our own request.

Every server has its own shape: OpenAI's `{"error": {"message"}}`, FastAPI's `{"detail": [{"loc",
"msg", "input"}]}`, a bare `{"error": "…"}`, plain text, JSON within a string. The echoes are left
out: they hold the conversation, whose words would be taken for the server's, and they are private.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import openai

_SAYING = (
    *("error", "message", "msg", "detail", "details", "errors", "type", "code", "reason"),
    *("param", "title", "error_type", "metadata", "raw", "description"),
)
_ECHO = re.compile(
    r"['\"]?(?:input|input_value|body|messages)['\"]?\s*[:=]\s*[\[{'\"].*", re.DOTALL
)
_LOC_IN_TEXT = re.compile(r"['\"]loc['\"]\s*:\s*[\[(]([^\])]*)[\])]")
_MOST_TEXT = 4000


@dataclass(frozen=True)
class Refusal:
    """A request that the server did not take."""

    status: int
    """HTTP status; 0 where the refusal came inside a stream that had begun well."""
    said: str = ""
    """The server's own words, at most some thousand characters."""
    places: tuple[tuple[str, ...], ...] = ()
    """Where in the request the fault is, for servers that point there: `("body", "tools")`."""
    numbers: tuple[tuple[str, int], ...] = ()
    """Figures that the server gives by name, such as llama.cpp's `n_ctx`."""
    retry_after_s: float | None = None
    """The header Retry-After."""


def read_refusal(status: int, body: Any, retry_after: str | None = None) -> Refusal:
    """Read a refusal from its status and body.

    Args:
        status: HTTP status, or 0 within a stream.
        body: The body, parsed where it is JSON; its text otherwise.
        retry_after: The header of that name; only seconds are understood, not a date.
    """
    said = " ".join(_sayings(body))
    places = list(_places(body))
    for named in _LOC_IN_TEXT.findall(said):
        places.append(tuple(re.findall(r"[\w.-]+", named)))
    numbers = tuple(_numbers(body))
    wait = float(retry_after) if retry_after and re.fullmatch(r"\d+(\.\d+)?", retry_after) else None
    return Refusal(status, _ECHO.sub("", said)[:_MOST_TEXT], tuple(places), numbers, wait)


def refusal_of(fault: openai.APIError) -> Refusal | None:
    """The refusal behind an error of the client; None where it never reached the server."""
    if isinstance(fault, openai.APIStatusError):
        header = fault.response.headers.get("retry-after")
        body = fault.response.text if fault.body is None else fault.body
        return read_refusal(fault.status_code, body, header)
    if isinstance(fault, openai.APIConnectionError):
        return None
    # An error within a stream that had begun well.
    return read_refusal(0, fault.body or fault.message)


def _sayings(body: Any) -> Iterator[str]:
    if isinstance(body, str):
        text = body.strip()
        if text.startswith(("{", "[")):
            try:
                yield from _sayings(json.loads(text))
                return
            except ValueError:
                pass
        yield text
    elif isinstance(body, list):
        for item in body:
            yield from _sayings(item)
    elif isinstance(body, dict):
        for key, value in body.items():
            if key in _SAYING:
                yield from _sayings(value)


def _places(body: Any) -> Iterator[tuple[str, ...]]:
    if isinstance(body, list):
        for item in body:
            yield from _places(item)
    elif isinstance(body, dict):
        loc, param = body.get("loc"), body.get("param")
        if isinstance(loc, list | tuple):
            yield tuple(str(part) for part in loc)
        if isinstance(param, str) and param:
            yield tuple(re.findall(r"\w+", param))
        for key in ("error", "detail", "details", "errors"):
            yield from _places(body.get(key))


def _numbers(body: Any) -> Iterator[tuple[str, int]]:
    if isinstance(body, dict):
        for key, value in body.items():
            if isinstance(value, int) and not isinstance(value, bool):
                yield key, value
        yield from _numbers(body.get("error"))
