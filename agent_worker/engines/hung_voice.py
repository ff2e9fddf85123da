"""A voice that hangs is left for the whole call.

An engine that fails says so, and the next one speaks. One that hangs says nothing: LiveKit's own
limits add up to 40 s of silence, and every turn would wait anew.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from typing import Any, Protocol, runtime_checkable

from livekit.agents import APIConnectionError, APIConnectOptions, APITimeoutError, tts, utils
from livekit.agents.types import DEFAULT_API_CONNECT_OPTIONS, USERDATA_TIMED_TRANSCRIPT

logger = logging.getLogger(__name__)

_FRAME_MS = 50


@runtime_checkable
class LoadsAModel(Protocol):
    """A voice that can say so."""

    @property
    def loading(self) -> bool:
        """Whether its model is not in memory yet."""


def is_loading(voice: tts.TTS[Any]) -> bool:
    """Whether it says that its model is not in memory yet."""
    return isinstance(voice, LoadsAModel) and voice.loading


class PatienceLimited(tts.TTS[Any]):
    """Another engine, given up for good once it lets a phrase wait for too long.

    Args:
        engine: one that takes streams of text; it is closed with this object.
        first_sample_s: seconds from a phrase to its first sample.
        next_sample_s: seconds between two frames; a longer pause ends the phrase.
    """

    def __init__(
        self, engine: tts.TTS[Any], *, first_sample_s: float, next_sample_s: float = 5.0
    ) -> None:
        if not engine.capabilities.streaming:
            raise ValueError(f"{engine.label} takes no stream of text; wrap it in a StreamAdapter")
        super().__init__(
            capabilities=engine.capabilities,
            sample_rate=engine.sample_rate,
            num_channels=engine.num_channels,
        )
        self.engine = engine
        self.first_sample_s = first_sample_s
        self.next_sample_s = next_sample_s
        self._hung = False

    @property
    def hung(self) -> bool:
        """Whether it was given up."""
        return self._hung

    @property
    def model(self) -> str:
        """The engine's."""
        return self.engine.model

    @property
    def provider(self) -> str:
        """The engine's."""
        return self.engine.provider

    def prewarm(self) -> None:
        """Loads the engine's model."""
        self.engine.prewarm()

    async def aclose(self) -> None:
        """Closes the engine; safe to call twice."""
        await self.engine.aclose()

    def synthesize(
        self, text: str, *, conn_options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS
    ) -> tts.ChunkedStream:
        """Speaks a whole text."""
        return self._synthesize_with_stream(text, conn_options=conn_options)

    def stream(
        self, *, conn_options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS
    ) -> tts.SynthesizeStream:
        """Speaks a text as it comes."""
        return _Stream(self, conn_options)

    def give_up(self) -> None:
        """Speaks no more with it."""
        if not self._hung:
            self._hung = True
            logger.warning("a voice hangs, and is left for this call", extra={"tts": self.label})


class _Stream(tts.SynthesizeStream):
    def __init__(self, voice: PatienceLimited, conn_options: APIConnectOptions) -> None:
        self._voice = voice
        super().__init__(tts=voice, conn_options=conn_options)

    async def _run(self, output_emitter: tts.AudioEmitter) -> None:
        voice = self._voice
        if voice.hung:
            raise APIConnectionError("this voice has hung in this call", retryable=False)
        output_emitter.initialize(
            request_id=utils.shortuuid(),
            sample_rate=voice.sample_rate,
            num_channels=voice.num_channels,
            mime_type="audio/pcm",
            frame_size_ms=_FRAME_MS,
            stream=True,
        )
        output_emitter.start_segment(segment_id=utils.shortuuid())
        # the retries are those of this stream
        options = dataclasses.replace(self._conn_options, max_retry=0)
        async with voice.engine.stream(conn_options=options) as stream:
            asked = asyncio.Event()
            feeding = asyncio.create_task(self._feed(stream, asked), name="hung_voice.feed")
            try:
                await self._speak(stream, asked, output_emitter)
            finally:
                await utils.aio.cancel_and_wait(feeding)
        output_emitter.end_segment()

    async def _feed(self, stream: tts.SynthesizeStream, asked: asyncio.Event) -> None:
        async for data in self._input_ch:
            if isinstance(data, str):
                self._mark_started()
                stream.push_text(data)
                asked.set()
            else:
                stream.flush()
        stream.end_input()
        asked.set()

    async def _speak(
        self, stream: tts.SynthesizeStream, asked: asyncio.Event, emitter: tts.AudioEmitter
    ) -> None:
        await asked.wait()
        limit_s, spoke = self._voice.first_sample_s, False
        while True:
            try:
                async with asyncio.timeout(limit_s):
                    audio = await anext(stream, None)
            except TimeoutError:
                # one that is still being loaded has not hung: another speaks until it is there
                if not is_loading(self._voice.engine):
                    self._voice.give_up()
                raise APITimeoutError(
                    f"no {'further ' if spoke else ''}sample within {limit_s:g} s", retryable=False
                ) from None
            if audio is None:
                return
            limit_s, spoke = self._voice.next_sample_s, True
            if words := audio.frame.userdata.get(USERDATA_TIMED_TRANSCRIPT):
                emitter.push_timed_transcript(words)
            emitter.push_frame(audio.frame)
