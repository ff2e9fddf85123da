"""Bytes to a server as no client would send them."""

from __future__ import annotations

import asyncio


async def answer_to(address: str, data: bytes) -> bytes:
    """What comes until the server closes the connection.

    Args:
        address: Of the server, with its port at the end.
        data: What is sent; then nothing more.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", int(address.rpartition(":")[2]))
    try:
        writer.write(data)
        async with asyncio.timeout(20):
            return await reader.read()
    finally:
        writer.close()
