"""Which recordings of people are played, and their sound."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from . import real_parts

LANGUAGES = ("en", "es", "fr", "it", "ru")
_SHORTEST_S, _LONGEST_S = 0.4, 15.0


@dataclass(frozen=True, slots=True, eq=False)
class Clip:
    """One recording."""

    name: str
    language: str
    text: str
    samples: npt.NDArray[np.float32]
    """Mono at 16 kHz."""

    @property
    def seconds(self) -> float:
        """How long it is."""
        return len(self.samples) / 16000


def choose_clips(english: int, others: int, *, seed: int = 1) -> list[Clip]:
    """Returns so many recordings, the same each time, the languages mixed."""
    rng = random.Random(seed)
    chosen: list[Clip] = []
    for language in LANGUAGES:
        recordings = [r for r in real_parts.prompts(language) if "silence" not in r.name]
        rng.shuffle(recordings)
        wanted = english if language == "en" else others
        found: list[Clip] = []
        for recording in recordings:
            if len(found) == wanted:
                break
            clip = load(recording)
            if _SHORTEST_S <= clip.seconds <= _LONGEST_S:
                found.append(clip)
        chosen += found
    rng.shuffle(chosen)
    return chosen


def load(recording: real_parts.Recording) -> Clip:
    """Reads a recording."""
    return Clip(recording.name, recording.language, recording.text, sound(recording.path))


def sound(path: Path) -> npt.NDArray[np.float32]:
    """Reads a WAV as mono at 16 kHz."""
    from faster_whisper.audio import decode_audio

    samples: Any = decode_audio(str(path), sampling_rate=16000)
    return np.asarray(samples, np.float32)
