"""Speaks pieces of text in order, with the next request already on its way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Callable, Coroutine
from typing import Any, Protocol

import httpx
from livekit.agents.utils import aio

from local_tts.delivery import Chunk, Outlet
from local_tts.text import cut_long, is_speakable

from .body import Usage
from .request import SpeechRequest, speak

BUFFERED_CHUNKS = 256
"""Of one piece that waits for its turn: a megabyte, 21 s at 24 kHz. Then the server has to wait."""


class Voice(Protocol):
    """How one stream speaks: a snapshot of the options that it started with."""

    @property
    def sample_rate(self) -> int:
        """Hertz."""

    @property
    def requests_ahead(self) -> int:
        """Requests that may run while an earlier one is played; 0 where each needs the last."""

    @property
    def max_characters(self) -> int:
        """Of one request; longer text is cut."""

    def request(self, text: str, request_id: str) -> SpeechRequest:
        """Makes the request for a piece. The earlier pieces are spoken, or on their way."""

    def spoken(self, text: str, audio: bytes) -> None:
        """Told of each piece that was received whole."""


class PieceSpeaker:
    """One attempt to speak a text that arrives in pieces.

    A server needs longer for its first sound than an engine in this process: so the next requests
    are under way while a piece is played, where the others ask for one piece after the other.

    Args:
        client: To send requests with.
        voice: Makes the requests.
        outlet: Where to.
    """

    def __init__(self, client: httpx.AsyncClient, voice: Voice, outlet: Outlet) -> None:
        self._client = client
        self._voice = voice
        self._outlet = outlet
        self._slots = asyncio.Semaphore(1 + voice.requests_ahead)
        self._waiting: asyncio.Queue[_Piece | None] = asyncio.Queue()
        self._open: set[_Piece] = set()
        self._count = 0

    async def run(self, texts: AsyncIterable[str]) -> None:
        """Speaks everything; returns when the last sample was handed over.

        Raises:
            APIError: A piece failed, after its retries if sound had been made before it.
        """
        ahead = asyncio.create_task(self._request_ahead(texts), name="speech_api.request_ahead")
        try:
            while (piece := await self._waiting.get()) is not None:
                await self._outlet.say_piece(self._attempts(piece))
                self._slots.release()
            await ahead
        finally:
            await aio.cancel_and_wait(ahead, *(piece.task for piece in self._open))

    async def _request_ahead(self, texts: AsyncIterable[str]) -> None:
        try:
            async for text in texts:
                for part in cut_long(text, self._voice.max_characters):
                    if is_speakable(part):
                        await self._slots.acquire()
                        self._waiting.put_nowait(self._start(part.strip()))
        finally:
            self._waiting.put_nowait(None)

    def _start(self, text: str) -> _Piece:
        self._outlet.on_request()
        self._count += 1
        request = self._voice.request(text, f"{self._outlet.request_id}-{self._count}")
        piece = _Piece(text, request, self._client, self._outlet.timeout_s)
        self._open.add(piece)
        return piece

    def _attempts(self, first: _Piece) -> Callable[[], Coroutine[Any, Any, None]]:
        """Hands a piece over; called once more, it asks for it anew."""
        under_way: list[_Piece] = [first]

        async def attempt() -> None:
            piece = under_way.pop() if under_way else self._start(first.text)
            try:
                await self._hand_over(piece)
            finally:
                self._open.discard(piece)

        return attempt

    async def _hand_over(self, piece: _Piece) -> None:
        audio = bytearray()
        async for samples in piece:
            audio += samples
            self._outlet.push(Chunk(samples))
        self._outlet.input_tokens += piece.usage.input_tokens
        self._outlet.output_tokens += piece.usage.output_tokens
        self._voice.spoken(piece.text, bytes(audio))


class _Piece:
    """A request that runs, and its audio that waits."""

    def __init__(
        self, text: str, request: SpeechRequest, client: httpx.AsyncClient, timeout: float
    ) -> None:
        self.text = text
        self.usage = Usage()
        self._audio: asyncio.Queue[bytes | None] = asyncio.Queue(BUFFERED_CHUNKS)
        self._error: Exception | None = None
        self.task = asyncio.create_task(
            self._run(request, client, timeout), name="speech_api.request"
        )

    async def _run(self, request: SpeechRequest, client: httpx.AsyncClient, timeout: float) -> None:
        try:
            await speak(
                client, request, timeout=timeout, usage=self.usage, on_audio=self._audio.put
            )
        except Exception as error:  # raised where the piece is played, after what came before it
            self._error = error
        await self._audio.put(None)

    def __aiter__(self) -> _Piece:
        return self

    async def __anext__(self) -> bytes:
        samples = await self._audio.get()
        if samples is not None:
            return samples
        if self._error is not None:
            raise self._error
        raise StopAsyncIteration
