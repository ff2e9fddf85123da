"""How speech is handed to LiveKit, and when a part of it is tried again: alike for every voice."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from livekit.agents import APIConnectOptions, APIError, tts
from livekit.agents.types import TimedString
from livekit.agents.utils import shortuuid

from .livekit_private import pause_before_retry_s

logger = logging.getLogger("livekit.plugins.local_tts")

FRAME_BYTES = 4096
"""Of PCM in one frame, at most: 85 ms at 24,000 Hz, 128 ms at 16,000."""
_LONGEST_FRAME_MS = 93

_SILENCE_MS = 20


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


def frame_size_ms(sample_rate: int) -> int:
    """The longest frame that is at most 4 KB and at most 93 ms.

    Args:
        sample_rate: Hertz, of 16-bit mono.
    """
    return max(1, min(_LONGEST_FRAME_MS, FRAME_BYTES // 2 * 1000 // sample_rate))


class Outlet:
    """The way of one attempt of a stream to LiveKit's emitter.

    Args:
        emitter: LiveKit's, not initialised yet.
        conn_options: Of the stream. LiveKit tries a stream again as long as nothing was heard of
            it; the outlet has the retries after that.
        sample_rate: Hertz.
        name: Of the engine; begins the request id.
        streamed: Whether the text is still being written.
        on_request: Called each time that the engine is asked for something.
    """

    def __init__(
        self,
        emitter: tts.AudioEmitter,
        conn_options: APIConnectOptions,
        *,
        sample_rate: int,
        name: str,
        streamed: bool,
        on_request: Callable[[], None] = lambda: None,
    ) -> None:
        self.request_id = shortuuid(f"{name}_")
        """Of the stream, for whoever passes it on."""
        self.timeout_s = conn_options.timeout
        """To the first audio of a piece, and from any audio to the next."""
        self.on_request = on_request
        self.samples = 0
        """Heard of it so far."""
        self.asked = False
        """Whether there was anything to say."""
        self.input_tokens = 0
        self.output_tokens = 0
        self._emitter = emitter
        self._conn_options = conn_options
        self._sample_rate = sample_rate
        self._segment_begun = not streamed
        self._piece_at_s = 0.0
        emitter.initialize(
            request_id=self.request_id,
            sample_rate=sample_rate,
            num_channels=1,
            mime_type="audio/pcm",
            frame_size_ms=frame_size_ms(sample_rate),
            stream=streamed,
        )

    async def say_piece(self, speak: Callable[[], Awaitable[None]]) -> None:
        """Speaks a piece, and again if it failed: one of which nothing was heard, after others
        of which something was. More would say something twice, or is LiveKit's to try.

        Args:
            speak: Makes the piece and pushes it.

        Raises:
            APIError: The piece failed, and is not to be tried again.
        """
        self.asked = True
        before = self.samples
        self._piece_at_s = before / self._sample_rate
        for attempt in range(self._conn_options.max_retry + 1):
            try:
                await speak()
                return
            except APIError as error:
                last = attempt == self._conn_options.max_retry
                if last or not error.retryable or not before or self.samples > before:
                    raise
                logger.warning("a later piece of the speech failed, trying again: %s", error)
                await asyncio.sleep(pause_before_retry_s(self._conn_options, attempt))

    def push(self, chunk: Chunk) -> None:
        """Hands over audio and words; their times count from the beginning of the piece."""
        if not self._segment_begun:
            self._segment_begun = True
            self._emitter.start_segment(segment_id=shortuuid("segment_"))
        for word in chunk.words:
            start, end = self._piece_at_s + word.start, self._piece_at_s + word.end
            self._emitter.push_timed_transcript(
                TimedString(word.text, start_time=start, end_time=end)
            )
        if chunk.pcm:
            self._emitter.push(chunk.pcm)
            self.samples += len(chunk.pcm) // 2

    def flush(self) -> None:
        """Lets the held-back tail of a sound go: the next one may be seconds away."""
        if self.samples:
            self._emitter.flush()

    def finish(self) -> None:
        """After the last piece. Text in which nothing can be spoken is a short silence: without
        any audio LiveKit takes it for an error, and the turn never ends. Where nothing was to be
        said, nothing sounds."""
        if self.asked and not self.samples:
            self.push(Chunk(bytes(self._sample_rate * _SILENCE_MS // 1000 * 2)))
