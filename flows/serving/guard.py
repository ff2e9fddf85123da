"""Who may ask: nobody from another site's page, and beyond that who has the bearer token."""

import hmac

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from .faults import fault_response

_OPEN_PATHS = frozenset({"/healthz"})


class ForeignPageGuard:
    """ASGI middleware that keeps other sites' pages from asking through their visitors' browsers.

    Such a page can't read the answers, but what it asks would be done. Browsers tell whose page
    asks in a header that pages can't set (Fetch Metadata, W3C); other clients don't send it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer it with 403."""
        if (
            scope["type"] == "http"
            and Headers(scope=scope).get("sec-fetch-site", "") == "cross-site"
        ):
            said = "Pages of other sites may not ask here."
            await fault_response(403, "foreign_page", said)(scope, receive, send)
            return
        await self._app(scope, receive, send)


class BearerGuard:
    """ASGI middleware for every route but the health check.

    Plain ASGI, since Starlette's base class hides disconnects.

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
