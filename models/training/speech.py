"""Speech from espeak-ng in this process, with the time of every word.

The library and its voices come from the `espeakng-loader` package; nothing is installed by hand.
"""

from __future__ import annotations

import ctypes
import math
import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from local_tts import espeak_library as c
from models.training.grammar import MANDARIN, Utterance

SAMPLE_RATE = 16_000
"""Hertz, of everything that the model hears."""

Audio = npt.NDArray[np.float32]
Span = tuple[float, float]
"""Start and end of a word in seconds."""

PLAIN_VOICE = "gmw/en-US"
ENGLISH_BASES = (
    "gmw/en-US",
    "gmw/en",
    "gmw/en-GB-scotland",
    "gmw/en-GB-x-rp",
    "gmw/en-US-nyc",
    "gmw/en-029",
    "gmw/en-GB-x-gbclan",
)
MANDARIN_BASE = "sit/cmn"
_TRAINING_VARIANTS = (
    "m1 m2 m3 m5 m6 m7 m8 f1 f2 f4 f5 klatt klatt3 adam Alex Alicia Andrea Annie antonio belinda "
    "benjamin boris caleb david ed edward Gene Henrique Hugo iven iven2 Jacky john Lee Marco Mario "
    "max miguel Michael Mike pablo paul pedro quincy rob robert sandro shelby steph travis victor "
    "anika aunty grandma grandpa"
)
TRAINING_VARIANTS = tuple(_TRAINING_VARIANTS.split())
_HELD_OUT_VARIANTS = "m4 f3 Andy linda steph3 michel norbert klatt2 zac Diogo"
HELD_OUT_VARIANTS = tuple(_HELD_OUT_VARIANTS.split())
_UNTOUCHED_VARIANTS = "Denis Reed Storm Nguyen gustave marcelo announcer croak AnxiousAndy ian"
UNTOUCHED_VARIANTS = tuple(_UNTOUCHED_VARIANTS.split())
"""Neither trained on nor looked at while the recipe was changed, as the held-out ones were."""

# espeak-ng spells "mhm"; people hum it. The model is to know both.
_HUMMED = ("[[@mh'Vm]]", "[[m@h'Vm]]", "[['Vmh@m]]")

_PHONEMES_IN_BRACKETS = 0x0100


@dataclass(frozen=True)
class Voice:
    """How espeak-ng is to speak."""

    name: str
    rate: int = 175
    """Words a minute."""
    pitch: int = 50
    """0 to 99."""
    pitch_range: int = 50
    """0 (monotone) to 99."""


@dataclass(frozen=True)
class Spoken:
    """An utterance as sound: mono float32 at 16 kHz, and when each word is heard."""

    utterance: Utterance
    audio: Audio
    spans: tuple[Span, ...]


def sample_voice(rng: random.Random, language: str, held_out: tuple[str, ...] = ()) -> Voice:
    """A random voice to train on, or one of the variants ``held_out``."""
    variants = held_out or TRAINING_VARIANTS
    if language == MANDARIN:
        name = MANDARIN_BASE
        plain = 0.25
    else:
        name = rng.choice(ENGLISH_BASES[:4] if rng.random() < 0.8 else ENGLISH_BASES)
        plain = 0.1
    if not held_out and rng.random() < plain:
        return Voice(name, rng.randint(115, 230), rng.randint(35, 65), rng.randint(35, 65))
    if not held_out and language != MANDARIN and rng.random() < 0.2:
        return Voice(PLAIN_VOICE, rng.randint(115, 230), rng.randint(40, 60), rng.randint(40, 60))
    return Voice(
        f"{name}+{rng.choice(variants)}",
        rng.randint(125, 215),
        rng.randint(25, 80),
        rng.randint(30, 70),
    )


