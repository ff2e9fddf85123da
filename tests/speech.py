"""Spoken test sentences, rendered by espeak-ng in this process.

The library keeps one global state per process, so every call holds a lock, and it is loaded from
a private copy of the file: a test may use the espeak plugin beside it, which loads the original.
"""

from __future__ import annotations

import atexit
import functools
import shutil
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import espeakng_loader
import numpy as np
import numpy.typing as npt

from local_tts import espeak_library as c

Samples = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Spoken:
    """One rendered sentence."""

    samples: Samples
    """Mono, in [-1, 1]."""
    sample_rate: int
    """Hertz."""
    word_starts: tuple[float, ...]
    """Seconds from the start, one for each word that espeak-ng marked."""

    @property
    def duration(self) -> float:
        """Seconds."""
        return len(self.samples) / self.sample_rate


class _Espeak:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        folder = Path(tempfile.mkdtemp(prefix="test-speech-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        copy = folder / "libespeak-ng-for-tests.so"
        shutil.copyfile(espeakng_loader.get_library_path(), copy)
        self._library = c.open_library(str(copy))
        self._chunks: list[npt.NDArray[np.int16]] = []
        self._words: list[float] = []
        self._callback = c.SynthCallback(self._on_audio)
        data = espeakng_loader.get_data_path().encode()
        self._rate_hz: int = self._library.espeak_Initialize(
            c.AUDIO_OUTPUT_SYNCHRONOUS, 0, data, c.INITIALIZE_DONT_EXIT
        )
        if self._rate_hz <= 0:
            raise RuntimeError("espeak-ng did not start; is the espeakng-loader package whole?")
        self._library.espeak_SetSynthCallback(self._callback)

    def _on_audio(self, samples: Any, count: int, events: Any) -> int:
        if samples and count > 0:
            self._chunks.append(np.ctypeslib.as_array(samples, (count,)).copy())
        index = 0
        while events[index].type != c.EVENT_LIST_TERMINATED:
            if events[index].type == c.EVENT_WORD:
                self._words.append(events[index].audio_position / 1000)
            index += 1
        return 0

    def render(self, text: str, voice: str, rate: int, pitch: int) -> tuple[Samples, list[float]]:
        encoded = text.encode()
        with self._lock:
            self._chunks.clear()
            self._words.clear()
            if self._library.espeak_SetVoiceByName(voice.encode()) != 0:
                raise ValueError(f"espeak-ng has no voice {voice!r}")
            for parameter, value in (
                (c.RATE, rate),
                (c.VOLUME, 100),
                (c.PITCH, pitch),
                (c.PITCH_RANGE, 50),
            ):
                self._library.espeak_SetParameter(parameter, value, 0)
            self._library.espeak_Synth(
                encoded,
                len(encoded) + 1,
                0,
                c.POSITION_IS_CHARACTER,
                0,
                c.CHARS_UTF8,
                None,
                None,
            )
            self._library.espeak_Synchronize()
            pcm = np.concatenate(self._chunks) if self._chunks else np.zeros(0, np.int16)
            return pcm.astype(np.float32) / np.float32(32768), list(self._words)

    @property
    def sample_rate(self) -> int:
        """Hertz."""
        return self._rate_hz


@functools.cache
def _espeak() -> _Espeak:
    return _Espeak()


def resample(samples: Samples, source: int, target: int) -> Samples:
    """Returns `samples` at another rate (both in hertz), by cutting or padding the spectrum."""
    if source == target or not len(samples):
        return samples.astype(np.float32)
    divisor = int(np.gcd(source, target))
    up, down = target // divisor, source // divisor
    padded = -(-len(samples) // down) * down
    spectrum = np.fft.rfft(np.pad(samples, (0, padded - len(samples))))
    out_length = padded // down * up
    out = np.zeros(out_length // 2 + 1, np.complex128)
    kept = min(len(out), len(spectrum))
    out[:kept] = spectrum[:kept]
    return (np.fft.irfft(out, out_length) * (out_length / padded)).astype(np.float32)


@functools.lru_cache(maxsize=256)
def render(
    text: str,
    voice: str = "en-us",
    *,
    rate: int = 170,
    pitch: int = 50,
    sample_rate: int = 16000,
) -> Spoken:
    """Speaks `text` and keeps where its words begin.

    Args:
        text: What to say, in UTF-8.
        voice: A voice of espeak-ng, perhaps with a variant: "en-us", "en-us+f3", "cmn".
        rate: Words per minute.
        pitch: 0 to 100.
        sample_rate: Hertz.

    Raises:
        ValueError: espeak-ng has no such voice.
    """
    espeak = _espeak()
    samples, words = espeak.render(text, voice, rate, pitch)
    loud = np.flatnonzero(
        np.abs(samples) > 0.008 * max(1e-6, float(np.abs(samples).max(initial=0)))
    )
    start, end = (max(0, loud[0] - 160), loud[-1] + 160) if len(loud) else (0, 0)
    offset = start / espeak.sample_rate
    trimmed = resample(samples[start:end], espeak.sample_rate, sample_rate)
    trimmed.setflags(write=False)
    return Spoken(trimmed, sample_rate, tuple(max(0.0, at - offset) for at in words))


def speak(
    text: str,
    voice: str = "en-us",
    *,
    rate: int = 170,
    pitch: int = 50,
    sample_rate: int = 16000,
) -> Samples:
    """Returns `text` spoken: mono float32 in [-1, 1], with the silence around it cut off.

    The array is read-only and shared between calls. See `render` for the arguments.
    """
    return render(text, voice, rate=rate, pitch=pitch, sample_rate=sample_rate).samples


def to_pcm16(samples: Samples) -> bytes:
    """Returns `samples` as 16-bit little-endian PCM."""
    return (np.clip(samples, -1.0, 1.0) * 32767).astype("<i2").tobytes()
