"""Other throats from stored features: the mel axis warped (Jaitly and Hinton 2013).

A shorter vocal tract has all its resonances higher by about one factor. Moving the mel bands by
that factor makes a child or a giant of any speaker, for the price of an interpolation.
"""

from __future__ import annotations

import math
import random
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from models.training.clips import Features

SHORTEST, LONGEST = 1.30, 0.78
"""Factors on the frequencies, of the shortest throat and the longest."""
BANDS = 80

_HIGHEST_HZ = 8000.0
_KNOTS_HZ = np.array([0.0, 600.0, 1300.0, 2300.0, 3600.0])
_LINEAR_UNTIL_HZ = 1000.0
_HZ_PER_MEL = 200 / 3
_MELS_PER_NEPER = 27 / math.log(6.4)

Factors = tuple[float, ...]


def mel_of(hertz: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    """Frequency on the scale of Whisper's features: linear to 1 kHz, then logarithmic (Slaney)."""
    above = np.log(np.maximum(hertz, _LINEAR_UNTIL_HZ) / _LINEAR_UNTIL_HZ) * _MELS_PER_NEPER
    mel: npt.NDArray[np.floating] = np.minimum(hertz, _LINEAR_UNTIL_HZ) / _HZ_PER_MEL + above
    return mel


@lru_cache(maxsize=1)
def centres() -> npt.NDArray[np.floating]:
    """The middle of each mel band in hertz."""
    top = float(mel_of(np.array([_HIGHEST_HZ]))[0])
    hertz = np.linspace(0, _HIGHEST_HZ, 16_001)
    return np.interp(np.linspace(0, top, BANDS + 2)[1:-1], mel_of(hertz), hertz)


def sample_warp(rng: random.Random) -> Factors:
    """A factor for each of five frequencies: one throat, whose parts are not all of one scale."""
    throat = math.exp(rng.uniform(math.log(LONGEST), math.log(SHORTEST)))
    stray = 0.1 if rng.random() < 0.5 else 0.0
    return tuple(throat * (1 + rng.uniform(-stray, stray)) for _ in _KNOTS_HZ)


def warped(features: Features, factors: Factors) -> Features:
    """``[frames, 80]`` with what was at a frequency now at it times its factor.

    The factors hold at 0, 600, 1300, 2300 and 3600 Hz, before the warp, with those between
    interpolated; from there the axis runs straight to 8 kHz, which stays.
    """
    before = np.append(_KNOTS_HZ, _HIGHEST_HZ)
    after = np.append(_KNOTS_HZ * factors, _HIGHEST_HZ)
    source = np.interp(centres(), after, before)
    band = np.clip(np.interp(source, centres(), np.arange(BANDS)), 0, BANDS - 1)
    low = np.minimum(band.astype(int), BANDS - 2)
    share = (band - low).astype(np.float32)
    moved: Features = features[:, low] * (1 - share) + features[:, low + 1] * share
    return moved
