"""How alike two pieces of speech sound as voices, without a trained speaker encoder.

A stand-in: the statistics that speaker recognition began with (Reynolds and Rose 1995: cepstra of
short frames; the pitch besides), compared in the directions in which one person varies least from
sentence to sentence (within-class covariance normalisation, Hatch and others 2006). It is fitted on
recordings of people and says of itself how well it tells them apart; an encoder such as ECAPA would
tell better. Everything is heard as the telephone has it, as those recordings are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[np.float64]
Vector = npt.NDArray[np.float64]

RATE = 8_000
"""Hertz of all that is compared."""

_FRAME, _HOP, _FFT = 200, 80, 256
_FILTERS, _CEPSTRA = 26, 13
_LOWEST_HZ, _HIGHEST_HZ = 200.0, 3_400.0
_PITCH_FRAME = 320
_PITCH_HZ = (60.0, 400.0)
_VOICED = 0.5
"""Of the autocorrelation at a period, where a frame has a pitch."""
_QUIET_DB = 30.0
"""Under the loudest frame, where a frame is taken for silence."""


def describe(samples: Samples) -> Vector:
    """The voice in a piece of speech: its mean cepstra and pitch.

    Not their spreads: they tell a synthetic voice by how it stresses rather than by how it sounds.

    Args:
        samples: mono at `RATE`, some seconds.
    """
    emphasised = np.append(samples[:1], samples[1:] - 0.97 * samples[:-1])
    frames = _framed(emphasised, _FRAME)
    energy = 10 * np.log10(np.sum(_framed(samples, _FRAME) ** 2, axis=1) + 1e-9)
    frames = frames[energy > energy.max() - _QUIET_DB]
    power = np.abs(np.fft.rfft(frames * np.hamming(_FRAME), _FFT)) ** 2
    bands = np.log(power @ _mel_filters().T + 1e-9)
    # The first cepstrum is loudness, which is the room's and the microphone's.
    cepstra = bands @ _cosines().T
    pitch = np.log2(_pitches(samples))
    return np.append(cepstra.mean(axis=0), pitch.mean() if pitch.size else 0.0)


@dataclass(frozen=True)
class Likeness:
    """Distances between voices: 0 for one and the same piece, 1 for two people."""

    weights: npt.NDArray[np.float64]
    two_people: float

    @classmethod
    def fitted(cls, people: Mapping[str, Sequence[Vector]]) -> Likeness:
        """From several pieces of each of several people."""
        within = np.concatenate([np.array(p) - np.mean(p, axis=0) for p in people.values()])
        covariance = np.cov(within.T)
        # Few pieces, many directions: those that hardly varied must not decide alone.
        shrunk = 0.5 * covariance + 0.5 * np.diag(np.diag(covariance) + 1e-6)
        weights = np.linalg.cholesky(np.linalg.inv(shrunk))
        raw = cls(weights, 1.0)
        across = [
            raw.distance(a, b)
            for one, other in combinations(people.values(), 2)
            for a in one
            for b in other
        ]
        return cls(weights, float(np.mean(across)))

    def distance(self, one: Vector, other: Vector) -> float:
        """In shares of the mean distance between two people."""
        return float(np.linalg.norm((one - other) @ self.weights)) / self.two_people

    def told_apart(self, voice: Sequence[Vector], others: Sequence[Vector]) -> float:
        """How often two pieces of a voice are nearer than one of it and one of another.

        0.5 is chance, 1 always: the area under the curve of hits over false alarms.
        """
        same = [self.distance(a, b) for a, b in combinations(voice, 2)]
        other = [self.distance(a, b) for a in voice for b in others]
        return float((np.array(same)[:, None] < np.array(other)[None, :]).mean())


@dataclass(frozen=True)
class Steadiness:
    """How a voice kept to itself over the turns of a call, in `Likeness` distances."""

    mean: float
    """Between any two turns."""
    worst: float
    """Between any two turns, the largest."""
    from_the_first: float
    """Of the last third of the turns from the first third: what a voice that drifts adds."""


def steadiness(turns: Sequence[Vector], likeness: Likeness) -> Steadiness:
    """Compares each turn with each other.

    Args:
        turns: three or more, in the order in which they were said.
        likeness: compares.
    """
    pairs = [likeness.distance(a, b) for a, b in combinations(turns, 2)]
    third = len(turns) // 3
    late = [likeness.distance(a, b) for a in turns[:third] for b in turns[-third:]]
    return Steadiness(float(np.mean(pairs)), float(np.max(pairs)), float(np.mean(late)))


def _framed(samples: Samples, length: int) -> Samples:
    frames: Samples = np.lib.stride_tricks.sliding_window_view(samples, length)[::_HOP]
    return frames


def _mel_filters() -> npt.NDArray[np.float64]:
    def mel(hertz: float) -> float:
        return float(2595 * np.log10(1 + hertz / 700))

    mels = np.linspace(mel(_LOWEST_HZ), mel(_HIGHEST_HZ), _FILTERS + 2)
    corners = 700 * (10 ** (mels / 2595) - 1)
    bins = np.arange(_FFT // 2 + 1) * RATE / _FFT
    rows: list[npt.NDArray[np.float64]] = []
    for low, middle, high in zip(corners, corners[1:], corners[2:], strict=False):
        up, down = (bins - low) / (middle - low), (high - bins) / (high - middle)
        rows.append(np.clip(np.minimum(up, down), 0, None))
    return np.array(rows)


def _cosines() -> npt.NDArray[np.float64]:
    place = np.arange(_FILTERS) + 0.5
    rows: npt.NDArray[np.float64] = np.cos(
        np.pi / _FILTERS * np.outer(np.arange(1, _CEPSTRA), place)
    )
    return rows


def _pitches(samples: Samples) -> Samples:
    frames = _framed(samples, _PITCH_FRAME)
    frames = frames - frames.mean(axis=1, keepdims=True)
    spectrum = np.abs(np.fft.rfft(frames, 2 * _PITCH_FRAME)) ** 2
    likeness = np.fft.irfft(spectrum)[:, :_PITCH_FRAME]
    # A shift leaves fewer samples to compare, which alone would favour short periods.
    likeness /= (likeness[:, :1] + 1e-9) * (1 - np.arange(_PITCH_FRAME) / _PITCH_FRAME)
    shortest, longest = (int(RATE / hertz) for hertz in reversed(_PITCH_HZ))
    window = likeness[:, shortest:longest]
    loud = np.sum(frames**2, axis=1) > 1e-3 * np.sum(frames**2, axis=1).max()
    voiced = loud & (window.max(axis=1) > _VOICED)
    # Of nearly equal peaks, the first: twice the period is a peak too.
    near = window >= 0.9 * window.max(axis=1, keepdims=True)
    periods = near.argmax(axis=1)[voiced] + shortest
    # The first sample over the bar lies before its peak: climb.
    rows = likeness[voiced]
    for _ in range(20):
        following = np.minimum(periods + 1, longest - 1)
        rises = rows[np.arange(len(rows)), following] > rows[np.arange(len(rows)), periods]
        periods = np.where(rises, following, periods)
    pitches: Samples = RATE / periods.astype(np.float64)
    return pitches
