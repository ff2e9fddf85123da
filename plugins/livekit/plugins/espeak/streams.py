"""The two ways of speaking that LiveKit knows: a whole text, and text as it is written."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Never

from livekit.agents import APIConnectOptions, tokenize, tts, utils
from livekit.agents.types import TimedString

from livekit.local_tts.text import encodable

from .engine import SAMPLE_RATE, Engine, SpeechOptions
from .speech import Chunk, speak, split_long

FRAME_MS = 93
"""4 KB of PCM at 22,050 Hz."""

SILENCE_MS = 20
"""Stands for text in which nothing can be spoken: without any audio LiveKit takes it for an error
and the turn never ends."""


class _Segment:
    """Puts phrases into LiveKit's emitter, with word times counted over the whole segment."""

    def __init__(
        self, engine: Engine, options: SpeechOptions, timeout_s: float, emitter: tts.AudioEmitter
    ) -> None:
        self._engine = engine
        self._options = options
        self._timeout_s = timeout_s
        self._emitter = emitter
        self._samples = 0

    async def say(self, text: str) -> None:
        before = self._samples
        for piece in split_long(text):
            await self._say_piece(piece)
        if self._samples == before:
            self._push(Chunk(bytes(SAMPLE_RATE * SILENCE_MS // 1000 * 2)), offset=0.0)
        # Lets the held-back tail go: the next phrase may be seconds away.
        self._emitter.flush()

    async def _say_piece(self, text: str) -> None:
        offset = self._samples / SAMPLE_RATE
        speech = speak(self._engine, text, self._options, timeout_s=self._timeout_s)
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
        engine: Engine,
        options: SpeechOptions,
    ) -> None:
        super().__init__(tts=tts, input_text=input_text, conn_options=conn_options)
        self._engine = engine
        self._options = options

    async def _run(self, output_emitter: tts.AudioEmitter) -> None:
        output_emitter.initialize(
            request_id=utils.shortuuid("espeak_"),
            sample_rate=SAMPLE_RATE,
            num_channels=1,
            mime_type="audio/pcm",
            frame_size_ms=FRAME_MS,
        )
        segment = _Segment(self._engine, self._options, self._conn_options.timeout, output_emitter)
        await segment.say(self._input_text)


class SynthesizeStream(tts.SynthesizeStream):
    """Text in, piece by piece; audio out, as one segment."""

    def __init__(
        self,
        *,
        tts: tts.TTS[Never],
        conn_options: APIConnectOptions,
        engine: Engine,
        options: SpeechOptions,
        tokenizer: tokenize.SentenceTokenizer | tokenize.WordTokenizer,
    ) -> None:
        super().__init__(tts=tts, conn_options=conn_options)
        self._engine = engine
        self._options = options
        self._tokenizer = tokenizer

    async def _run(self, output_emitter: tts.AudioEmitter) -> None:
        output_emitter.initialize(
            request_id=utils.shortuuid("espeak_"),
            sample_rate=SAMPLE_RATE,
            num_channels=1,
            mime_type="audio/pcm",
            frame_size_ms=FRAME_MS,
            stream=True,
        )
        pieces = self._tokenizer.stream()
        segment = _Segment(self._engine, self._options, self._conn_options.timeout, output_emitter)

        async def cut_input() -> None:
            async for data in self._input_ch:
                if isinstance(data, self._FlushSentinel):
                    pieces.flush()
                else:
                    pieces.push_text(encodable(data))
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
