"""Connections that are not waited for without end.

uvicorn waits for the head of a request, and for a client to read what it is sent, as long as the
connection is up. A client that only connects, or one that never reads, would hold its socket and
what is queued for it until it goes away by itself.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.exceptions import InvalidState
from websockets.frames import Frame

ANSWERS = "agent_worker.answers"
"""The ASGI extension by which a WebSocket's client is asked whether it is there."""

MAX_WEBSOCKET_MESSAGE = 2**17
"""Bytes; a message of the gateway's protocol is far below it. A larger one is refused unread."""

MAX_UNREAD = 2**20
"""Bytes queued for a client that asks for more (by pings, say) than it reads."""


class _Patience:
    """Cuts a connection whose client owes something for too long.

    Args:
        transport: of the connection.
        owes: tells what the client owes now, None for nothing. Another object is another debt.
        limit_s: seconds after which it is cut; it may take half as long again to notice.
    """

    def __init__(
        self, transport: asyncio.Transport, owes: Callable[[], object | None], limit_s: float
    ) -> None:
        self._transport = transport
        self._owes = owes
        self._limit_s = limit_s
        self._debt: tuple[object, float] | None = None
        self._loop = asyncio.get_running_loop()
        self._look_again()

    def paid(self) -> None:
        """The client has just read something."""
        self._debt = None

    def stop(self) -> None:
        """The connection is gone, or is another's affair now."""
        self._timer.cancel()

    def _look_again(self) -> None:
        self._timer = self._loop.call_later(self._limit_s / 2, self._look)

    def _look(self) -> None:
        owed = self._owes()
        if owed is None:
            self._debt = None
        elif self._debt is None or self._debt[0] is not owed:
            self._debt = (owed, self._loop.time())
        elif self._loop.time() - self._debt[1] >= self._limit_s:
            self._transport.abort()
            return
        self._look_again()


def _leaves_unread(transport: asyncio.Transport) -> bool:
    """Whether a connection can't be closed, since what was sent over it is not read."""
    return transport.is_closing() and transport.get_write_buffer_size() > 0


class PatientHTTP(H11Protocol):
    """HTTP/1.1 where the client owes a request's head, and reading."""

    patience_s = 20.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._patience = _Patience(transport, self._owes, self.patience_s)

    def connection_lost(self, exc: Exception | None) -> None:
        self._patience.stop()
        super().connection_lost(exc)

    def handle_websocket_upgrade(self, event: Any) -> None:
        self._patience.stop()
        super().handle_websocket_upgrade(event)

    def resume_writing(self) -> None:
        self._patience.paid()
        super().resume_writing()

    def _owes(self) -> object | None:
        if self.flow.write_paused or _leaves_unread(self.transport):
            return self
        if self.cycle is None or self.cycle.response_complete:
            return self.cycle or self  # the next head; each request begins another debt
        return None


class PatientWebSocket(WebSocketsSansIOProtocol):
    """A WebSocket whose client owes reading."""

    patience_s = 20.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._pongs: dict[bytes, asyncio.Future[None]] = {}
        self.close_timeout = min(self.close_timeout, self.patience_s)
        self._patience = _Patience(self.transport, self._owes, self.patience_s)

    def connection_lost(self, exc: Exception | None) -> None:
        self._patience.stop()
        super().connection_lost(exc)

    def resume_writing(self) -> None:
        self._patience.paid()
        super().resume_writing()

    def data_received(self, data: bytes) -> None:
        # Pings are answered whether or not the answers are read.
        if self.transport.get_write_buffer_size() > MAX_UNREAD:
            self.transport.abort()
            return
        super().data_received(data)

    async def run_asgi(self) -> None:
        # ASGI has no pings; a Link asks by this whether its client is still there.
        self.scope["extensions"][ANSWERS] = {"ask": self._answers}
        await super().run_asgi()

    async def _answers(self, timeout_s: float) -> bool:
        payload = secrets.token_bytes(8)
        pong = self._pongs[payload] = asyncio.get_running_loop().create_future()
        try:
            self.conn.send_ping(payload)
            self.transport.write(b"".join(self.conn.data_to_send()))
            async with asyncio.timeout(timeout_s):
                await pong
            return True
        except (TimeoutError, InvalidState):
            return False
        finally:
            del self._pongs[payload]

    def handle_pong(self, event: Frame) -> None:
        pong = self._pongs.get(bytes(event.data))
        if pong is None:
            super().handle_pong(event)
        elif not pong.done():
            pong.set_result(None)

    def _owes(self) -> object | None:
        stuck = not self.writable.is_set() or _leaves_unread(self.transport)
        return self if stuck else None


def server_config(app: Any, *, patience_s: float = 20.0, **options: Any) -> uvicorn.Config:
    """How the page and the gateway are served.

    Args:
        app: the ASGI application.
        patience_s: seconds for which a client may owe a request's head, or reading.
        options: more of `uvicorn.Config`.
    """
    own = {"patience_s": patience_s}
    defaults: dict[str, Any] = {
        "log_level": "warning",
        "lifespan": "on",
        "timeout_graceful_shutdown": 2,
        "http": type("HTTP", (PatientHTTP,), own),
        "ws": type("WebSocket", (PatientWebSocket,), own),
        "ws_max_size": MAX_WEBSOCKET_MESSAGE,
        # Sound does not compress, and each connection would keep the compressor's windows.
        "ws_per_message_deflate": False,
    }
    return uvicorn.Config(app, **(defaults | options))
