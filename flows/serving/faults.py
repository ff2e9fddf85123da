"""Faults that a client is told of, each in one sentence."""

from typing import Any

from starlette.responses import JSONResponse


class RequestRefusedError(Exception):
    """The request can't be served; becomes a 4xx or 503 answer.

    Args:
        status: HTTP status.
        code: Short name for programs.
        message: One sentence for people.
    """

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message


def fault_body(code: str, message: str) -> dict[str, Any]:
    """The JSON of a fault, in the form that OpenAI's clients know too."""
    return {"error": {"code": code, "type": code, "message": message}}


def fault_response(
    status: int, code: str, message: str, headers: dict[str, str] | None = None
) -> JSONResponse:
    """A fault as an HTTP answer."""
    return JSONResponse(fault_body(code, message), status_code=status, headers=headers)
