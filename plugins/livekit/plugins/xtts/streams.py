"""LiveKit's two kinds of stream: a sentence after the other through the engine."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from livekit.agents import APIConnectOptions, APIError, tts
from livekit.agents.utils import shortuuid

from local_tts.delivery import initialize, silence, speak_piece
from local_tts.options import Tokenizer
from local_tts.pieces import Pieces, speak_in_pieces
from local_tts.text import cut_long, encodable, is_speakable

from .log import logger

if TYPE_CHECKING:
    from .engine import Engine
    from .tts import TTS, VoiceOptions

SAMPLE_RATE = 24000
"""Hertz."""


class ChunkedStream(tts.ChunkedStream):
    """Speaks a text that is there as a whole."""

    def __init__(
        self,
        *,
        tts: TTS,
        input_text: str,
        conn_options: APIConnectOptions,
        engine: Engine,
        opts: VoiceOptions,
    ) -> None:
        super().__init__(tts=tts, input_text=input_text, conn_options=conn_options)
        self._engine = engine
        self._opts = opts

    async def _run(self, output_emitter: tts.AudioEmitter) -> None:
        initialize(output_emitter, request_id=shortuuid(), sample_rate=SAMPLE_RATE, stream=False)
        if self._input_text.strip():
            speaker = _Speaker(self._engine, self._opts, self._conn_options, output_emitter.push)
            await speaker.speak(encodable(self._input_text))
            speaker.finish()


class SynthesizeStream(tts.SynthesizeStream):
    """Speaks text while it is still being written, a piece at a time."""

    def __init__(
        self,
        *,
        tts: TTS,
        conn_options: APIConnectOptions,
        engine: Engine,
        opts: VoiceOptions,
        tokenizer: Tokenizer,
    ) -> None:
        super().__init__(tts=tts, conn_options=conn_options)
        self._engine = engine
        self._opts = opts
        self._tokenizer = tokenizer

    async def _run(self, output_emitter: tts.AudioEmitter) -> None:
        request_id = shortuuid()
        initialize(output_emitter, request_id=request_id, sample_rate=SAMPLE_RATE, stream=True)
        output_emitter.start_segment(segment_id=request_id)
        speaker = _Speaker(
            self._engine,
            self._opts,
            self._conn_options,
            output_emitter.push,
            on_request=self._mark_started,
        )

        async def speak(pieces: Pieces) -> None:
            # The engine does one sentence at a time, much faster than it is played: the next
            # one is in it before the last one was heard, without being asked for ahead.
            async for piece in pieces:
                await speaker.speak(piece)

        await speak_in_pieces(self._input_ch, self._tokenizer, speak)
        speaker.finish()


class _Speaker:
    """One attempt to speak the text of a stream."""

    def __init__(
        self,
        engine: Engine,
        opts: VoiceOptions,
        conn_options: APIConnectOptions,
        emit: Callable[[bytes], None],
        *,
        on_request: Callable[[], None] = lambda: None,
    ) -> None:
        self._engine = engine
        self._opts = opts
        self._conn_options = conn_options
        self._emit_samples = emit
        self._on_request = on_request
        self._emitted = 0
        self._asked = False

    async def speak(self, text: str) -> None:
        """Speaks a piece of any length; what has no sound is passed over."""
        self._asked = self._asked or bool(text.strip())
        for part in cut_long(text, self._opts.max_characters):
            if is_speakable(part):
                await self._speak_part(part.strip())

    def finish(self) -> None:
        """After the last piece; where nothing was to be said, nothing sounds."""
        if self._asked and not self._emitted:
            self._emit(silence(SAMPLE_RATE))

    async def _speak_part(self, text: str) -> None:
        async def attempt() -> None:
            before = self._emitted
            self._on_request()
            await self._engine.speak(
                self._opts.message(text),
                timeout=self._conn_options.timeout,
                on_audio=self._emit,
            )
            if self._emitted == before:
                raise APIError("XTTS made no sound of the text")

        await speak_piece(attempt, self._conn_options, heard=lambda: self._emitted, logger=logger)

    def _emit(self, samples: bytes) -> None:
        self._emitted += len(samples)
        self._emit_samples(samples)
