"""Registers a worker again as soon as its server is back, not after up to ten seconds.

livekit-agents waits longer after each failed attempt (2, 4, … 10 s) and gives up after 16. A server
that restarts is away for a few seconds, and who joins in the meantime waits for as long as the
worker sleeps. Here the attempt itself waits for the server, looking twice a second.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import aiohttp
from livekit.agents import AgentServer

from agent_worker import livekit_private

logger = logging.getLogger(__name__)

READY = "ready"
"""Field of the line in the log, true, that says that a worker has registered: calls come now."""

_RETRY_S = 0.5
_REFUSED = frozenset({401, 403})
"""The server is there, and does not want us: that is for the worker to say."""


class PatientSession:
    """A client session whose web sockets wait for their server. Everything else is as it was."""

    def __init__(self, session: aiohttp.ClientSession, *, retry_s: float = _RETRY_S) -> None:
        self._session = session
        self._retry_s = retry_s

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    async def ws_connect(self, *args: Any, **kwargs: Any) -> aiohttp.ClientWebSocketResponse:
        """As `aiohttp.ClientSession.ws_connect`, but waits for a server that is not there."""
        told = False
        while True:
            try:
                connection: aiohttp.ClientWebSocketResponse = await self._session.ws_connect(
                    *args, **kwargs
                )
                return connection
            except aiohttp.WSServerHandshakeError as e:
                if e.status in _REFUSED:
                    raise
            except aiohttp.ClientConnectionError:
                if self._session.closed:
                    raise
            if not told:
                told = True
                logger.warning("no LiveKit server; the worker registers as soon as it is back")
            await asyncio.sleep(self._retry_s)


def register_soon(server: AgentServer) -> None:
    """Has a worker that is not running yet register as soon as its server is there."""

    def on_started() -> None:
        session = livekit_private.http_session_of(server)
        if session is None:
            logger.warning(
                "this release of livekit-agents is unknown: it registers at its own pace"
            )
            return
        livekit_private.put_http_session(server, PatientSession(session))

    server.on("worker_started", on_started)


def say_when_ready(server: AgentServer) -> None:
    """Has a worker that is not running yet say in its log each time that it has registered.

    It is for programs that wait for it: as the state of the worker, in a field, not in words.
    """

    def on_registered(*_: object) -> None:
        logger.info("calls are taken", extra={READY: True})

    server.on("worker_registered", on_registered)
