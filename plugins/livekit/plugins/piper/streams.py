"""The two ways of speaking that LiveKit knows: a whole text, and text as it is written."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass

from local_tts.delivery import Chunk
from local_tts.streams import ChunkedStream, OneAfterTheOther, SynthesizeStream

from .engine import Engine, SpeechOptions
from .speech import speak, speakable, split_long

__all__ = ["ChunkedStream", "PiperDelivery", "SynthesizeStream"]


@dataclass(frozen=True)
class PiperDelivery(OneAfterTheOther):
    """With what a stream speaks; taken when it is opened."""

    engine: Engine
    options: SpeechOptions
    sample_rate: int
    """Hertz."""
    name: str = "piper"

    def clean(self, text: str) -> str:
        """Replaces what the phonemizer refuses."""
        return speakable(text)

    def split_long(self, text: str) -> list[str]:
        """Cuts a text into pieces that the encoder takes in a short time."""
        return split_long(text)

    def speak(self, text: str, *, timeout_s: float) -> AsyncGenerator[Chunk, None]:
        """Speaks a piece; see `speech.speak`."""
        return speak(
            self.engine, text, self.options, sample_rate=self.sample_rate, timeout_s=timeout_s
        )
