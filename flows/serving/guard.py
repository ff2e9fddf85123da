"""The bearer token in front of every route but the health check."""

import hmac

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from flows.serving.faults import fault_response

_OPEN_PATHS = frozenset({"/healthz"})


class BearerGuard:
    """ASGI middleware. Plain ASGI, since Starlette's base class hides disconnects.

    Args:
        app: What is guarded.
        token: The token that clients must send; None lets everybody in.
    """

    def __init__(self, app: ASGIApp, token: str | None) -> None:
        self._app = app
        self._expected = f"Bearer {token}".encode() if token else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer it with 401."""
        if scope["type"] == "http" and self._expected and scope["path"] not in _OPEN_PATHS:
            given = Headers(scope=scope).get("authorization", "").encode()
            if not hmac.compare_digest(given, self._expected):
                said = "This server wants a bearer token."
                if given:
                    said = "The bearer token is not the right one."
                response = fault_response(401, "unauthorized", said, {"WWW-Authenticate": "Bearer"})
                await response(scope, receive, send)
                return
        await self._app(scope, receive, send)
