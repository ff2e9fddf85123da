"""The two ways of speaking that LiveKit knows: a whole text, and text as it is written."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from livekit.agents import APIError

from local_tts.delivery import Chunk
from local_tts.streams import ChunkedStream, OneAfterTheOther, SynthesizeStream
from local_tts.text import cut_long, encodable, is_speakable

if TYPE_CHECKING:
    from .engine import Engine
    from .tts import VoiceOptions

__all__ = ["SAMPLE_RATE", "ChunkedStream", "SynthesizeStream", "XttsDelivery"]

SAMPLE_RATE = 24000
"""Hertz."""


@dataclass(frozen=True)
class XttsDelivery(OneAfterTheOther):
    """With what a stream speaks; taken when it is opened."""

    engine: Engine
    options: VoiceOptions
    sample_rate: int = SAMPLE_RATE
    """Hertz."""
    name: str = "xtts"

    def clean(self, text: str) -> str:
        """Replaces what cannot be encoded."""
        return encodable(text)

    def split_long(self, text: str) -> list[str]:
        """Cuts a text into sentences that the model can take; what has no sound is passed over."""
        parts = cut_long(text, self.options.max_characters)
        return [part.strip() for part in parts if is_speakable(part)]

    async def speak(self, text: str, *, timeout_s: float) -> AsyncGenerator[Chunk, None]:
        """Speaks a sentence; see `Engine.speak`."""
        sounded = False
        speech = self.engine.speak(self.options.message(text), timeout_s=timeout_s)
        async with aclosing(speech):
            async for samples in speech:
                sounded = True
                yield Chunk(samples)
        if not sounded:
            raise APIError("XTTS made no sound of the text")
