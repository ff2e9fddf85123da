"""The WebSocket gateway, `/ws/s2s`: the same agent for clients without WebRTC.

The decisions are in `protocol`; the sockets are in `link`; here is who may connect,
and which sessions are under way.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from starlette.responses import JSONResponse
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket

from agent_worker.serving.access import Access, AccessDeniedError, RateLimit

from .answering import GatewayCall
from .callers import Caller, caller_of, lost_by
from .link import Link, RefusedError
from .outbox import Outbox
from .protocol import SUBPROTOCOL, SessionResume, SessionStart
from .session import LiveSession

logger = logging.getLogger(__name__)

BuildCall = Callable[[SessionStart], Awaitable[GatewayCall]]
"""Makes what answers one caller, in the language and with the rest that was asked for.

Raises:
    ValueError: the language is not served; the text says which are.
"""

_BEARER = "bearer."


@dataclass(frozen=True, kw_only=True)
class GatewayConfig:
    """Limits of the gateway.

    Attributes:
        access: who may connect.
        host: the address that it is served on.
        max_sessions: sessions at once, with those that wait for their client to come back.
        start_timeout_s: how long a connection may go without a session.
        stale_s: after so long without a message a client is asked whether it is there when another
            connection resumes its session, which it gets if there is no answer: a client that lost
            its network comes back before the old connection breaks.
        send_timeout_s: how long one message may take to leave.
        limit: connections, per caller.
    """

    access: Access = field(default_factory=Access)
    host: str = "127.0.0.1"
    max_sessions: int = 16
    start_timeout_s: float = 10.0
    stale_s: float = 3.0
    send_timeout_s: float = 5.0
    limit: RateLimit = field(default_factory=lambda: RateLimit(burst=30, per_minute=60))


class Gateway:
    """Serves `/ws/s2s`.

    Args:
        build_call: makes what answers one caller.
        config: its limits.
    """

    def __init__(self, build_call: BuildCall, config: GatewayConfig | None = None) -> None:
        self._build_call = build_call
        self._config = config or GatewayConfig()
        self._sessions: dict[str, LiveSession] = {}
        self._starting: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def sessions(self) -> int:
        """Sessions under way, with those that wait for their client to come back."""
        return len(self._sessions)

    def route(self) -> WebSocketRoute:
        """The route to mount in the web app."""
        return WebSocketRoute("/ws/s2s", self.serve)

    async def serve(self, websocket: WebSocket) -> None:
        """Serves one connection to its end."""
        peer = websocket.client.host if websocket.client else None
        try:
            caller = self._admit(websocket, peer)
        except AccessDeniedError as refusal:
            if refusal.status == 403:
                # The page can't see why: browsers hide it.
                logger.warning(
                    "a page of another origin was refused; allowed_origins says which may connect",
                    extra={"origin": websocket.headers.get("origin", "")[:100]},
                )
            body = {"type": "error", "code": "refused", "message": refusal.message}
            response = JSONResponse(body, refusal.status, headers=refusal.headers)
            await websocket.send_denial_response(response)
            return
        offered = websocket.scope.get("subprotocols", [])
        cookie = caller.set_cookie
        await websocket.accept(
            subprotocol=SUBPROTOCOL if SUBPROTOCOL in offered else None,
            headers=[(b"set-cookie", cookie.encode())] if cookie is not None else [],
        )
        await Link(
            self,
            websocket,
            caller,
            start_timeout_s=self._config.start_timeout_s,
            send_timeout_s=self._config.send_timeout_s,
        ).run()

    async def open(self, request: SessionStart, outbox: Outbox, caller: Caller) -> LiveSession:
        """Starts a session for the connection that `outbox` belongs to.

        Raises:
            RefusedError: it is not to be had.
        """
        if request.session_id in self._sessions or request.session_id in self._starting:
            raise RefusedError("session_exists", "a session with this id is under way; resume it")
        if len(self._sessions) + len(self._starting) >= self._config.max_sessions:
            raise RefusedError("busy", "no more sessions just now; try again later")
        self._starting.add(request.session_id)
        try:
            session = await self._build(request, caller)
            # Attached before it starts: the greeting is not missed.
            session.attach(outbox)
            return await self._start(session)
        finally:
            self._starting.discard(request.session_id)

    async def begin_anew(self, session: LiveSession, outbox: Outbox) -> LiveSession:
        """Puts a conversation that knows nothing in the place of a session: with all that the old
        one's flow, memory of the call and engines had kept, it is over.

        Raises:
            RefusedError: there is none to be had; the old one goes on.
        """
        await session.interrupt()
        if session.before is not None:
            # Two at a time: who asks again and again waits for what is closing.
            await session.before.gone.wait()
            session.before = None
        fresh = await self._build(session.request, session.caller, last_seq=session.last_seq)
        fresh.before = session
        session.leave()
        fresh.follow(outbox)
        return await self._start(fresh)

    async def _build(
        self, request: SessionStart, caller: Caller, *, last_seq: int = -1
    ) -> LiveSession:
        try:
            call = await self._build_call(request)
        except ValueError as problem:
            raise RefusedError("unsupported_lang", str(problem)) from problem
        return LiveSession(request, call, caller=caller, last_seq=last_seq)

    async def _start(self, session: LiveSession) -> LiveSession:
        # Known before it starts: a stop finds it.
        self._sessions[session.id] = session
        self._spawn(self._reap(session))
        try:
            await session.start()
        except BaseException:
            session.ended.set()
            raise
        return session

    async def resume(self, request: SessionResume, outbox: Outbox, caller: Caller) -> LiveSession:
        """Gives a session back to the client that lost its connection.

        Raises:
            RefusedError: there is no such session, or its connection is still in use.
        """
        if request.session_id is None:
            under_way = [one for one in self._sessions.values() if not one.over]
            session = lost_by(caller, under_way, request.last_seq)
            if session is None:
                advice = "no one session of yours waits here; name it by its session_id"
                raise RefusedError("unknown_session", advice)
        else:
            session = self._sessions.get(request.session_id)
        if session is None or session.over:
            raise RefusedError("unknown_session", "that session is over; start a new one")
        if await session.is_in_use(stale_s=self._config.stale_s):
            raise RefusedError("session_in_use", "that session has a connection")
        if session.over:
            raise RefusedError("unknown_session", "that session is over; start a new one")
        if request.last_seq > session.last_seq:
            raise RefusedError("bad_message", "last_seq: no such frame was sent")
        await session.resume(outbox)
        return session

    async def release(self, session: LiveSession, outbox: Outbox, *, lost: bool) -> None:
        """The connection is gone: the session waits for its client, or ends."""
        if not session.is_at(outbox):
            return  # its client came back over another connection
        if lost and not session.over:
            await session.detach()
        else:
            session.ended.set()

    async def aclose(self) -> None:
        """Ends all sessions."""
        for session in list(self._sessions.values()):
            session.finish("server_stopping", "the server is going down; come back in a while")
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _admit(self, websocket: WebSocket, peer: str | None) -> Caller:
        headers = dict(websocket.headers)
        access = self._config.access
        access.check_host(headers.get("host"), listens_on=self._config.host)
        access.check_origin(headers.get("origin"), headers.get("host"))
        # A browser's WebSocket can't set headers: there the key comes as a subprotocol.
        if key := _offered_key(websocket.scope.get("subprotocols", [])):
            headers.setdefault("authorization", f"Bearer {key}")
        user = access.user(headers, peer)
        if self._config.limit.wait_s(user or peer or ""):
            raise AccessDeniedError(429, "too many connections; wait a little")
        secure = websocket.url.scheme == "wss"
        return caller_of(headers, user=user, peer=peer, secure=secure)

    async def _reap(self, session: LiveSession) -> None:
        await session.ended.wait()
        try:
            await session.aclose()
        except Exception:
            logger.exception("closing a session failed")
        finally:
            session.gone.set()
            # Where the client began anew, another conversation has the id now.
            if self._sessions.get(session.id) is session:
                del self._sessions[session.id]

    def _spawn(self, work: Any) -> None:
        task: asyncio.Task[None] = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _offered_key(subprotocols: list[str]) -> str:
    for name in subprotocols:
        if name.startswith(_BEARER):
            encoded = name.removeprefix(_BEARER)
            try:
                key = base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))
                return key.decode()
            except (binascii.Error, ValueError):
                return ""
    return ""
