"""What waits to be sent to one connection."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from .protocol import Close, Send

Outgoing = Send | bytes | Close


Ask = Callable[[float], Awaitable[bool]]
"""Asks a client whether it is there, and waits so many seconds for its answer."""

_TOKEN_CHARS = 1000
"""Characters to which tokens are joined at most."""

_TOKENS_APART = 32
"""Messages that wait from which on a token joins the one before it: a model that has its answer
ready writes hundreds in one go, which are no sign of a client that doesn't read."""


class Outbox:
    """What is to be sent to one connection. Bounded: a client that doesn't read is let go."""

    def __init__(self, limit: int = 512, ask: Ask | None = None) -> None:
        self._ask = ask
        self._queue: asyncio.Queue[Outgoing] = asyncio.Queue()
        self._newest: Outgoing | None = None
        self._limit = limit
        self.overflowed = asyncio.Event()

    def put(self, message: Outgoing) -> None:
        """Queues a message; past the limit it is dropped and `overflowed` is set."""
        if self._joined(message):
            return
        if self._queue.qsize() >= self._limit:
            self.overflowed.set()
            return
        self._newest = message
        self._queue.put_nowait(message)

    async def get(self) -> Outgoing:
        """The next message, in order."""
        message = await self._queue.get()
        if message is self._newest:
            self._newest = None
        return message

    def _joined(self, message: Outgoing) -> bool:
        match self._newest, message:
            case (
                Send({"type": "llm_token"} as waiting),
                Send({"type": "llm_token", "token": str(text), "is_first": False}),
            ) if self._queue.qsize() >= _TOKENS_APART and len(waiting["token"]) < _TOKEN_CHARS:
                waiting["token"] += text
                return True
        return False

    async def is_answered(self, timeout_s: float) -> bool:
        """Whether the client is there; taken for granted where it can't be asked."""
        return self._ask is None or await self._ask(timeout_s)
