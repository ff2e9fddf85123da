"""What went wrong in a run, as the client is told."""

from typing import Any

import openai
from langgraph.errors import GraphRecursionError

_RETRYABLE_STATUS = (408, 409, 429)


def failure_event(fault: Exception, *, spoke: bool) -> dict[str, Any]:
    """The `error` event for a fault.

    Args:
        fault: What was raised.
        spoke: Whether something of the answer went out; then a retry would say it twice.
    """
    code, message, retryable = _describe(fault)
    event: dict[str, Any] = {
        "type": "error",
        "code": code,
        "message": message,
        "retryable": retryable and not spoke,
    }
    if isinstance(fault, openai.APIStatusError):
        event["status"] = fault.status_code
    return event


def _describe(fault: Exception) -> tuple[str, str, bool]:
    match fault:
        case openai.APITimeoutError() | TimeoutError():
            return "model_timeout", "The language model took too long.", True
        case openai.APIConnectionError() | ConnectionError():
            return "model_unreachable", "The language model can't be reached.", True
        case openai.APIStatusError(status_code=int(status)):
            retryable = status >= 500 or status in _RETRYABLE_STATUS
            return "model_refused", f"The language model answered with status {status}.", retryable
        case openai.APIError():
            return "model_failed", "The language model broke off its answer.", True
        case GraphRecursionError():
            return "too_many_steps", "The flow took too many steps.", False
    return "flow_failed", "The flow failed.", False
