"""A flow server that answers with whatever bytes a test gives, to see a client bear it."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Any

from aiohttp import web


class FakeFlowServer:
    """Takes any turn, records it, and streams `pieces`.

    Args:
        pieces: Bytes, sent piece by piece; a float pauses for as many seconds.
        status: The status of the answer.
        content_type: Its type.
        hang: Whether the connection stays open after the pieces.
    """

    def __init__(
        self,
        *pieces: bytes | float,
        status: int = 200,
        content_type: str = "text/event-stream",
        hang: bool = False,
    ) -> None:
        self.pieces = pieces
        self.requests: list[tuple[str, dict[str, Any], dict[str, str]]] = []
        """Path, body and headers of each."""
        self.commits = asyncio.Queue[str]()
        self.url = ""
        self._status = status
        self._content_type = content_type
        self._hang = hang
        self._runner: web.AppRunner | None = None

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        if request.path.endswith("/commit"):
            self.commits.put_nowait(body["turn_id"])
            return web.json_response({"committed": True})
        self.requests.append((request.path, body, dict(request.headers)))
        response = web.StreamResponse(
            status=self._status, headers={"Content-Type": self._content_type}
        )
        await response.prepare(request)
        for piece in self.pieces:
            if isinstance(piece, float):
                await asyncio.sleep(piece)
            else:
                await response.write(piece)
        if self._hang:
            await asyncio.Event().wait()
        return response

    async def __aenter__(self) -> FakeFlowServer:
        app = web.Application()
        app.router.add_post("/{path:.*}", self._answer)
        self._runner = web.AppRunner(
            app, handler_cancellation=True, access_log=None, shutdown_timeout=0.1
        )
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        assert self._runner is not None
        await self._runner.cleanup()
