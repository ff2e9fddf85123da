"""How the page and the gateway are served: to clients that are not waited for without end."""

from __future__ import annotations

import asyncio
import secrets
from typing import Any

import uvicorn
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.exceptions import InvalidState
from websockets.frames import Frame

from bounded_http.patience import Patience, leaves_unread, patient_http

ANSWERS = "agent_worker.answers"
"""The ASGI extension by which a WebSocket's client is asked whether it is there."""

MAX_WEBSOCKET_MESSAGE = 2**17
"""Bytes; a message of the gateway's protocol is far below it. A larger one is refused unread."""

MAX_UNREAD = 2**20
"""Bytes queued for a client that asks for more (by pings, say) than it reads."""


class PatientWebSocket(WebSocketsSansIOProtocol):
    """A WebSocket whose client owes reading."""

    patience_s = 20.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._pongs: dict[bytes, asyncio.Future[None]] = {}
        self.close_timeout = min(self.close_timeout, self.patience_s)
        self._patience = Patience(self.transport, self._owes, self.patience_s)

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
        stuck = not self.writable.is_set() or leaves_unread(self.transport)
        return self if stuck else None


def server_config(app: Any, *, patience_s: float = 20.0, **options: Any) -> uvicorn.Config:
    """How the page and the gateway are served.

    Args:
        app: the ASGI application.
        patience_s: seconds for which a client may owe a request's head, or reading.
        options: more of `uvicorn.Config`.
    """
    defaults: dict[str, Any] = {
        "log_level": "warning",
        "lifespan": "on",
        "timeout_graceful_shutdown": 2,
        "http": patient_http(patience_s),
        "ws": type("WebSocket", (PatientWebSocket,), {"patience_s": patience_s}),
        "ws_max_size": MAX_WEBSOCKET_MESSAGE,
        # Sound does not compress, and each connection would keep the compressor's windows.
        "ws_per_message_deflate": False,
    }
    return uvicorn.Config(app, **(defaults | options))
