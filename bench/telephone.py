"""What a telephone line does to speech: G.711, lost packets, quiet and clipped voices. Plain numpy.

Everything takes and gives mono float32 at 16 kHz in [-1, 1], as the recogniser hears it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from tests.speech import resample

Samples = npt.NDArray[np.float32]
Codes = npt.NDArray[np.uint8]
Pcm = npt.NDArray[np.int16]

SAMPLE_RATE = 16000
LINE_RATE = 8000
_PACKET_MS = 20
_PASS_BAND_HZ = (300.0, 3400.0)
_MU_BIAS = 33
_MU_LIMIT = 8158


def mu_law(pcm: Pcm) -> Codes:
    """Returns G.711 µ-law codes of 16-bit samples, of which the upper 14 bits count."""
    value = pcm.astype(np.int32) >> 2
    sign = np.where(value < 0, 0x80, 0)
    magnitude = np.minimum(np.where(value < 0, ~value, value), _MU_LIMIT) + _MU_BIAS
    segment = np.floor(np.log2(magnitude)).astype(np.int32) - 5
    step = (magnitude >> (segment + 1)) & 0x0F
    return np.asarray(~(sign | (segment << 4) | step) & 0xFF, np.uint8)


def from_mu_law(codes: Codes) -> Pcm:
    """Returns the 16-bit samples that µ-law codes stand for."""
    code = ~codes.astype(np.int32) & 0xFF
    segment, step = (code >> 4) & 0x07, code & 0x0F
    magnitude = ((2 * step + _MU_BIAS) << segment) - _MU_BIAS
    return (np.where(code & 0x80, -magnitude, magnitude) * 4).astype(np.int16)


def a_law(pcm: Pcm) -> Codes:
    """Returns G.711 A-law codes of 16-bit samples, of which the upper 13 bits count."""
    value = pcm.astype(np.int32) >> 3
    sign = np.where(value < 0, 0, 0x80)
    magnitude = np.where(value < 0, ~value, value)
    segment = np.maximum(np.floor(np.log2(np.maximum(magnitude, 1))).astype(np.int32) - 4, 0)
    step = (magnitude >> np.maximum(segment, 1)) & 0x0F
    return np.asarray((sign | (segment << 4) | step) ^ 0x55, np.uint8)


def from_a_law(codes: Codes) -> Pcm:
    """Returns the 16-bit samples that A-law codes stand for."""
    code = codes.astype(np.int32) ^ 0x55
    segment, step = (code >> 4) & 0x07, code & 0x0F
    magnitude = np.where(segment == 0, 2 * step + 1, (2 * step + 33) << np.maximum(segment - 1, 0))
    return (np.where(code & 0x80, magnitude, -magnitude) * 8).astype(np.int16)


def through_line(
    samples: Samples, *, law: str = "mu", lost: float = 0.0, seed: int = 1, ways: int = 1
) -> Samples:
    """Sends speech through a telephone line.

    Args:
        samples: Mono at 16 kHz.
        law: "mu" (North America, Japan) or "a" (elsewhere).
        lost: Share of the packets of 20 ms that never come; nothing conceals them.
        seed: Of the losses.
        ways: How often it is coded and decoded, as between two exchanges.
    """
    pcm = _to_pcm(resample(_band_passed(samples), SAMPLE_RATE, LINE_RATE))
    for _ in range(ways):
        pcm = from_mu_law(mu_law(pcm)) if law == "mu" else from_a_law(a_law(pcm))
    size = LINE_RATE * _PACKET_MS // 1000
    gone = np.random.default_rng(seed).random(-(-len(pcm) // size)) < lost
    heard = np.where(np.repeat(gone, size)[: len(pcm)], 0, pcm).astype(np.float32) / 32768
    return _fitted(resample(heard.astype(np.float32), LINE_RATE, SAMPLE_RATE), len(samples))


def at_level(samples: Samples, dbfs: float) -> Samples:
    """Brings speech to a level: root mean square of what is louder than -40 dB of its peak."""
    loud = np.abs(samples) > 0.01 * np.abs(samples).max(initial=1e-9)
    rms = float(np.sqrt(np.mean(samples[loud] ** 2))) if loud.any() else 0.0
    gain = 10 ** (dbfs / 20) / rms if rms else 1.0
    return np.asarray(np.clip(samples * np.float32(gain), -1, 1), np.float32)


def clipped(samples: Samples, over_db: float) -> Samples:
    """Turns speech up so far that its peak lies so many decibels over full scale, and cuts it."""
    peak = float(np.abs(samples).max(initial=1e-9))
    gain = np.float32(10 ** (over_db / 20) / peak)
    return np.asarray(np.clip(samples * gain, -1, 1), np.float32)


DEGRADATIONS: Mapping[str, Callable[[Samples], Samples]] = {
    "as recorded": lambda samples: samples,
    "8 kHz, mu-law": lambda samples: through_line(samples, law="mu"),
    "8 kHz, A-law": lambda samples: through_line(samples, law="a"),
    "mu-law, both ways": lambda samples: through_line(
        through_line(samples, law="mu"), law="mu", ways=2
    ),
    "A-law to mu-law": lambda samples: through_line(through_line(samples, law="a"), law="mu"),
    "mu-law, 5 % lost": lambda samples: through_line(samples, law="mu", lost=0.05),
    "-30 dBFS, mu-law": lambda samples: through_line(at_level(samples, -30.0), law="mu"),
    "-45 dBFS, mu-law": lambda samples: through_line(at_level(samples, -45.0), law="mu"),
    "clipped by 12 dB, mu-law": lambda samples: through_line(clipped(samples, 12.0), law="mu"),
}
"""What speech goes through, by name."""


def _band_passed(samples: Samples) -> Samples:
    spectrum = np.fft.rfft(samples)
    hertz = np.fft.rfftfreq(len(samples), 1 / SAMPLE_RATE)
    low, high = _PASS_BAND_HZ
    spectrum *= 1 / np.sqrt(1 + (low / np.maximum(hertz, 1.0)) ** 8)
    spectrum *= 1 / np.sqrt(1 + (hertz / high) ** 24)
    return np.fft.irfft(spectrum, len(samples)).astype(np.float32)


def _to_pcm(samples: Samples) -> Pcm:
    return (np.clip(samples, -1, 1) * 32767).astype(np.int16)


def _fitted(samples: Samples, count: int) -> Samples:
    return np.pad(samples, (0, max(0, count - len(samples))))[:count].astype(np.float32)
