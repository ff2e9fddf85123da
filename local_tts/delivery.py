"""How speech is handed to LiveKit, and when a part of it is tried again: alike for every voice."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from livekit.agents import APIConnectOptions, APIError, tts

from .livekit_private import pause_before_retry_s

FRAME_BYTES = 4096
"""Of PCM in one frame, at most: 85 ms at 24,000 Hz, 128 ms at 16,000."""
_LONGEST_FRAME_MS = 93

_SILENCE_MS = 20


def frame_size_ms(sample_rate: int) -> int:
    """The longest frame that is at most 4 KB and at most 93 ms.

    Args:
        sample_rate: Hertz, of 16-bit mono.
    """
    return max(1, min(_LONGEST_FRAME_MS, FRAME_BYTES // 2 * 1000 // sample_rate))


def silence(sample_rate: int) -> bytes:
    """Stands for text in which nothing can be spoken: without any audio LiveKit takes it for an
    error and the turn never ends."""
    return bytes(sample_rate * _SILENCE_MS // 1000 * 2)


def initialize(
    emitter: tts.AudioEmitter, *, request_id: str, sample_rate: int, stream: bool
) -> None:
    """Readies LiveKit's emitter for signed 16 bit, mono, in frames of 4 KB at most."""
    emitter.initialize(
        request_id=request_id,
        sample_rate=sample_rate,
        num_channels=1,
        mime_type="audio/pcm",
        frame_size_ms=frame_size_ms(sample_rate),
        stream=stream,
    )


async def try_again(
    error: APIError,
    attempt: int,
    conn_options: APIConnectOptions,
    *,
    heard_before: bool,
    heard_of_it: bool,
    logger: logging.Logger,
) -> None:
    """Waits before a piece of speech is made once more, or raises its error.

    LiveKit itself tries a stream again as long as nothing was heard of it. After that only a piece
    of which nothing was heard can be made again without saying something twice.

    Args:
        error: Why the piece failed.
        attempt: How often it was tried before, from 0.
        conn_options: The stream's.
        heard_before: Whether something was heard of the stream before this piece.
        heard_of_it: Whether something was heard of the piece.
        logger: The plugin's.

    Raises:
        APIError: The piece is not to be tried again.
    """
    if not (
        error.retryable and heard_before and not heard_of_it and attempt < conn_options.max_retry
    ):
        raise error
    logger.warning("a later piece of the speech failed, trying again: %s", error)
    await asyncio.sleep(pause_before_retry_s(conn_options, attempt))


async def speak_piece(
    speak: Callable[[], Awaitable[None]],
    conn_options: APIConnectOptions,
    *,
    heard: Callable[[], int],
    logger: logging.Logger,
) -> None:
    """Speaks a piece, and once more as far as `try_again` allows.

    Args:
        speak: Makes the piece and hands it on.
        conn_options: The stream's.
        heard: How much was heard of the stream so far, in any unit.
        logger: The plugin's.

    Raises:
        APIError: The piece failed, and is not to be tried again.
    """
    before = heard()
    for attempt in range(conn_options.max_retry + 1):
        try:
            await speak()
            return
        except APIError as error:
            await try_again(
                error,
                attempt,
                conn_options,
                heard_before=before > 0,
                heard_of_it=heard() > before,
                logger=logger,
            )
