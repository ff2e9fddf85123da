"""Sounds in which nobody says a word, to see whether a recogniser invents some."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .telephone import through_line

Samples = npt.NDArray[np.float32]

SAMPLE_RATE = 16000
LEVELS_DBFS = (-45.0, -30.0, -15.0)


@dataclass(frozen=True)
class Sound:
    """One wordless clip."""

    kind: str
    level_dbfs: float | None
    """Root mean square; None is digital silence."""
    samples: Samples
    """Mono, 16 kHz, in [-1, 1]."""


def _white(count: int, rng: np.random.Generator) -> Samples:
    return rng.standard_normal(count).astype(np.float32)


def _brown(count: int, rng: np.random.Generator) -> Samples:
    walk = np.cumsum(rng.standard_normal(count))
    smooth = np.convolve(walk, np.ones(SAMPLE_RATE // 4) / (SAMPLE_RATE // 4), "same")
    return (walk - smooth).astype(np.float32)


def _hum(count: int, rng: np.random.Generator) -> Samples:
    t = np.arange(count) / SAMPLE_RATE
    harmonics = ((1, 1.0), (2, 0.5), (3, 0.3), (5, 0.15))
    out = np.zeros(count, np.float32)
    for k, amplitude in harmonics:
        out += (amplitude * np.sin(2 * np.pi * 50 * k * t)).astype(np.float32)
    return out


def _clicks(count: int, rng: np.random.Generator) -> Samples:
    out = np.zeros(count, np.float32)
    decay = np.exp(-np.arange(160) / 20).astype(np.float32)
    for start in rng.integers(0, count - 160, size=max(1, count // 4000)):
        out[start : start + 160] += decay * rng.standard_normal(160).astype(np.float32)
    return out


def _music(count: int, rng: np.random.Generator) -> Samples:
    t = np.arange(count) / SAMPLE_RATE
    out = np.zeros(count, np.float32)
    beat = SAMPLE_RATE // 3
    for start in range(0, count, beat):
        root = 220 * 2 ** (int(rng.integers(0, 12)) / 12)
        span = t[start : start + beat]
        fade = np.exp(-(span - span[0]) * 4)
        for ratio in (1.0, 1.26, 1.5):
            tone = sum(np.sin(2 * np.pi * root * ratio * h * span) / h for h in (1, 2, 3))
            out[start : start + beat] += (fade * tone).astype(np.float32)
    return out


def _breath(count: int, rng: np.random.Generator) -> Samples:
    noise = _white(count, rng)
    # A mouth lets roughly 300 to 2500 Hz through.
    spectrum = np.fft.rfft(noise)
    hertz = np.fft.rfftfreq(count, 1 / SAMPLE_RATE)
    spectrum *= np.exp(-(((hertz - 1200) / 900) ** 2))
    shaped = np.fft.irfft(spectrum, count)
    t = np.arange(count) / SAMPLE_RATE
    swell = np.clip(np.sin(2 * np.pi * t / 1.6), 0, None) ** 2
    return np.asarray(shaped * swell, np.float32)


def _cadence(*tones_hz: float, on_off_s: tuple[float, ...]) -> Callable[..., Samples]:
    """Makes a signalling tone; every second of the times is silence."""

    def make(count: int, rng: np.random.Generator) -> Samples:
        t = np.arange(count) / SAMPLE_RATE
        edges = np.cumsum([0.0, *on_off_s])
        place = np.searchsorted(edges, t % edges[-1], side="right") - 1
        tone = sum(np.sin(2 * np.pi * hz * t) for hz in tones_hz)
        return np.asarray(np.where(place % 2 == 0, tone, 0.0), np.float32)

    return make


def _information_tones(count: int, rng: np.random.Generator) -> Samples:
    """The three rising tones before "the number you have dialled" (ITU-T E.180)."""
    t = np.arange(count) / SAMPLE_RATE
    hertz = np.select([t % 2 < 0.33, t % 2 < 0.66, t % 2 < 0.99], [950.0, 1400.0, 1800.0], 0.0)
    return np.sin(2 * np.pi * np.cumsum(hertz) / SAMPLE_RATE).astype(np.float32)


def _keys(count: int, rng: np.random.Generator) -> Samples:
    """Digits pressed on a telephone, 80 ms each."""
    out = np.zeros(count, np.float32)
    t = np.arange(SAMPLE_RATE * 80 // 1000) / SAMPLE_RATE
    for start in range(0, count - len(t), SAMPLE_RATE // 4):
        low = rng.choice([697, 770, 852, 941])
        high = rng.choice([1209, 1336, 1477])
        pressed = np.sin(2 * np.pi * low * t) + np.sin(2 * np.pi * high * t)
        out[start : start + len(t)] = pressed.astype(np.float32)
    return out


def _comfort_noise(count: int, rng: np.random.Generator) -> Samples:
    """What a telephone puts in the place of silence (RFC 3389): dull noise at 8 kHz, coded."""
    spectrum = np.fft.rfft(_white(count, rng))
    hertz = np.fft.rfftfreq(count, 1 / SAMPLE_RATE)
    noise = np.fft.irfft(spectrum / (1 + (hertz / 600) ** 2), count).astype(np.float32)
    return through_line(noise * np.float32(0.05 / np.abs(noise).max()))


def _crackling(count: int, rng: np.random.Generator) -> Samples:
    """A hum that comes through in packets, as on a line that loses a third of them."""
    return through_line(0.3 * _hum(count, rng), lost=0.33)


_KINDS: dict[str, Callable[[int, np.random.Generator], Samples]] = {
    "white noise": _white,
    "brown noise": _brown,
    "50 Hz hum": _hum,
    "clicks": _clicks,
    "music": _music,
    "breath": _breath,
    "ringing, Europe": _cadence(425, on_off_s=(1.0, 1.5)),
    "ringing, North America": _cadence(440, 480, on_off_s=(2.0, 1.0)),
    "ringing, Britain": _cadence(400, 450, on_off_s=(0.4, 0.2, 0.4, 2.0)),
    "engaged": _cadence(480, 620, on_off_s=(0.5, 0.5)),
    "information tones": _information_tones,
    "keys": _keys,
    "comfort noise": _comfort_noise,
    "crackling": _crackling,
}


def wordless_sounds(duration_s: float = 4.0, seed: int = 7) -> Iterator[Sound]:
    """Yields silence once and each other kind at three levels, the same on every call."""
    count = int(duration_s * SAMPLE_RATE)
    yield Sound("silence", None, np.zeros(count, np.float32))
    for kind, make in _KINDS.items():
        for level in LEVELS_DBFS:
            samples = make(count, np.random.default_rng(seed))
            rms = float(np.sqrt(np.mean(samples**2)))
            scaled = samples * np.float32(10 ** (level / 20) / rms)
            yield Sound(kind, level, np.clip(scaled, -1, 1).astype(np.float32))
