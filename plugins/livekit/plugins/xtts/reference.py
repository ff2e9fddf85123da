"""The recording of a voice that is to be cloned."""

from __future__ import annotations

import hashlib
import wave
from dataclasses import dataclass
from pathlib import Path

import numpy as np

MIN_SECONDS = 6.0
MAX_SECONDS = 30.0
MIN_SAMPLE_RATE = 16000
"""Hertz. The model listens at 22,050; a telephone's recording makes a telephone's voice."""

_ADVICE = "give 6 to 30 s of one clear voice as a 16-bit PCM WAV"


class ReferenceVoiceError(ValueError):
    """The recording is of no use for cloning."""


@dataclass(frozen=True)
class Recording:
    """A recording that was checked."""

    path: Path
    sha256: str
    """Of the file, by which the process remembers what it heard in it."""
    seconds: float


def check_recording(path: Path) -> Recording:
    """Reads a recording and sees whether a voice can be cloned from it.

    Raises:
        ReferenceVoiceError: It is missing, no PCM WAV, too short, too long, too poor or silent.
    """
    try:
        content = path.read_bytes()
    except OSError as e:
        raise ReferenceVoiceError(f"reference recording {path}: {e.strerror}") from e
    try:
        with wave.open(str(path), "rb") as file:
            rate, frames, width = file.getframerate(), file.getnframes(), file.getsampwidth()
            # A header may claim more than there is.
            data = file.readframes(min(frames, int(rate * (MAX_SECONDS + 1))))
            present = len(data) / (width * file.getnchannels() * rate)
    except (wave.Error, EOFError, ZeroDivisionError) as e:
        raise ReferenceVoiceError(f"{path} is no PCM WAV ({e}); {_ADVICE}") from e
    if not MIN_SECONDS <= present <= MAX_SECONDS:
        length = f"{present:.1f} s" if present <= MAX_SECONDS else f"over {MAX_SECONDS:g} s"
        raise ReferenceVoiceError(f"{path} is {length} long; {_ADVICE}")
    if rate < MIN_SAMPLE_RATE:
        raise ReferenceVoiceError(
            f"{path} has {rate} Hz; a voice needs {MIN_SAMPLE_RATE} Hz or more; {_ADVICE}"
        )
    # The constant byte of silence is 0, or 128 with 8 bits: no difference is no sound.
    if np.ptp(np.frombuffer(data, np.uint8)) == 0:
        raise ReferenceVoiceError(f"{path} is silent; {_ADVICE}")
    return Recording(path.resolve(), hashlib.sha256(content).hexdigest(), present)
