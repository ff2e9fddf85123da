"""The two ways of speaking that LiveKit knows: a whole text, and text as it is written."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import dataclass
from typing import Never

from livekit.agents import APIConnectOptions, tokenize, tts, utils
from livekit.agents.types import TimedString

from .engine import Engine, SpeechOptions
from .speech import Chunk, speak, speakable, split_long

FRAME_BYTES = 4096
"""Of PCM in one frame, at most: 93 ms at 22,050 Hz, 128 ms at 16,000."""

SILENCE_MS = 20
"""Stands for text in which nothing can be spoken: without any audio LiveKit takes it for an error
and the turn never ends."""


@dataclass(frozen=True)
class Delivery:
    """With what a stream speaks; taken when it is opened."""

    engine: Engine
    options: SpeechOptions
    sample_rate: int
    """Hertz."""

    @property
    def frame_ms(self) -> int:
        """The longest frame, in milliseconds, that keeps to `FRAME_BYTES`."""
        return FRAME_BYTES // 2 // (self.sample_rate // 1000)


class _Segment:
    """Puts phrases into LiveKit's emitter, with word times counted over the whole segment."""

    def __init__(self, delivery: Delivery, timeout_s: float, emitter: tts.AudioEmitter) -> None:
        self._delivery = delivery
        self._timeout_s = timeout_s
        self._emitter = emitter
        self._samples = 0

    async def say(self, text: str) -> None:
        before = self._samples
        for piece in split_long(text):
            await self._say_piece(piece)
        if self._samples == before:
            silence = bytes(self._delivery.sample_rate * SILENCE_MS // 1000 * 2)
            self._push(Chunk(silence), offset=0.0)
        # Lets the held-back tail go: the next phrase may be seconds away.
        self._emitter.flush()

    async def _say_piece(self, text: str) -> None:
        offset = self._samples / self._delivery.sample_rate
        speech = speak(
            self._delivery.engine,
            text,
            self._delivery.options,
            sample_rate=self._delivery.sample_rate,
            timeout_s=self._timeout_s,
        )
        async with aclosing(speech):
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
        output_emitter.initialize(
            request_id=utils.shortuuid("piper_"),
            sample_rate=self._delivery.sample_rate,
            num_channels=1,
            mime_type="audio/pcm",
            frame_size_ms=self._delivery.frame_ms,
        )
        segment = _Segment(self._delivery, self._conn_options.timeout, output_emitter)
        await segment.say(self._input_text)


class SynthesizeStream(tts.SynthesizeStream):
    """Text in, piece by piece; audio out, as one segment."""

    def __init__(
        self,
        *,
        tts: tts.TTS[Never],
        conn_options: APIConnectOptions,
        delivery: Delivery,
        tokenizer: tokenize.SentenceTokenizer | tokenize.WordTokenizer,
    ) -> None:
        super().__init__(tts=tts, conn_options=conn_options)
        self._delivery = delivery
        self._tokenizer = tokenizer

    async def _run(self, output_emitter: tts.AudioEmitter) -> None:
        output_emitter.initialize(
            request_id=utils.shortuuid("piper_"),
            sample_rate=self._delivery.sample_rate,
            num_channels=1,
            mime_type="audio/pcm",
            frame_size_ms=self._delivery.frame_ms,
            stream=True,
        )
        pieces = self._tokenizer.stream()
        segment = _Segment(self._delivery, self._conn_options.timeout, output_emitter)

        async def cut_input() -> None:
            async for data in self._input_ch:
                if isinstance(data, self._FlushSentinel):
                    pieces.flush()
                else:
                    pieces.push_text(speakable(data))
            pieces.end_input()

        async def say_pieces() -> None:
            started = False
            async for piece in pieces:
                if not started:
                    output_emitter.start_segment(segment_id=utils.shortuuid("segment_"))
                    started = True
                self._mark_started()
                await segment.say(piece.token)
            if not started and self._pushed_text:
                # The tokenizer found nothing to say in it; the turn has to end all the same.
                output_emitter.start_segment(segment_id=utils.shortuuid("segment_"))
                await segment.say(self._pushed_text)

        tasks = [asyncio.create_task(cut_input()), asyncio.create_task(say_pieces())]
        try:
            await asyncio.gather(*tasks)
        finally:
            await utils.aio.cancel_and_wait(*tasks)
            await pieces.aclose()
