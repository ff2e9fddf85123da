"""A speech server on 127.0.0.1 that does what the real ones do, well and badly.

It speaks OpenAI's `/v1/audio/speech` (raw, WAV with a streamed header, server-sent events) and
audio over `/v1/chat/completions`. What it says is a function of the text, so that a test can tell
which text it hears; what it does wrong is scripted with `enqueue`.
"""

from __future__ import annotations

import asyncio
import base64
import json
import struct
import zlib
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from aiohttp import web
from livekit.agents import tts

from livekit import rtc

SAMPLE_RATE = 24000


@dataclass
class Reply:
    """How one request is answered; without one the server just speaks."""

    status: int = 200
    content_type: str | None = None
    body: bytes | None = None
    """Sent as it is, in place of speech."""
    gate: asyncio.Event | None = None
    """Nothing is sent before it is set."""
    pause_after: int | None = None
    """So many bytes of audio go out, then the server hangs."""
    abort_after: int | None = None
    """So many bytes of audio go out, then the connection drops."""
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Request:
    """What was asked for."""

    path: str
    body: dict[str, Any]
    headers: dict[str, str]


def speech_for(text: str, sample_rate: int = SAMPLE_RATE) -> bytes:
    """The audio of a text: 10 ms a character of one level, which tells the texts apart."""
    level = zlib.crc32(text.encode()) % 20000 + 1000
    return np.full(sample_rate // 100 * len(text), level, "<i2").tobytes()


def wav_header(
    sample_rate: int, *, channels: int = 1, bits: int = 16, tag: int = 1, size: int = 0xFFFFFFFF
) -> bytes:
    """The header of a WAV file whose length nobody knows yet."""
    block = channels * bits // 8
    form = struct.pack("<HHIIHH", tag, channels, sample_rate, sample_rate * block, block, bits)
    return (
        b"RIFF" + struct.pack("<I", min(size + 36, 0xFFFFFFFF)) + b"WAVE"
        b"fmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", size)
    )


async def frames_of(stream: tts.ChunkedStream | tts.SynthesizeStream) -> list[rtc.AudioFrame]:
    """All that a stream speaks, which is closed then.

    Where audio came late, LiveKit has nothing left to mark as the last of it, and adds 10 ms of
    silence. On a busy machine that may happen anywhere, so it is left out here.
    """
    async with stream:
        events = [event async for event in stream]
    if len(events) > 1 and events[-1].is_final and not any(bytes(events[-1].frame.data)):
        events.pop()
    return [event.frame for event in events]


