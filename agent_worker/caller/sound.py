"""Sound of a simulated call: its rate, what counts as a voice, a recording of one side."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

SAMPLE_RATE = 24_000
"""Hertz, of the microphone, the received audio and the recordings."""

AUDIBLE_RMS = 80.0
"""Of int16 samples, about -52 dBFS: far above what the codec leaves of silence, below any voice."""

Pcm = npt.NDArray[np.int16]


def is_audible(samples: Pcm) -> bool:
    """Whether there is a voice in a piece of sound."""
    if not len(samples):
        return False
    return float(np.sqrt(np.mean(np.square(samples.astype(np.float64))))) >= AUDIBLE_RMS


class Recording:
    """Samples laid on the call's own time line, so that both sides can be heard together."""

    def __init__(self) -> None:
        self._parts: list[Pcm] = []
        self._length = 0

    def add(self, samples: Pcm, at_s: float) -> None:
        """Takes sound that ended `at_s` seconds into the call."""
        gap = int(at_s * SAMPLE_RATE) - self._length - len(samples)
        # below 100 ms it is jitter of the arrival, not a hole
        if gap > SAMPLE_RATE // 10:
            self._parts.append(np.zeros(gap, np.int16))
            self._length += gap
        self._parts.append(samples.copy())
        self._length += len(samples)

    def samples(self) -> Pcm:
        """All of it, from the call's beginning."""
        return np.concatenate(self._parts) if self._parts else np.zeros(0, np.int16)
