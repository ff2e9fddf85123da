"""What went wrong in a run, as an event that says no more than it must.

A graph may call any model through any client, so the client libraries are not imported here: an
error is recognised by what it is (`TimeoutError`, `ConnectionError`), by its status code, or by
the names of its classes, which the common clients share.
"""

from __future__ import annotations

import email.utils
import time
from collections.abc import Iterator, Mapping
from typing import Any

from langgraph.errors import GraphRecursionError

from .events import Failure

_TIMEOUT_NAMES = frozenset({"APITimeoutError", "TimeoutException", "Timeout", "ServerTimeoutError"})
_CONNECTION_NAMES = frozenset(
    {"APIConnectionError", "TransportError", "ClientConnectionError", "ClientPayloadError"}
)
_RETRYABLE_STATUS = (408, 409, 425, 429)


def failure_of(fault: BaseException) -> Failure:
    """The event for a fault.

    `retryable` is true for what may pass (no connection, a time-out, 429, 5xx, an answer that
    broke off) and false for what would fail the same way again (other 4xx, a defect in a node).
    """
    for error in chain(fault):
        names = {base.__name__ for base in type(error).__mro__}
        status = _status_code(error)
        if status is not None:
            return Failure(
                "model_refused",
                f"The language model answered with status {status}.",
                retryable=status >= 500 or status in _RETRYABLE_STATUS,
                status=status,
                retry_after_s=_retry_after_s(error),
                error=fault,
            )
        if isinstance(error, TimeoutError) or names & _TIMEOUT_NAMES:
            said = "The language model took too long."
            return Failure("model_timeout", said, retryable=True, error=fault)
        if isinstance(error, ConnectionError) or names & _CONNECTION_NAMES:
            said = "The language model can't be reached."
            return Failure("model_unreachable", said, retryable=True, error=fault)
        if _broke_off(error, names):
            said = "The language model broke off its answer."
            return Failure("model_failed", said, retryable=True, error=fault)
        if isinstance(error, GraphRecursionError):
            return Failure("too_many_steps", "The flow took too many steps.", error=fault)
    return Failure("flow_failed", "The flow failed.", error=fault)


def chain(exc: BaseException) -> Iterator[BaseException]:
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


def _retry_after_s(error: BaseException) -> float | None:
    """Seconds that a `Retry-After` asks for, which has them as a number or as a date (RFC 9110)."""
    headers: Any = getattr(getattr(error, "response", None), "headers", None)
    value = headers.get("retry-after") if isinstance(headers, Mapping) else None
    if not isinstance(value, str):
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return None


def _broke_off(error: BaseException, names: set[str]) -> bool:
    # the openai client reports an error object inside a stream as its bare APIError, LangChain a
    # stream without any chunk as a ValueError, and what is not JSON as the decoder's own error
    if "APIError" in names and "OpenAIError" in names:
        return True
    if isinstance(error, ValueError) and "No generation" in str(error):
        return True
    return "JSONDecodeError" in names
