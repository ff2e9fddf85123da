"""Silence between phrases that nobody asked for: what a player would hear while a reply streams.

Tokens arrive 25 ms apart, the buffer cuts phrases, the engine speaks them, and the playout starts
with the first frame. A gap is the time from the moment when all audio has been played to the
arrival of more. The clock is the machine's, the tokens come in real time.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

from livekit.agents import tts

from agent_worker.streaming_buffer import SentenceStreamBuffer
from agent_worker.telemetry import latency

from .tts_first_phrase import TOKENS_PER_SECOND
from .tts_replies import tokens


async def gaps_ms(voice: tts.TTS[Any], replies: list[str]) -> list[float]:
    """One figure for each border between two phrases; 0 where the playout went on."""
    found: list[float] = []
    for reply in replies:
        found += await _gaps_of_reply(voice, reply)
    return found


def percentile(values: list[float], share: float) -> float:
    """The smallest value that `share` of all do not exceed."""
    return latency.percentile(values, share) if values else 0.0


async def _tokens(reply: str) -> AsyncIterator[str]:
    began = time.monotonic()
    for index, token in enumerate(tokens(reply)):
        await asyncio.sleep(max(0.0, began + index / TOKENS_PER_SECOND - time.monotonic()))
        yield token


async def _gaps_of_reply(voice: tts.TTS[Any], reply: str) -> list[float]:
    played_until: float | None = None
    found: list[float] = []
    phrases: asyncio.Queue[str | None] = asyncio.Queue()

    async def write() -> None:
        async for phrase in SentenceStreamBuffer().stream_with_sentences(_tokens(reply)):
            phrases.put_nowait(phrase)
        phrases.put_nowait(None)

    writing = asyncio.create_task(write())
    try:
        while (phrase := await phrases.get()) is not None:
            late = 0.0
            async with voice.synthesize(phrase) as stream:
                async for event in stream:
                    now = time.monotonic()
                    if played_until is None:
                        played_until, late = now, -1.0
                    elif now > played_until and late >= 0:
                        late += (now - played_until) * 1000
                    played_until = max(played_until, now) + event.frame.duration
            if late >= 0:
                found.append(late)
    finally:
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)
    return found
