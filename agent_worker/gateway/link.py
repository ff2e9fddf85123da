"""One connection to the gateway: the socket, its timeouts, and what the protocol decides."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from typing import Protocol

from livekit.agents import utils
from starlette.websockets import WebSocket, WebSocketDisconnect

from agent_worker.serving.connections import ANSWERS

from .callers import Caller
from .outbox import Outbox
from .protocol import (
    SUBPROTOCOL,
    Action,
    Answer,
    BeginAnew,
    Close,
    Connection,
    EndOfAudio,
    Hear,
    Resume,
    Send,
    SessionResume,
    SessionStart,
    Silence,
    Start,
    error,
)
from .session import LiveSession

logger = logging.getLogger(__name__)

_ENDED_ON_PURPOSE = 1000
_TRY_AGAIN_LATER = 1013
"""The session may be resumed."""


class RefusedError(Exception):
    """A session that is not to be had; `code` and `message` are for the client."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class Register(Protocol):
    """Where sessions come from and go back to."""

    async def open(self, request: SessionStart, outbox: Outbox, caller: Caller) -> LiveSession: ...

    async def resume(
        self, request: SessionResume, outbox: Outbox, caller: Caller
    ) -> LiveSession: ...

    async def begin_anew(self, session: LiveSession, outbox: Outbox) -> LiveSession: ...

    async def release(self, session: LiveSession, outbox: Outbox, *, lost: bool) -> None: ...


class Link:
    """Reads one connection into the protocol, and carries out what that decides.

    Args:
        register: where sessions come from.
        websocket: accepted already.
        caller: who is at it.
        start_timeout_s: how long it may go without a session.
        send_timeout_s: how long one message may take to leave.
    """

    def __init__(
        self,
        register: Register,
        websocket: WebSocket,
        caller: Caller,
        *,
        start_timeout_s: float,
        send_timeout_s: float,
    ) -> None:
        self._register = register
        self._start_timeout_s = start_timeout_s
        self._send_timeout_s = send_timeout_s
        self._websocket = websocket
        self._caller = caller
        agreed = websocket.scope.get("subprotocols", [])
        self._protocol = Connection(one_rate=SUBPROTOCOL in agreed)
        extension = websocket.scope.get("extensions", {}).get(ANSWERS, {})
        self._outbox = Outbox(ask=extension.get("ask"))
        self._session: LiveSession | None = None
        self._lost = True
        self._parting = False

    async def run(self) -> None:
        """Until the client goes, or is let go."""
        reader = asyncio.create_task(self._read())
        writer = asyncio.create_task(self._write())
        overflow = asyncio.create_task(self._outbox.overflowed.wait())
        tasks = (reader, writer, overflow)
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if self._parting and not writer.done():
                # The last words are still on their way.
                await asyncio.wait([writer], timeout=self._send_timeout_s)
        finally:
            await utils.aio.cancel_and_wait(*tasks)
            if self._session is not None:
                await self._register.release(self._session, self._outbox, lost=self._lost)
            await self._close()
        for task in (reader, writer):
            if not task.cancelled() and (failure := task.exception()) is not None:
                raise failure

    async def _read(self) -> None:
        deadline = time.monotonic() + self._start_timeout_s
        while True:
            timeout = None if self._protocol.active else max(0.0, deadline - time.monotonic())
            try:
                message = await asyncio.wait_for(self._websocket.receive(), timeout)
            except TimeoutError:
                self._outbox.put(
                    error("start_timeout", "no session_start came in time", recoverable=False)
                )
                self._part(Close(1008, "no session_start"))
                return
            if message["type"] == "websocket.disconnect":
                self._lost = message.get("code") != _ENDED_ON_PURPOSE
                return
            if self._session is not None:
                self._session.client_heard()
            if (text := message.get("text")) is not None:
                actions = self._protocol.receive_text(text)
            else:
                actions = self._protocol.receive_audio(message.get("bytes") or b"")
            for action in actions:
                await self._carry_out(action)
                if self._parting:
                    return

    async def _carry_out(self, action: Action) -> None:
        session = self._session
        match action:
            case Start() | Resume():
                await self._begin(action)
            case Hear() if session is not None:
                if (refusal := session.hear(action.data)) is not None:
                    self._outbox.put(refusal)
            case Silence() if session is not None:
                await session.interrupt()
            case Answer() if session is not None:
                if (refusal := await session.answer(action.text)) is not None:
                    self._outbox.put(refusal)
            case BeginAnew() if session is not None:
                await self._begin(action)
            case EndOfAudio() if session is not None:
                session.end_of_audio()
            case Send():
                self._outbox.put(action)
            case Close():
                self._part(action)

    def _part(self, close: Close) -> None:
        """Ends the connection, and its session, from this side."""
        self._parting = True
        self._lost = False
        self._outbox.put(close)

    async def _begin(self, action: Start | Resume | BeginAnew) -> None:
        try:
            match action:
                case Start():
                    session = await self._register.open(action.request, self._outbox, self._caller)
                case Resume():
                    session = await self._register.resume(
                        action.request, self._outbox, self._caller
                    )
                case BeginAnew():
                    assert self._session is not None
                    session = await self._register.begin_anew(self._session, self._outbox)
        except RefusedError as e:
            self._protocol.refused()
            self._outbox.put(error(e.code, e.message))
            return
        except Exception:
            logger.exception("a session could not be started")
            self._outbox.put(
                error("start_failed", "the session could not be started", recoverable=False)
            )
            self._part(Close(1011, "start failed"))
            return
        self._session = session
        self._protocol.opened(session.audio)

    async def _write(self) -> None:
        while True:
            message = await self._outbox.get()
            try:
                async with asyncio.timeout(self._send_timeout_s):
                    match message:
                        case bytes():
                            await self._websocket.send_bytes(message)
                        case Send():
                            text = json.dumps(message.message, ensure_ascii=False)
                            # Half a surrogate pair, from a client or a model, can't be sent.
                            sendable = text.encode(errors="replace").decode()
                            await self._websocket.send_text(sendable)
                        case Close():
                            self._lost = False
                            await self._websocket.close(message.code, message.reason)
                            return
            except (TimeoutError, RuntimeError, WebSocketDisconnect):
                # Gone, or not reading; the session waits for it to come back.
                return

    async def _close(self) -> None:
        try:
            async with asyncio.timeout(self._send_timeout_s):
                if self._outbox.overflowed.is_set():
                    await self._websocket.close(_TRY_AGAIN_LATER, "the client reads too slowly")
                else:
                    await self._websocket.close()
        except (TimeoutError, RuntimeError, WebSocketDisconnect):
            logger.debug("the connection was closed already")
