"""The two ways of speaking that LiveKit knows: a whole text, and text as it is written."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass

from local_tts.delivery import Chunk
from local_tts.streams import ChunkedStream, OneAfterTheOther, SynthesizeStream
from local_tts.text import encodable

from .engine import SAMPLE_RATE, Engine, SpeechOptions
from .speech import speak, split_long

__all__ = ["ChunkedStream", "KokoroDelivery", "SynthesizeStream"]


@dataclass(frozen=True)
class KokoroDelivery(OneAfterTheOther):
    """With what a stream speaks; taken when it is opened."""

    engine: Engine
    options: SpeechOptions
    sample_rate: int = SAMPLE_RATE
    """Hertz."""
    name: str = "kokoro"

    def clean(self, text: str) -> str:
        """Replaces what the phonemizer's C interface refuses."""
        return encodable(text.replace("\0", " "))

    def split_long(self, text: str) -> list[str]:
        """Cuts a text into pieces that are aligned in a short time."""
        return split_long(text)

    def speak(self, text: str, *, timeout_s: float) -> AsyncGenerator[Chunk, None]:
        """Speaks a piece; see `speech.speak`."""
        return speak(self.engine, text, self.options, timeout_s=timeout_s)
