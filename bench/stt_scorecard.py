"""Texts that nobody spoke, and spoken words that were lost."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from livekit.agents.stt import SpeechEventType

from livekit import rtc
from livekit.plugins import faster_whisper
from tests.speech import speak, to_pcm16

from .stt_sounds import wordless_sounds

SHORT_WORDS = ("yes", "no", "stop")
VOICES = ("en-us", "en-us+f3", "en-us+m4", "en-us+klatt2", "en-us+m7", "en-us+f4")

Samples = npt.NDArray[np.float32]


@dataclass
class Scorecard:
    """What was heard in sounds without words, and in short words."""

    sounds: int = 0
    false_finals: int = 0
    false_interims: int = 0
    invented: list[dict[str, Any]] = field(default_factory=list)
    short_words: int = 0
    short_words_lost: int = 0
    short_words_wrong: int = 0

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return dict(vars(self))


def plain(text: str) -> str:
    """Returns the words without letter case and marks."""
    return " ".join(re.sub(r"[^\w']+", " ", text.lower()).split())


def frames(samples: Samples, frame_ms: int = 20) -> list[rtc.AudioFrame]:
    """Cuts 16 kHz audio into frames; the last is filled up with silence."""
    return pcm_frames(to_pcm16(samples), frame_ms)


def pcm_frames(pcm: bytes, frame_ms: int = 20) -> list[rtc.AudioFrame]:
    """Cuts 16-bit audio at 16 kHz into frames; the last is filled up with silence."""
    size = 32 * frame_ms
    return [
        rtc.AudioFrame(
            data=pcm[start : start + size].ljust(size, b"\0"),
            sample_rate=16000,
            num_channels=1,
            samples_per_channel=size // 2,
        )
        for start in range(0, len(pcm), size)
    ]


async def _heard(stt: faster_whisper.STT, samples: Samples) -> tuple[list[str], list[str]]:
    """Returns the texts of finals and of interims."""
    finals, interims = [], []
    silence = np.zeros(16000, np.float32)
    async with stt.stream() as stream:
        for frame in frames(np.concatenate([silence[:4800], samples, silence])):
            stream.push_frame(frame)
        stream.end_input()
        async for event in stream:
            if event.type is SpeechEventType.FINAL_TRANSCRIPT and event.alternatives[0].text:
                finals.append(event.alternatives[0].text)
            if event.type is SpeechEventType.INTERIM_TRANSCRIPT and event.alternatives[0].text:
                interims.append(event.alternatives[0].text)
    return finals, interims


async def measure_scorecard(model: str) -> Scorecard:
    """Plays each sound and each short word in each voice, as fast as it can be heard."""
    card = Scorecard()
    async with faster_whisper.STT(model=model, language="en") as stt:
        for sound in wordless_sounds():
            finals, interims = await _heard(stt, sound.samples)
            card.sounds += 1
            card.false_finals += len(finals)
            card.false_interims += len(interims)
            card.invented += [
                {"kind": sound.kind, "level_dbfs": sound.level_dbfs, "text": text}
                for text in finals
            ]
        for word in SHORT_WORDS:
            for voice in VOICES:
                finals, _ = await _heard(stt, speak(word, voice))
                card.short_words += 1
                card.short_words_lost += not finals
                card.short_words_wrong += bool(finals) and plain(" ".join(finals)) != word
    return card
