"""Sockets used badly on purpose, and what comes back over them."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit


class NotCutError(Exception):
    """A connection that should have come to its end is still up."""


def _place(address: str) -> tuple[str, int]:
    parts = urlsplit(address)
    assert parts.hostname is not None and parts.port is not None
    return parts.hostname, parts.port


async def open_to(address: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection to http://host:port."""
    return await asyncio.open_connection(*_place(address))


async def exchange(
    address: str, data: bytes, *, half_close: bool = False, drip: bool = False
) -> bytes:
    """Sends bytes and reads what comes, until the server closes; it has to, within a minute.

    Args:
        half_close: say that nothing more will come.
        drip: go on with a byte every now and then.

    Raises:
        NotCutError: the server keeps the connection.
    """
    reader, writer = await open_to(address)
    dripping = asyncio.create_task(_drip(writer)) if drip else None
    received = bytearray()
    try:
        async with asyncio.timeout(60):
            try:
                writer.write(data)
                await writer.drain()
                if half_close:
                    writer.write_eof()
                while chunk := await reader.read(65536):
                    received += chunk
                    if len(received) > 500_000:
                        break
            except ConnectionError:
                pass
    except TimeoutError:
        raise NotCutError(f"not cut: {data[:100]!r}, answered {bytes(received[:100])!r}") from None
    finally:
        if dripping is not None:
            dripping.cancel()
            await asyncio.wait([dripping])
        writer.transport.abort()
    return bytes(received)


async def _drip(writer: asyncio.StreamWriter) -> None:
    while not writer.is_closing():
        writer.write(b"x")
        await asyncio.sleep(0.2)


@contextmanager
def deaf_socket(address: str) -> Iterator[socket.socket]:
    """A connected socket with a small buffer, which nobody reads."""
    deaf = socket.socket()
    try:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.connect(_place(address))
        deaf.setblocking(False)
        yield deaf
    finally:
        deaf.close()


def status_of(answer: bytes) -> int:
    """The HTTP status, or 0 where the connection was cut without one."""
    head = answer.split(b"\r\n", 1)[0].split(b" ")
    return int(head[1]) if len(head) > 1 and head[1].isdigit() else 0


def words_of(body: bytes) -> str:
    """The message of a refusal; empty if there is none."""
    try:
        error = json.loads(body)["error"]
    except (ValueError, KeyError, TypeError):
        return ""
    return str(error["message"] if isinstance(error, dict) else error)
