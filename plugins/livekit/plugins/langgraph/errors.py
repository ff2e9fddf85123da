"""Failures of a graph or of its model, told as LiveKit's errors.

A graph may call any model through any client, so the client libraries are not imported here:
an error is recognised by what it is (`TimeoutError`, `ConnectionError`), by its status code, or
by the names of its classes, which the common clients share.
"""

from __future__ import annotations

from collections.abc import Iterator

from livekit.agents import APIConnectionError, APIError, APIStatusError, APITimeoutError

_TIMEOUT_NAMES = frozenset({"APITimeoutError", "TimeoutException", "Timeout", "ServerTimeoutError"})
_CONNECTION_NAMES = frozenset(
    {"APIConnectionError", "TransportError", "ClientConnectionError", "ClientPayloadError"}
)


def to_api_error(exc: BaseException) -> APIError:
    """Translates `exc`; the caller raises the result `from exc`.

    `retryable` is true for what may pass (no connection, a time-out, 408, 429, 5xx) and false for
    what would fail the same way again (other 4xx, a defect in a node).
    """
    for error in _chain(exc):
        if isinstance(error, APIError):
            return error
        names = {base.__name__ for base in type(error).__mro__}
        status = _status_code(error)
        if status is not None:
            return APIStatusError(
                str(error),
                status_code=status,
                request_id=_text(getattr(error, "request_id", None)),
                body=getattr(error, "body", None),
                retryable=status in (408, 429) or status >= 500,
            )
        if isinstance(error, TimeoutError) or names & _TIMEOUT_NAMES:
            return APITimeoutError(f"the model did not answer in time: {error}")
        if isinstance(error, ConnectionError) or names & _CONNECTION_NAMES:
            return APIConnectionError(f"the model cannot be reached: {error}")
        if _is_streamed_fault(names):
            return APIError(f"the model failed while it answered: {error}", retryable=True)
    return APIError(f"the graph failed: {type(exc).__name__}: {exc}", retryable=False)


def _chain(exc: BaseException) -> Iterator[BaseException]:
    """The error and what it was raised from: nodes and clients wrap."""
    seen: set[int] = set()
    error: BaseException | None = exc
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__


def _status_code(error: BaseException) -> int | None:
    for holder in (error, getattr(error, "response", None)):
        status = getattr(holder, "status_code", None) or getattr(holder, "status", None)
        if isinstance(status, int) and status >= 400:
            return status
    return None


def _is_streamed_fault(names: set[str]) -> bool:
    # The openai client reports an error object inside a stream as its bare APIError.
    return "APIError" in names and "OpenAIError" in names


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
