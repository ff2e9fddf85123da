"""Connections that are not waited for without end.

uvicorn waits for the head of a request, and for a client to read its answer, as long as the
connection is up. A client that only connects, or one that never reads, would hold its socket, its
task and its turn until it goes away by itself.
"""

from __future__ import annotations

import asyncio
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol


class PatientProtocol(H11Protocol):
    """HTTP/1.1 that cuts a connection whose client owes something for too long.

    The client owes the head of a request where none is under way, and reading where the write
    buffer is full or the connection is to be closed.
    """

    patience_s = 20.0
    """Seconds after which it is cut; it may take half as long again until that is noticed."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._owes: tuple[object, float] | None = None
        self._look_again()

    def connection_lost(self, exc: Exception | None) -> None:
        self._timer.cancel()
        super().connection_lost(exc)

    def resume_writing(self) -> None:
        # It reads, if slowly.
        self._owes = None
        super().resume_writing()

    def _look_again(self) -> None:
        self._timer = self.loop.call_later(self.patience_s / 2, self._look)

    def _look(self) -> None:
        unread = self.transport.get_write_buffer_size() and self.transport.is_closing()
        owes_head = self.cycle is None or self.cycle.response_complete
        if not (unread or owes_head or self.flow.write_paused):
            self._owes = None
        elif self._owes is None or self._owes[0] is not self.cycle:
            self._owes = (self.cycle, self.loop.time())
        elif self.loop.time() - self._owes[1] >= self.patience_s:
            self.transport.abort()
            return
        self._look_again()


def server_config(app: Any, *, patience_s: float = 20.0, **options: Any) -> uvicorn.Config:
    """How this server is run.

    Args:
        app: The ASGI application.
        patience_s: Seconds for which a client may owe a request's head, or reading.
        options: More of `uvicorn.Config`.
    """
    protocol = type("Protocol", (PatientProtocol,), {"patience_s": patience_s})
    defaults: dict[str, Any] = {
        "http": protocol,
        "ws": "none",
        "access_log": False,
        "lifespan": "on",
        "timeout_graceful_shutdown": 2,
    }
    return uvicorn.Config(app, **(defaults | options))
