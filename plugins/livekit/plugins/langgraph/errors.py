"""A failed turn, told as LiveKit's error."""

from __future__ import annotations

from livekit.agents import APIConnectionError, APIError, APIStatusError, APITimeoutError

from graph_speech.events import Failure
from graph_speech.failures import chain


def to_api_error(failure: Failure) -> APIError:
    """The error for `failure`; the caller raises it from what was raised, if anything was."""
    raised = failure.error
    # a node that calls LiveKit's own clients raises the right thing itself
    for error in chain(raised) if raised is not None else ():
        if isinstance(error, APIError):
            return error
    detail = f"{type(raised).__name__}: {raised}" if raised is not None else ""
    message = f"{failure.message} {detail}".strip()
    if failure.status is not None:
        return APIStatusError(
            message, status_code=failure.status, body=_body(failure), retryable=failure.retryable
        )
    match failure.code:
        case "model_timeout":
            return APITimeoutError(message, retryable=failure.retryable)
        case "model_unreachable":
            return APIConnectionError(message, retryable=failure.retryable)
    return APIError(message, body=_body(failure), retryable=failure.retryable)


def _body(failure: Failure) -> object | None:
    for error in chain(failure.error) if failure.error is not None else ():
        body: object = getattr(error, "body", None)
        if body is not None:
            return body
    return {"code": failure.code, "message": failure.message}
