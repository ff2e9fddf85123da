"""Writes recordings."""

from __future__ import annotations

import contextlib
import wave
from pathlib import Path

import numpy as np
import numpy.typing as npt


def write_wav(path: Path, samples: npt.NDArray[np.int16], sample_rate: int) -> None:
    """Writes mono 16-bit PCM.

    Args:
        samples: one dimension.
        sample_rate: Hertz.
    """
    with contextlib.closing(wave.open(str(path), "wb")) as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(sample_rate)
        file.writeframes(samples.tobytes())
