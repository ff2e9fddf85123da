"""Connections of uvicorn's that are not waited for without end.

uvicorn waits for the head of a request, and for a client to read what it is sent, as long as the
connection is up. A client that only connects, or one that never reads, would hold its socket and
what is queued for it until it goes away by itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol


class Patience:
    """Cuts a connection whose client owes something for too long.

    Args:
        transport: Of the connection.
        owes: Tells what the client owes now, None for nothing. Another object is another debt.
        limit_s: Seconds after which it is cut; it may take half as long again to notice.
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


def leaves_unread(transport: asyncio.Transport) -> bool:
    """Whether a connection can't be closed, since what was sent over it is not read."""
    return transport.is_closing() and transport.get_write_buffer_size() > 0


class PatientHTTP(H11Protocol):
    """HTTP/1.1 where the client owes a request's head, and reading."""

    patience_s = 20.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._patience = Patience(transport, self._owes, self.patience_s)

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
        if self.flow.write_paused or leaves_unread(self.transport):
            return self
        if self.cycle is None or self.cycle.response_complete:
            return self.cycle or self  # the next head; each request begins another debt
        return None


def patient_http(patience_s: float) -> type[PatientHTTP]:
    """The protocol for a `uvicorn.Config`, which takes classes.

    Args:
        patience_s: Seconds for which a client may owe a request's head, or reading.
    """
    return type("HTTP", (PatientHTTP,), {"patience_s": patience_s})