def resample(audio: Audio, source_rate: int, target_rate: int) -> Audio:
    """Band-limited resampling of a whole signal by way of its spectrum."""
    if source_rate == target_rate:
        return audio
    divisor = math.gcd(source_rate, target_rate)
    down, up = source_rate // divisor, target_rate // divisor
    # A length that is a power of two times `down` keeps both transforms fast.
    blocks = -(-len(audio) // down)
    blocks = 1 << (blocks - 1).bit_length() if blocks < 64 else -(-blocks // 16) * 16
    spectrum = np.fft.rfft(np.pad(audio, (0, blocks * down - len(audio))))
    target = np.zeros(blocks * up // 2 + 1, complex)
    kept = min(len(spectrum), len(target))
    target[:kept] = spectrum[:kept]
    resampled = np.fft.irfft(target, blocks * up) * (up / down)
    return resampled[: round(len(audio) * up / down)].astype(np.float32)


class Synthesizer:
    """The espeak-ng library. It has one state per process, so use one instance at a time."""

    def __init__(self, data: Path | None = None) -> None:
        """Loads the library, with the voices of its package or those in the folder ``data``.

        Raises:
            RuntimeError: The library does not start.
        """
        import espeakng_loader

        self._library = c.open_library(espeakng_loader.get_library_path())
        path = str(data or espeakng_loader.get_data_path()).encode()
        self._rate: int = self._library.espeak_Initialize(
            c.AUDIO_OUTPUT_SYNCHRONOUS, 0, path, c.INITIALIZE_DONT_EXIT
        )
        if self._rate <= 0:
            raise RuntimeError("espeak-ng did not start; reinstall the package espeakng-loader")
        self._chunks: list[Audio] = []
        self._events: list[tuple[int, float]] = []
        self._callback = c.SynthCallback(self._take)
        self._library.espeak_SetSynthCallback(self._callback)

    def speak(self, utterance: Utterance, voice: Voice, rng: random.Random) -> Spoken:
        """Says ``utterance``; ``rng`` chooses between the ways to say the same words."""
        text, positions = _spoken_text(utterance, rng)
        audio = self.say(text, voice)
        starts: list[float | None] = [None] * len(positions)
        for index, position in enumerate(positions):
            times = [time for heard, time in self._events if heard == position]
            starts[index] = times[0] if times else None
        spans = _spans(starts, len(audio) / SAMPLE_RATE, [len(word) for word in utterance.words])
        return _trimmed(utterance, audio, spans)

    def say(self, text: str, voice: Voice) -> Audio:
        """Plain text as mono float32 at 16 kHz.

        Raises:
            ValueError: There is no such voice.
        """
        self._chunks.clear()
        self._events.clear()
        if self._library.espeak_SetVoiceByName(voice.name.encode()) != 0:
            raise ValueError(f"espeak-ng has no voice {voice.name!r}")
        for parameter, value in (
            (c.RATE, voice.rate),
            (c.VOLUME, 100),
            (c.PITCH, voice.pitch),
            (c.PITCH_RANGE, voice.pitch_range),
        ):
            self._library.espeak_SetParameter(parameter, value, 0)
        encoded = text.encode()
        self._library.espeak_Synth(
            encoded,
            len(encoded) + 1,
            0,
            c.POSITION_IS_CHARACTER,
            0,
            c.CHARS_UTF8 | _PHONEMES_IN_BRACKETS,
            None,
            None,
        )
        self._library.espeak_Synchronize()
        whole = np.concatenate(self._chunks) if self._chunks else np.zeros(1, np.float32)
        return resample(whole, self._rate, SAMPLE_RATE)

    def _take(self, samples: ctypes._Pointer[ctypes.c_short], count: int, events: object) -> int:
        if samples and count > 0:
            pcm = np.ctypeslib.as_array(samples, (count,))
            self._chunks.append((pcm / 32768).astype(np.float32))
        index = 0
        while (event := events[index]).type != c.EVENT_LIST_TERMINATED:  # type: ignore[index]
            if event.type == c.EVENT_WORD:
                self._events.append((event.text_position, event.audio_position / 1000))
            index += 1
        return 0


def render(texts: list[tuple[str, Voice]]) -> list[Audio]:
    """Says several texts, each with a quarter of a second of silence around it.

    Made to be run in a process of its own, where nothing else uses espeak-ng.
    """
    synthesizer = Synthesizer()
    silence = np.zeros(SAMPLE_RATE // 4, np.float32)
    return [
        np.concatenate([silence, synthesizer.say(text, voice), silence]) for text, voice in texts
    ]


def _spoken_text(utterance: Utterance, rng: random.Random) -> tuple[str, list[int]]:
    """What espeak-ng is given, and the position (1-based, in characters) of each word in it."""
    space = "" if utterance.language == MANDARIN else " "
    text = ""
    positions: list[int] = []
    for index, word in enumerate(utterance.words):
        positions.append(len(text) + 1)
        said = rng.choice(_HUMMED) if word == "mhm" and rng.random() < 0.6 else word
        text += said + ("," if index in utterance.breaths else "") + space
    end = utterance.punctuation if utterance.punctuation in {"?", "？"} else ""
    return text.rstrip() + (end or rng.choice(("", "."))), positions


def _spans(starts: list[float | None], end: float, lengths: list[int]) -> list[Span]:
    """Word times; words that espeak-ng ran together share their time by their letters."""
    known: list[float] = []
    index = 0
    while index < len(starts):
        begin = starts[index] if starts[index] is not None else (known[-1] if known else 0.0)
        assert begin is not None
        following = index + 1
        while following < len(starts) and starts[following] is None:
            following += 1
        stop = starts[following] if following < len(starts) else end
        assert stop is not None
        letters = sum(lengths[index:following])
        passed = 0
        for member in range(index, following):
            known.append(begin + (stop - begin) * passed / letters)
            passed += lengths[member]
        index = following
    return list(zip(known, [*known[1:], end], strict=True))


def _trimmed(utterance: Utterance, audio: Audio, spans: list[Span]) -> Spoken:
    """Cuts the silence around the speech, leaving 10 ms."""
    loud = np.flatnonzero(np.abs(audio) > 0.008 * max(1e-6, float(np.abs(audio).max())))
    if len(loud) == 0:
        return Spoken(utterance, audio, tuple(spans))
    first, last = max(0, int(loud[0]) - 160), min(len(audio), int(loud[-1]) + 160)
    offset, length = first / SAMPLE_RATE, (last - first) / SAMPLE_RATE
    moved = tuple(
        (min(max(start - offset, 0.0), length), min(max(end - offset, 0.0), length))
        for start, end in spans
    )
    return Spoken(utterance, audio[first:last], moved)
