"""The page that people join from, and the endpoint that gives them a token for their room."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import math
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from agent_worker.engines.badges import Badge
from agent_worker.engines.offer import Offer
from agent_worker.serving.access import Access, AccessDeniedError, RateLimit
from agent_worker.serving.exposure import check_exposure, is_loopback
from agent_worker.settings import ChoiceKind

from .tokens import (
    ALL_FIELDS,
    STRANGER_FIELDS,
    RequestField,
    TokenPolicy,
    TokenRefusedError,
    TokenRequest,
    issue,
)

logger = logging.getLogger(__name__)

MAX_BODY_BYTES = 16 * 1024
"""A token request with every field full stays well below it."""

BODY_TIMEOUT_S = 10.0

_PACKAGE = Path(__file__).parents[1]
_FOLDERS = ("app", "s2s", "vendor")


@dataclass(frozen=True, kw_only=True)
class WebConfig:
    """What the page and the token endpoint need to know.

    Attributes:
        livekit_url: the LiveKit server as callers' browsers reach it, ws:// or wss://.
        agent_name: what the worker registers with; goes into each token as the dispatch.
        host: the address that the page is to be served on. With development keys only loopback
            is accepted.
        title: the heading of the page.
        engines: what hears, thinks and speaks, where that is known.
        token_ttl_s: how long a token lets its holder join.
        fields: request fields which callers may set; by default all of them on loopback, and
            beyond it all but the room and the identity.
        access: who may ask for a token.
        limit: requests for a token, per caller.
        web_dir: the folder with the page; by default the one of the checkout or of the package.
    """

    livekit_url: str
    api_key: str
    api_secret: str = field(repr=False)
    agent_name: str = ""
    host: str = "127.0.0.1"
    title: str = "Voice agent"
    flows: Sequence[Offer] = ()
    economy: Sequence[Offer] = ()
    characters: Sequence[Offer] = ()
    voices: Sequence[Offer] = ()
    languages: Sequence[Offer] = ()
    engines: Sequence[Badge] = ()
    token_ttl_s: float = 600.0
    caller_attributes: frozenset[str] = frozenset()
    """Attributes by which callers are remembered; strangers can't set them."""
    fields: frozenset[RequestField] | None = None
    access: Access = field(default_factory=Access)
    limit: RateLimit = field(default_factory=RateLimit)
    web_dir: Path | None = None

    def policy(self) -> TokenPolicy:
        """What a caller may be granted."""
        lists: dict[ChoiceKind, Sequence[Offer]] = {
            "flow": self.flows,
            "economy": self.economy,
            "character": self.characters,
            "voice": self.voices,
            "language": self.languages,
        }
        fields = self.fields
        if fields is None:
            fields = ALL_FIELDS if is_loopback(self.host) else STRANGER_FIELDS
        return TokenPolicy(
            server_url=self.livekit_url,
            api_key=self.api_key,
            api_secret=self.api_secret,
            agent_name=self.agent_name,
            ttl_s=self.token_ttl_s,
            choices={kind: frozenset(choice.id for choice in lists[kind]) for kind in lists},
            fields=fields,
            # who may not choose an identity may not choose what counts as one either
            kept_attributes=frozenset()
            if "participant_identity" in fields
            else self.caller_attributes,
        )


def find_web_dir() -> Path:
    """The folder with the page: in an installed package beside the code, else the checkout's.

    Raises:
        FileNotFoundError: the installation is incomplete.
    """
    for folder in (_PACKAGE / "data" / "web", _PACKAGE.parent / "web"):
        if (folder / "index.html").is_file():
            return folder
    raise FileNotFoundError("the page's files are missing; install livekit-agent-worker again")


class ServedBeside(Protocol):
    """What the page can be served together with; see `agent_worker.gateway.Gateway`."""

    def route(self) -> BaseRoute:
        """Where it is reached."""

    async def aclose(self) -> None:
        """Ends what it serves."""