class FakeSpeechServer:
    """Counts what is open and what was cut off, and keeps every request."""

    def __init__(self, *, sample_rate: int = SAMPLE_RATE, chunk_bytes: int = 1001) -> None:
        self.sample_rate = sample_rate
        self.chunk_bytes = chunk_bytes
        """Odd, so that samples are cut in half."""
        self.models: list[str] = []
        """If there are any, all others are refused."""
        self.api_key = ""
        self.requests: list[Request] = []
        self.open = 0
        self.most_open = 0
        self.cancelled = 0
        self.changed = asyncio.Condition()
        self.url = ""
        self._script: deque[Reply] = deque()

    def enqueue(self, *replies: Reply) -> None:
        """Sets how the next requests are answered."""
        self._script.extend(replies)

    @property
    def texts(self) -> list[str]:
        """What was asked to be said, in order of arrival."""
        return [
            request.body["messages"][-1]["content"]
            if "messages" in request.body
            else request.body["input"]
            for request in self.requests
        ]

    async def wait_for(self, condition: Any) -> None:
        """Waits until a function of no arguments is true of the server's counts."""
        async with self.changed:
            await self.changed.wait_for(condition)

    async def _note(self) -> None:
        async with self.changed:
            self.changed.notify_all()

    async def _speak(self, http: web.Request) -> web.StreamResponse:
        asked = Request(http.path, await http.json(), dict(http.headers))
        self.requests.append(asked)
        reply = self._script.popleft() if self._script else Reply()
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        await self._note()
        try:
            return await self._answer(http, asked, reply)
        except (asyncio.CancelledError, ConnectionError):
            self.cancelled += 1
            raise
        finally:
            self.open -= 1
            await asyncio.shield(self._note())

    async def _answer(self, http: web.Request, asked: Request, reply: Reply) -> web.StreamResponse:
        if reply.gate is not None:
            await reply.gate.wait()
        if self.api_key and asked.headers.get("Authorization") != f"Bearer {self.api_key}":
            return _refuse(401, "Incorrect API key provided", "authentication_error")
        if self.models and asked.body["model"] not in self.models:
            name = asked.body["model"]
            return _refuse(404, f"The model `{name}` does not exist.", "NotFoundError")
        kind, chunks = self._form(asked, reply)
        response = web.StreamResponse(status=reply.status, headers=reply.headers)
        if "Content-Type" not in reply.headers:
            response.content_type = reply.content_type or kind
        response.enable_chunked_encoding()
        await response.prepare(http)
        stop = next((n for n in (reply.pause_after, reply.abort_after) if n is not None), None)
        sent = 0
        for chunk in chunks:
            part = chunk if stop is None else chunk[: stop - sent]
            await response.write(part)
            sent += len(part)
            if sent == stop:
                break
        if reply.pause_after is not None:
            await asyncio.Event().wait()
        if reply.abort_after is not None and http.transport is not None:
            http.transport.abort()
            return response
        await response.write_eof()
        return response

    def _form(self, asked: Request, reply: Reply) -> tuple[str, list[bytes]]:
        if reply.body is not None:
            return "application/octet-stream", _cut(reply.body, self.chunk_bytes)
        if "messages" in asked.body:
            audio = speech_for(asked.body["messages"][-1]["content"], self.sample_rate)
            return "text/event-stream", [
                *(_chat_event(part) for part in _cut(audio, self.chunk_bytes)),
                b"data: [DONE]\n\n",
            ]
        audio = speech_for(asked.body["input"], self.sample_rate)
        if asked.body.get("stream_format") == "sse":
            return "text/event-stream", [
                b": keep-alive\n\n",
                *(_speech_event(part) for part in _cut(audio, self.chunk_bytes)),
                b'data: {"type": "speech.audio.done", "usage": '
                b'{"input_tokens": 7, "output_tokens": 11}}\n\n',
            ]
        if asked.body.get("response_format") == "wav":
            return "audio/wav", _cut(wav_header(self.sample_rate) + audio, self.chunk_bytes)
        return "audio/pcm", _cut(audio, self.chunk_bytes)

    async def _models(self, _: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [{"id": name} for name in self.models]})

    @asynccontextmanager
    async def serve(self, port: int = 0) -> AsyncIterator[FakeSpeechServer]:
        """Listens until the block is left."""
        app = web.Application(client_max_size=64 << 20)
        app.router.add_post("/v1/audio/speech", self._speak)
        app.router.add_post("/v1/chat/completions", self._speak)
        app.router.add_get("/v1/models", self._models)
        # A client that hangs up must be seen at once: real servers stop generating then.
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", port)
        await site.start()
        host, bound = runner.addresses[0][:2]
        self.url = f"http://{host}:{bound}/v1"
        try:
            yield self
        finally:
            await runner.cleanup()


def _cut(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


def _refuse(status: int, message: str, kind: str) -> web.Response:
    return web.json_response(
        {"error": {"message": message, "type": kind, "code": status}}, status=status
    )


def _event(body: dict[str, Any]) -> bytes:
    return f"data: {json.dumps(body)}\n\n".encode()


def _speech_event(audio: bytes) -> bytes:
    return _event({"type": "speech.audio.delta", "audio": base64.b64encode(audio).decode()})


def _chat_event(audio: bytes) -> bytes:
    sound = {"data": base64.b64encode(audio).decode()}
    return _event({"choices": [{"index": 0, "delta": {"content": "", "audio": sound}}]})
