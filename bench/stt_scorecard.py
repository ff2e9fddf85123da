"""Texts that nobody spoke, and spoken words that were lost."""

from __future__ import annotations

import re
import wave
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from livekit.agents.stt import SpeechEventType

from livekit import rtc
from livekit.plugins import faster_whisper
from tests.speech import resample, speak, to_pcm16

from . import real_parts
from .stt_sounds import wordless_sounds

SHORT_WORDS = ("yes", "no", "stop")
SHORT_PROMPTS = (
    "auth-thankyou",
    "goodbye",
    "im-sorry",
    "hello-world",
    "activated",
    "cancelled",
    "digits/day-0",
    "digits/day-2",
    "digits/day-4",
    "digits/day-6",
    "digits/today",
    "digits/tomorrow",
    "enabled",
)
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


LANGUAGES = ("en", "fr", "es", "it", "ru", "de", "ja", "zh", "auto")
KEYTERMS = ("Kowalczyk", "Zephyr Bank")


async def measure_real_scorecard(model: str) -> Scorecard:
    """Plays sounds and music on hold in eight languages and "auto", with and without keyterms.

    The detector of voice is made as easy to deceive as it can be set, since by default it lets
    nearly nothing through to the model. The short words are people's telephone prompts.
    """
    card = Scorecard()
    sounds = [
        (sound.kind, sound.level_dbfs, sound.samples)
        for sound in wordless_sounds(3.0)
        if sound.level_dbfs in (None, -30.0)
    ]
    for piece in real_parts.music_on_hold():
        music = recording(piece)
        sounds += [("music on hold", None, music[at : at + 48000]) for at in (0, 16000 * 60)]
    for language in LANGUAGES:
        for terms in ((), KEYTERMS):
            async with faster_whisper.STT(
                model=model, language=language, keyterms=terms, vad_threshold=0.05, min_speech=0.03
            ) as stt:
                for kind, level_dbfs, samples in sounds:
                    finals, interims = await _heard(stt, samples)
                    card.sounds += 1
                    card.false_finals += len(finals)
                    card.false_interims += len(interims)
                    card.invented += [
                        {"kind": kind, "level_dbfs": level_dbfs, "language": language, "text": text}
                        for text in finals
                    ]
    async with faster_whisper.STT(model=model, language="en") as stt:
        for prompt in real_parts.prompts("en"):
            if prompt.name in SHORT_PROMPTS:
                finals, _ = await _heard(stt, recording(prompt.path))
                card.short_words += 1
                card.short_words_lost += not finals
                card.short_words_wrong += bool(finals) and plain(" ".join(finals)) != plain(
                    prompt.text
                )
    return card


def recording(path: Path) -> Samples:
    """Returns a mono 16-bit WAV file at 16 kHz."""
    with wave.open(str(path)) as file:
        pcm = np.frombuffer(file.readframes(file.getnframes()), "<i2")
        return resample(pcm.astype(np.float32) / np.float32(32768), file.getframerate(), 16000)


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