def create_app(config: WebConfig, *, gateway: ServedBeside | None = None) -> Starlette:
    """The page, its configuration, the token endpoint and the health check, as an ASGI app.

    Args:
        config: what to serve, and to whom.
        gateway: the WebSocket gateway, if it is to be served too, with its page at `/s2s/`.

    Raises:
        InsecureConfigurationError: it would serve the network with development keys.
        FileNotFoundError: the page's files are missing.
    """
    check_exposure(config.host, config.api_key, config.api_secret)
    web_dir = config.web_dir or find_web_dir()
    policy = config.policy()

    async def page(request: Request) -> Response:
        return FileResponse(web_dir / "index.html")

    async def health(request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def describe(request: Request) -> Response:
        return JSONResponse(_description(config))

    async def token(request: Request) -> Response:
        try:
            return await _give_token(request, config, policy)
        except AccessDeniedError as error:
            return JSONResponse({"error": error.message}, error.status, headers=error.headers)
        except TokenRefusedError as error:
            return JSONResponse({"error": error.message}, error.status)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        if gateway is not None:
            await gateway.aclose()

    middleware = [Middleware(_Door, config=config)]
    if config.access.allowed_origins:
        middleware.append(
            Middleware(
                CORSMiddleware,
                allow_origins=list(config.access.allowed_origins),
                allow_methods=["GET", "POST"],
                allow_headers=["Authorization", "Content-Type"],
            )
        )
    return Starlette(
        routes=[
            Route("/", page),
            Route("/health", health),
            Route("/api/config", describe),
            Route("/api/token", token, methods=["POST"]),
            # the same page, which takes the WebSocket where its address says so
            *([] if gateway is None else [gateway.route(), Route("/s2s/", page)]),
            *(
                Mount(f"/{folder}", StaticFiles(directory=web_dir / folder, html=True))
                for folder in _FOLDERS
                if folder != "s2s" or gateway is not None
            ),
        ],
        middleware=middleware,
        lifespan=lifespan,
    )


async def _give_token(request: Request, config: WebConfig, policy: TokenPolicy) -> Response:
    peer = request.client.host if request.client else None
    user = config.access.user(request.headers, peer)
    if wait := config.limit.wait_s(user or peer or ""):
        seconds = str(math.ceil(wait))
        raise AccessDeniedError(
            429, f"too many requests; wait {seconds} s", {"Retry-After": seconds}
        )
    body = await _read_body(request)
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    # Another site's page can send text/plain without asking first, but never JSON.
    if body and content_type != "application/json":
        raise TokenRefusedError(415, "send the body as application/json")
    answer = issue(TokenRequest.from_json(body), policy, user=user)
    logger.debug("token issued", extra={"room": answer["room_name"]})
    return JSONResponse(answer, 201, headers={"Cache-Control": "no-store"})


async def _read_body(request: Request) -> bytes:
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            async for chunk in request.stream():
                body += chunk
                if len(body) > MAX_BODY_BYTES:
                    raise TokenRefusedError(413, f"the body is over {MAX_BODY_BYTES} bytes")
    except TimeoutError as error:
        raise TokenRefusedError(408, "the request did not come in time") from error
    except ClientDisconnect as error:
        raise TokenRefusedError(400, "the request ended early") from error
    return bytes(body)


def _description(config: WebConfig) -> dict[str, object]:
    def entries(choices: Sequence[Offer]) -> list[dict[str, str]]:
        return [
            {"id": c.id, "name": c.name, "note": c.note, "language": c.language} for c in choices
        ]

    return {
        "title": config.title,
        "agent_name": config.agent_name,
        "auth": config.access.required,
        "flows": entries(config.flows),
        "characters": entries(config.characters),
        "voices": entries(config.voices),
        "languages": entries(config.languages),
        "economy": entries(config.economy),
        "engines": [dataclasses.asdict(badge) for badge in config.engines],
    }


def _content_policy(config: WebConfig) -> str:
    """The page runs its own scripts only, and talks to this server and the LiveKit server only."""
    parts = urlsplit(config.livekit_url)
    socket = f"{parts.scheme}://{parts.netloc}"
    # The client checks a refused connection over HTTP, to tell why it was refused.
    web = f"{'https' if parts.scheme in ('wss', 'https') else 'http'}://{parts.netloc}"
    return "; ".join(
        [
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "img-src 'self'",
            f"connect-src 'self' {socket} {web}",
            "media-src 'self' blob:",
            "worker-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        ]
    )


class _Door:
    """Checks by which name the server was called, and adds the headers of a careful page."""

    def __init__(self, app: ASGIApp, *, config: WebConfig) -> None:
        self._app = app
        self._config = config
        self._headers = {
            "Content-Security-Policy": _content_policy(config),
            "Cross-Origin-Opener-Policy": "same-origin",
            "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers.setdefault(name, value)
                # A page of an old version beside a script of a new one breaks in odd ways.
                headers.setdefault("Cache-Control", "no-cache")
            await send(message)

        try:
            self._config.access.check_host(
                Headers(scope=scope).get("host"), listens_on=self._config.host
            )
        except AccessDeniedError as error:
            refusal = JSONResponse({"error": error.message}, error.status)
            await refusal(scope, receive, send_with_headers)
            return
        await self._app(scope, receive, send_with_headers)
