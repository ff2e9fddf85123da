"""Streams of an engine in this process that knows when each word is spoken."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import Never, Protocol

from livekit.agents import APIConnectOptions, tts, utils
from livekit.agents.types import TimedString

from .delivery import initialize, silence, speak_piece
from .options import Tokenizer
from .pieces import Pieces, speak_in_pieces

logger = logging.getLogger("livekit.plugins.local_tts")


@dataclass(frozen=True)
class SpokenWord:
    """A word with the characters around it: the words of a text, joined, are the text."""

    text: str
    start: float
    """Seconds from the beginning of the text."""
    end: float


@dataclass(frozen=True)
class Chunk:
    """Audio, and words whose time is known by now."""

    pcm: bytes
    """Signed 16 bit, mono, at the engine's rate."""
    words: tuple[SpokenWord, ...] = ()


class Delivery(Protocol):
    """With what a stream speaks: a snapshot, taken when it is opened."""

    @property
    def name(self) -> str:
        """Begins the request ids."""

    @property
    def sample_rate(self) -> int:
        """Hertz."""

    def clean(self, text: str) -> str:
        """Takes out of a text what the engine refuses."""

    def split_long(self, text: str) -> list[str]:
        """Cuts a text into pieces, at least one, that the engine can take."""

    def speak(self, text: str, *, timeout_s: float) -> AsyncGenerator[Chunk, None]:
        """Speaks a piece. Closing the generator stops the engine.

        Raises:
            APIError: The engine failed, or gave nothing for `timeout_s` seconds.
        """


class _Segment:
    """Puts phrases into LiveKit's emitter, with word times counted over the whole segment."""

    def __init__(
        self, delivery: Delivery, conn_options: APIConnectOptions, emitter: tts.AudioEmitter
    ) -> None:
        self._delivery = delivery
        self._conn_options = conn_options
        self._emitter = emitter
        self._samples = 0

    async def say(self, text: str) -> None:
        before = self._samples
        for piece in self._delivery.split_long(text):
            await self._say_piece(piece)
        if self._samples == before:
            self._push(Chunk(silence(self._delivery.sample_rate)), offset=0.0)
        # Lets the held-back tail go: the next phrase may be seconds away.
        self._emitter.flush()

    async def _say_piece(self, text: str) -> None:
        offset = self._samples / self._delivery.sample_rate
        await speak_piece(
            partial(self._attempt, text, offset),
            self._conn_options,
            heard=lambda: self._samples,
            logger=logger,
        )

    async def _attempt(self, text: str, offset: float) -> None:
        timeout_s = self._conn_options.timeout
        async with aclosing(self._delivery.speak(text, timeout_s=timeout_s)) as speech:
            async for chunk in speech:
                self._push(chunk, offset)

    def _push(self, chunk: Chunk, offset: float) -> None:
        for word in chunk.words:
            self._emitter.push_timed_transcript(
                TimedString(word.text, start_time=offset + word.start, end_time=offset + word.end)
            )
        if chunk.pcm:
            self._emitter.push(chunk.pcm)
            self._samples += len(chunk.pcm) // 2


class ChunkedStream(tts.ChunkedStream):
    """One text, spoken."""

    def __init__(
        self,
        *,
        tts: tts.TTS[Never],
        input_text: str,
        conn_options: APIConnectOptions,
        delivery: Delivery,
    ) -> None:
        super().__init__(tts=tts, input_text=input_text, conn_options=conn_options)
        self._delivery = delivery

    async def _run(self, output_emitter: tts.AudioEmitter) -> None:
        initialize(
            output_emitter,
            request_id=utils.shortuuid(f"{self._delivery.name}_"),
            sample_rate=self._delivery.sample_rate,
            stream=False,
        )
        segment = _Segment(self._delivery, self._conn_options, output_emitter)
        await segment.say(self._input_text)


class SynthesizeStream(tts.SynthesizeStream):
    """Text in, piece by piece; audio out, as one segment."""

    def __init__(
        self,
        *,
        tts: tts.TTS[Never],
        conn_options: APIConnectOptions,
        delivery: Delivery,
        tokenizer: Tokenizer,
    ) -> None:
        super().__init__(tts=tts, conn_options=conn_options)
        self._delivery = delivery
        self._tokenizer = tokenizer

    async def _run(self, output_emitter: tts.AudioEmitter) -> None:
        initialize(
            output_emitter,
            request_id=utils.shortuuid(f"{self._delivery.name}_"),
            sample_rate=self._delivery.sample_rate,
            stream=True,
        )
        segment = _Segment(self._delivery, self._conn_options, output_emitter)

        async def say(pieces: Pieces) -> None:
            started = False
            async for piece in pieces:
                if not started:
                    output_emitter.start_segment(segment_id=utils.shortuuid("segment_"))
                    started = True
                self._mark_started()
                await segment.say(piece)
            if not started and self._pushed_text:
                # The tokenizer found nothing to say in it; the turn has to end all the same.
                output_emitter.start_segment(segment_id=utils.shortuuid("segment_"))
                await segment.say(self._pushed_text)

        await speak_in_pieces(self._input_ch, self._tokenizer, say, clean=self._delivery.clean)
