"""A server that answers with the bytes of a test, cut into segments where the test cuts them."""

from __future__ import annotations

import asyncio
import re
import socket
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType


@dataclass(frozen=True)
class RawReply:
    """One answer."""

    pieces: Sequence[bytes]
    """Each goes out in a segment of its own."""
    status: str = "200 OK"
    headers: Sequence[str] = field(default=("Content-Type: text/event-stream",))
    ends_well: bool = True
    """Else the connection is cut in the middle of the body."""


class FakeRawServer:
    """Answers each request with the next reply; the last one stays.

    Args:
        replies: The script.
    """

    def __init__(self, *replies: RawReply) -> None:
        self._replies = deque(replies)
        self._server: asyncio.Server | None = None
        self.requests = 0
        self.url = ""

    async def __aenter__(self) -> FakeRawServer:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"content-length: *(\d+)", head, re.IGNORECASE)
            await reader.readexactly(int(length[1]) if length else 0)
            self.requests += 1
            await self._answer(writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _answer(self, writer: asyncio.StreamWriter) -> None:
        reply = self._replies.popleft() if len(self._replies) > 1 else self._replies[0]
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        lines = [f"HTTP/1.1 {reply.status}", *reply.headers, "Transfer-Encoding: chunked"]
        writer.write("\r\n".join([*lines, "Connection: close", "", ""]).encode())
        for piece in reply.pieces:
            writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            await writer.drain()
            await asyncio.sleep(0)
        if reply.ends_well:
            writer.write(b"0\r\n\r\n")
            await writer.drain()
