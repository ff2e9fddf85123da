"""Speaks pieces of text in order, with the next request already on its way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Callable
from typing import Protocol

import httpx
from livekit.agents import APIConnectOptions, APIError
from livekit.agents.utils import aio

from local_tts.text import cut_long, is_speakable

from .body import Usage
from .log import logger
from .request import SpeechRequest, speak

BUFFERED_CHUNKS = 256
"""Of one piece that waits for its turn: a megabyte, 21 s at 24 kHz. Then the server has to wait."""

SILENCE_S = 0.02
"""What is played for text that has no sound, so that the turn ends like any other."""


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

    Args:
        client: To send requests with.
        voice: Makes the requests.
        conn_options: The timeout counts for each piece; the retries for pieces after the first
            sound, which LiveKit no longer retries itself.
        request_id: Sent along, so that the server's log can be matched.
        emit: Takes the samples.
        on_request: Called before each request.
    """

    def __init__(
        self,
        *,
        client: httpx.AsyncClient,
        voice: Voice,
        conn_options: APIConnectOptions,
        request_id: str,
        emit: Callable[[bytes], None],
        on_request: Callable[[], None] = lambda: None,
    ) -> None:
        self.usage = Usage()
        """Tokens of all requests, where the server counts them."""
        self._client = client
        self._voice = voice
        self._conn_options = conn_options
        self._request_id = request_id
        self._emit = emit
        self._on_request = on_request
        self._slots = asyncio.Semaphore(1 + voice.requests_ahead)
        self._waiting: asyncio.Queue[_Piece | None] = asyncio.Queue()
        self._open: set[_Piece] = set()
        self._count = 0
        self._sounded = False
        self._asked = False

    async def run(self, texts: AsyncIterable[str]) -> None:
        """Speaks everything; returns when the last sample was emitted.

        Raises:
            APIError: A piece failed, after its retries if sound had been made before it.
        """
        ahead = asyncio.create_task(self._request_ahead(texts), name="speech_api.request_ahead")
        try:
            while (piece := await self._waiting.get()) is not None:
                await self._play(piece)
                self._slots.release()
            await ahead
        finally:
            await aio.cancel_and_wait(ahead, *(piece.task for piece in self._open))
        # Where nothing was to be said, nothing sounds.
        if self._asked and not self._sounded:
            self._emit(bytes(2 * int(self._voice.sample_rate * SILENCE_S)))

    async def _request_ahead(self, texts: AsyncIterable[str]) -> None:
        try:
            async for text in texts:
                self._asked = self._asked or bool(text.strip())
                for part in cut_long(text, self._voice.max_characters):
                    if is_speakable(part):
                        await self._slots.acquire()
                        self._waiting.put_nowait(self._start(part.strip()))
        finally:
            self._waiting.put_nowait(None)

    def _start(self, text: str) -> _Piece:
        self._on_request()
        self._count += 1
        request = self._voice.request(text, f"{self._request_id}-{self._count}")
        piece = _Piece(text, request, self._client, self._conn_options.timeout)
        self._open.add(piece)
        return piece

    async def _play(self, piece: _Piece) -> None:
        for attempt in range(self._conn_options.max_retry + 1):
            audio = bytearray()
            sounded_before = self._sounded
            try:
                async for samples in piece:
                    self._sounded = True
                    audio += samples
                    self._emit(samples)
            except APIError as error:
                again = (
                    error.retryable
                    and sounded_before
                    and not audio
                    and attempt < self._conn_options.max_retry
                )
                if not again:
                    raise
                logger.warning("a later piece of the speech failed, asking again: %s", error)
                self._open.discard(piece)
                await asyncio.sleep(self._conn_options._interval_for_retry(attempt))
                piece = self._start(piece.text)
                continue
            self.usage.input_tokens += piece.usage.input_tokens
            self.usage.output_tokens += piece.usage.output_tokens
            self._voice.spoken(piece.text, bytes(audio))
            self._open.discard(piece)
            return


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
