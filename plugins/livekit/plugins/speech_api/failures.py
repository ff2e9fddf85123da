"""What went wrong at the server, as LiveKit's errors: with its own words, and truly retryable."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from livekit.agents import APIError, APIStatusError, create_api_error_from_http

# Kinds of error, by the names that OpenAI-compatible servers give, which a retry cannot mend.
_FINAL_KINDS = ("invalid", "not_found", "notfound", "authentication", "permission", "bad_request")

MAX_BODY_BYTES = 16 * 1024
"""Of an error's body that is read and kept."""

_MAX_MESSAGE = 300


def status_error(status: int, body: bytes, request_id: str | None) -> APIStatusError:
    """For a response that is not a success.

    Args:
        status: Of HTTP.
        body: As far as it was read; JSON of OpenAI's or FastAPI's form, or any text.
        request_id: The server's own, if it gave one.
    """
    parsed = _parse(body)
    if status < 400:
        return APIStatusError(
            "the speech server sent a redirect; give its new address as base_url",
            status_code=status,
            request_id=request_id,
            body=parsed,
            retryable=False,
        )
    return create_api_error_from_http(
        message_of(parsed), status=status, request_id=request_id, body=parsed
    )


def error_object(error: object, request_id: str | None) -> APIError:
    """For an error that came inside a response of status 200, as an event or as the whole body."""
    fields: Mapping[str, Any] = error if isinstance(error, Mapping) else {"message": error}
    message = message_of(fields) or "the speech server reported an error"
    for key in ("code", "status", "status_code"):
        status = fields.get(key)
        if isinstance(status, int) and 400 <= status < 600:
            return create_api_error_from_http(
                message, status=status, request_id=request_id, body=dict(fields)
            )
    kind = f"{fields.get('type', '')} {fields.get('code', '')}".lower()
    return APIError(
        message, body=dict(fields), retryable=not any(word in kind for word in _FINAL_KINDS)
    )


def wrong_content(content_type: str, body: bytes) -> APIError:
    """For a response that says it is something other than audio: a proxy's page, or an error."""
    parsed = _parse(body)
    if isinstance(parsed, Mapping):
        return error_object(parsed.get("error", parsed), None)
    return APIError(
        f"the speech server answered {content_type} where audio was expected; is base_url right, "
        "and is response_format pcm or wav?",
        body=parsed,
        retryable=False,
    )


def message_of(parsed: object) -> str:
    """The words in an error's body, wherever the server put them."""
    found = parsed
    for _ in range(4):
        if isinstance(found, Mapping):
            found = next(
                (found[key] for key in ("error", "detail", "message", "msg") if found.get(key)), ""
            )
        elif isinstance(found, list):
            found = found[0] if found else ""
    return found[:_MAX_MESSAGE] if isinstance(found, str) else ""


def _parse(body: bytes) -> object:
    text = body[:MAX_BODY_BYTES].decode("utf-8", "replace").strip()
    try:
        return json.loads(text)
    except ValueError:
        return text
