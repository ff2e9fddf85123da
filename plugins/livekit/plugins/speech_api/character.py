"""Who speaks in Higgs Audio, and what was last heard of them: both are turns of a chat."""

from __future__ import annotations

import base64
import io
import wave
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

FIRST_SPEAKER = "SPEAKER0"
"""The tag of whoever speaks where there is one speaker."""

SAMPLE_RATE = 24000
"""Hertz, of all versions so far."""


@dataclass(frozen=True)
class Character:
    """Who speaks, and where. A change of any of it is a change of the character."""

    name: str = ""
    scene: str = ""
    """Where it is recorded and in what mood: "A quiet room. She is in a hurry." """
    speakers: Mapping[str, str] = field(default_factory=dict)
    """What each sounds like, by tag: {"SPEAKER0": "a calm man of sixty"}."""
    speaker: str = ""
    """The tag put before each piece, for scenes with several speakers."""
    ref_audio: str = field(default="", repr=False)
    """Base64 of a WAV."""
    ref_text: str = field(default="", repr=False)

    def messages(self) -> list[dict[str, Any]]:
        """The turns that set the character."""
        lines = [self.scene, *(f"{tag}: {sound}" for tag, sound in self.speakers.items())]
        told = "\n\n".join(filter(None, [lines[0], "\n".join(lines[1:])]))
        system = "Generate audio following instruction."
        if told:
            system += f"\n\n<|scene_desc_start|>\n{told}\n<|scene_desc_end|>"
        turns: list[dict[str, Any]] = [{"role": "system", "content": system}]
        if self.ref_audio:
            turns += _pair(self.tagged(self.ref_text), self.ref_audio)
        return turns

    def tagged(self, text: str) -> str:
        """The text with the speaker's tag, unless it names its speaker itself."""
        if not self.speaker or text.lstrip().startswith("[SPEAKER"):
            return text
        return f"[{self.speaker}] {text}"


class VoiceMemory:
    """The last pieces that were spoken, which the next one is to sound like.

    Args:
        pieces: How many are kept; 0 keeps none.
    """

    def __init__(self, pieces: int) -> None:
        self._pieces: deque[tuple[str, str]] = deque(maxlen=pieces)
        self.epoch = 0
        """Grows with each `clear()`: what was begun before it must not be added after it."""

    def add(self, text: str, audio: bytes, epoch: int) -> None:
        """Keeps a piece (16-bit mono at 24 kHz), unless the memory was cleared since it began."""
        if epoch == self.epoch and self._pieces.maxlen:
            self._pieces.append((text, base64.b64encode(_as_wav(audio)).decode()))

    def clear(self) -> None:
        """Forgets everything."""
        self._pieces.clear()
        self.epoch += 1

    def messages(self) -> list[dict[str, Any]]:
        """The pieces as turns, the oldest first."""
        return [turn for text, audio in self._pieces for turn in _pair(text, audio)]

    def __len__(self) -> int:
        return len(self._pieces)


def _pair(text: str, audio: str) -> list[dict[str, Any]]:
    sound = {"type": "input_audio", "input_audio": {"data": audio, "format": "wav"}}
    return [{"role": "user", "content": text}, {"role": "assistant", "content": [sound]}]


def _as_wav(samples: bytes) -> bytes:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes(samples)
    return buffer.getvalue()
