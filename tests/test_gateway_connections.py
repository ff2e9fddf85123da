"""Clients that send nothing, in drops, or never read, and what is kept for them meanwhile."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.types import Message
from starlette.websockets import WebSocket, WebSocketDisconnect

from agent_worker.commands.serve_web import serve_app
from agent_worker.gateway.audio import GatewayAudioInput
from agent_worker.gateway.callers import Caller
from agent_worker.gateway.link import Link
from agent_worker.gateway.outbox import Outbox
from agent_worker.gateway.protocol import (
    SAMPLE_RATE,
    AudioFormat,
    Send,
    SessionResume,
    SessionStart,
)
from agent_worker.gateway.reply import Reply
from agent_worker.gateway.session import LiveSession
from agent_worker.web import WebConfig, create_app
from agent_worker.web import app as web_app

from .fake_voice_stack import FakeStack
from .raw_request import answer_to

WEB = WebConfig(livekit_url="ws://127.0.0.1:7880", api_key="devkey", api_secret="x" * 32)


async def test_a_client_that_does_not_send_its_request_is_cut_off() -> None:
    async with serve_app(create_app(WEB), host="127.0.0.1", port=0, patience_s=0.2) as address:
        for start in (b"", b"GET /ws/s2s HTTP/1.1\r\nUpgrade: web"):
            assert await answer_to(address, start) == b""
        reader, writer = await asyncio.open_connection("127.0.0.1", int(address.rpartition(":")[2]))
        # One that goes on asking is not, however long it has been there.
        for _ in range(6):
            writer.write(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            assert (await reader.readuntil(b"}")).startswith(b"HTTP/1.1 200 ")
            await asyncio.sleep(0.1)
        writer.close()


async def test_a_token_request_that_comes_in_drops_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(web_app, "BODY_TIMEOUT_S", 0.1)
    async with serve_app(create_app(WEB), host="127.0.0.1", port=0) as address:
        head = b"POST /api/token HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
        answer = await answer_to(address, head + b"Content-Length: 9\r\n\r\n{")
    assert answer.startswith(b"HTTP/1.1 408 ") and b"in time" in answer


@asynccontextmanager
async def deaf_client(app: Starlette, *, patience_s: float) -> AsyncIterator[socket.socket]:
    """A WebSocket at /, shaken hands over, which nobody reads."""
    head = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    head += b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDAwMDAwMDAwMDAwMDAwMA==\r\n\r\n"
    async with serve_app(app, host="127.0.0.1", port=0, patience_s=patience_s) as address:
        with socket.socket() as deaf:
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            deaf.connect(("127.0.0.1", int(address.rpartition(":")[2])))
            deaf.setblocking(False)
            await asyncio.get_running_loop().sock_sendall(deaf, head)
            yield deaf


async def test_a_websocket_that_is_never_read_is_cut_off() -> None:
    ended = asyncio.Event()

    async def flood(websocket: WebSocket) -> None:
        await websocket.accept()
        try:
            while True:
                await websocket.send_bytes(bytes(60_000))
                await asyncio.sleep(0)
        except WebSocketDisconnect:
            ended.set()

    app = Starlette(routes=[WebSocketRoute("/", flood)])
    async with deaf_client(app, patience_s=0.3), asyncio.timeout(20):
        await ended.wait()


async def test_pings_whose_answers_are_not_read_are_not_queued_without_end() -> None:
    ended = asyncio.Event()

    async def wait(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.receive()
        ended.set()

    app = Starlette(routes=[WebSocketRoute("/", wait)])
    ping = b"\x89\xfd" + bytes(4) + bytes(125)
    async with deaf_client(app, patience_s=60) as deaf, asyncio.timeout(40):
        with pytest.raises(ConnectionError):
            while True:
                await asyncio.get_running_loop().sock_sendall(deaf, ping * 100)
        await ended.wait()


class BlockedSocket:
    """A WebSocket that takes messages, and never gets rid of one."""

    def __init__(self) -> None:
        self.scope: dict[str, Any] = {}
        self.closed: list[int] = []
        self.incoming: asyncio.Queue[Message] = asyncio.Queue()

    async def receive(self) -> Message:
        return await self.incoming.get()

    async def send_text(self, text: str) -> None:
        await asyncio.Event().wait()

    send_bytes = send_text

    async def close(self, code: int = 1000, reason: str = "") -> None:
        self.closed.append(code)


class OneSession:
    """Hands out one session, and notes how it came back."""

    def __init__(self, session: LiveSession) -> None:
        self.session = session
        self.outbox: Outbox | None = None
        self.lost: list[bool] = []

    async def open(self, request: SessionStart, outbox: Outbox, caller: Caller) -> LiveSession:
        self.outbox = outbox
        self.session.attach(outbox)
        return self.session

    async def resume(self, request: SessionResume, outbox: Outbox, caller: Caller) -> LiveSession:
        raise AssertionError

    async def begin_anew(self, session: LiveSession, outbox: Outbox) -> LiveSession:
        raise AssertionError

    async def release(self, session: LiveSession, outbox: Outbox, *, lost: bool) -> None:
        self.lost.append(lost)


@pytest.mark.parametrize("by_overflow", [False, True])
async def test_a_client_that_does_not_read_is_let_go_and_may_come_back(by_overflow: bool) -> None:
    call = await FakeStack().build_call(None)
    request = SessionStart(type="session_start", session_id="slow")
    register = OneSession(LiveSession(request, call))
    blocked: Any = BlockedSocket()
    patience_s = 60 if by_overflow else 0.1
    link = Link(register, blocked, Caller(), start_timeout_s=5, send_timeout_s=patience_s)
    blocked.incoming.put_nowait({"type": "websocket.receive", "text": request.model_dump_json()})
    running = asyncio.create_task(link.run())
    if by_overflow:
        while register.outbox is None:
            await asyncio.sleep(0)
        for _ in range(600):
            register.outbox.put(bytes(640))
    await asyncio.wait_for(running, 10)
    assert register.lost == [True]
    assert blocked.closed == [1013 if by_overflow else 1000]
    await register.session.aclose()


async def test_what_waits_for_a_client_is_less_than_30_s_of_voice() -> None:
    outbox = Outbox()
    frames = 0
    while not outbox.overflowed.is_set():
        # A frame of 20 ms, and its announcement.
        outbox.put(b"announcement")
        outbox.put(bytes(640))
        frames += 1
    assert 2 <= frames * 0.02 <= 30


async def test_an_answer_that_is_written_in_one_go_is_no_reason_to_let_a_client_go() -> None:
    outbox = Outbox()
    reply = Reply(AudioFormat())
    words = [f"{number} " for number in range(5000)]
    for word in words:
        for message in reply.token(word):
            outbox.put(message)
    outbox.put(b"sound")
    assert not outbox.overflowed.is_set()
    got: list[str] = []
    while isinstance(token := await outbox.get(), Send):
        got.append(token.message["token"])
    assert "".join(got) == "".join(words) and got[:2] == words[:2]


async def test_sound_in_tiny_pieces_is_heard_in_frames() -> None:
    microphone = GatewayAudioInput()
    for _ in range(1000):
        assert microphone.push(b"\1\0")
    frames = [await anext(microphone) for _ in range(2)]
    assert [frame.samples_per_channel for frame in frames] == [640, 360]
    # Less than 10 ms is waited for, and filled up with silence where nothing more comes.
    assert microphone.push(b"\1\0")
    last = np.frombuffer((await anext(microphone)).data, dtype=np.int16)
    assert len(last) == 1600 and last.sum() == 1
    microphone.close()
    with pytest.raises(StopAsyncIteration):
        await anext(microphone)


async def test_long_pieces_are_waited_for_and_not_torn_apart_by_silence() -> None:
    microphone = GatewayAudioInput()
    piece = b"\1\0" * 4096

    async def heard(count: int) -> list[int]:
        samples: list[int] = []
        while len(samples) < count:
            samples += np.frombuffer((await anext(microphone)).data, dtype=np.int16).tolist()
        return samples

    async def send() -> None:
        for _ in range(3):
            # Longer than the patience with a client that sends 20 ms at a time.
            await asyncio.sleep(0.2)
            microphone.push(piece)

    microphone.push(piece)
    sending = asyncio.create_task(send())
    assert await heard(4 * 4096) == [1] * 4 * 4096
    await sending
    microphone.end()
    assert not any(await heard(1600))


async def test_the_microphone_holds_thirty_seconds() -> None:
    microphone = GatewayAudioInput()
    second = bytes(2 * SAMPLE_RATE)
    assert all(microphone.push(second) for _ in range(30))
    assert not microphone.push(b"\0\0")
    await anext(microphone)
    assert microphone.push(b"\0\0")
    microphone.clear()
    assert microphone.push(second)
