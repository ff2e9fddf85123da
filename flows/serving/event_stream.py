"""A turn as an HTTP answer that streams, and that ends the turn when the client goes away."""

import asyncio
from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from .events import Event, one_line
from .turns import Turn

Encode = Callable[[Event], bytes]
"""Puts an event on the wire; empty bytes for one that this wire does not have."""

_HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-cache",
    # Tells nginx not to hold the tokens back.
    "X-Accel-Buffering": "no",
}
_PING = b": ping\n\n"


class SseEncoder:
    """Server-sent events with running ids: `data: {"type": …}`.

    The `done` event brings the whole answer as its `content`, for clients that don't gather it:
    the tokens that went out over this stream, and what the graph asked, if it stopped to ask.
    """

    def __init__(self) -> None:
        self._sent = 0
        self._answer = ""

    def __call__(self, event: Event) -> bytes:
        self._sent += 1
        match event["type"]:
            case "token":
                self._answer += event["content"]
            case "interrupt":
                self._answer = f"{self._answer.rstrip()} {event['content']}".strip()
            case "done":
                event = {**event, "content": self._answer}
        return b"id: %d\ndata: %b\n\n" % (self._sent, one_line(event))


class EventStream(Response):
    """Streams the events of a turn.

    Args:
        turn: The turn; it is cancelled when the client disconnects.
        encode: Puts each event on the wire.
        ping_s: Seconds of silence before a keep-alive comment.
    """

    def __init__(self, turn: Turn, encode: Encode, ping_s: float) -> None:
        self.status_code = 200
        self.background = None
        self.init_headers(_HEADERS)
        self._turn = turn
        self._encode = encode
        self._ping_s = ping_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Stream until the turn or the connection ends."""
        watcher = asyncio.create_task(self._watch_for_disconnect(receive))
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            async for batch in self._turn.batches(self._ping_s):
                body = b"".join(self._encode(event) for event in batch) if batch else _PING
                await send(_body(body, more=True))
            await send(_body(b"", more=False))
        finally:
            # Not awaited: the run cleans up in its own task, whatever happens to this one.
            self._turn.cancel()
            watcher.cancel()

    async def _watch_for_disconnect(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self._turn.cancel()


def _body(body: bytes, *, more: bool) -> Message:
    return {"type": "http.response.body", "body": body, "more_body": more}


async def cancelled_on_disconnect(request: Request, turn: Turn) -> list[Event]:
    """All events of a turn at once, for an answer that does not stream."""
    gone = asyncio.create_task(_cancel_when_gone(request, turn))
    try:
        events: list[Event] = []
        async for batch in turn.batches(ping_s=3600):
            events += batch
        return events
    finally:
        turn.cancel()
        gone.cancel()


async def _cancel_when_gone(request: Request, turn: Turn) -> None:
    message: dict[str, Any] = {}
    while message.get("type") != "http.disconnect":
        message = dict(await request.receive())
    turn.cancel()
