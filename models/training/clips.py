"""Training clips: log-mel features with what is said in them and when, in shards on disk."""

from __future__ import annotations

import pickle
import random
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from faster_whisper.feature_extractor import FeatureExtractor

from models.training import channel
from models.training.grammar import ENGLISH, sample_english, sample_mandarin
from models.training.speech import (
    SAMPLE_RATE,
    Audio,
    Span,
    Spoken,
    Synthesizer,
    Voice,
    sample_voice,
)
from models.training.voices import sample_invented, write_data

MANDARIN_SHARE = 0.22
CLIPS_PER_SHARD = 500
FRAMES_PER_SECOND = 100

Features = npt.NDArray[np.floating]
Voices = Callable[[random.Random, str], Voice]
"""Draws a voice for a language."""
_extractor = FeatureExtractor()


@dataclass(frozen=True)
class Heard:
    """One utterance inside a clip; unfinished when the clip ends before it does."""

    language: str
    words: tuple[str, ...]
    pieces: tuple[str, ...]
    punctuation: str
    spans: tuple[Span, ...]

    def until(self, cut_s: float) -> Heard:
        """What is heard of it when the sound stops at ``cut_s``: words mostly heard count."""
        kept = 0
        while kept < len(self.words):
            start, end = self.spans[kept]
            if start + 0.8 * (end - start) > cut_s:
                break
            kept += 1
        whole = kept == len(self.words) and cut_s >= self.spans[-1][1] - 0.02
        return replace(
            self,
            words=self.words[:kept],
            pieces=self.pieces[:kept],
            punctuation=self.punctuation if whole else "",
            spans=tuple((start, min(end, cut_s)) for start, end in self.spans[:kept]),
        )

    def moved(self, offset_s: float) -> Heard:
        """The same, later."""
        return replace(self, spans=tuple((a + offset_s, b + offset_s) for a, b in self.spans))

    def stretched(self, factor: float) -> Heard:
        """The same, slower."""
        return replace(self, spans=tuple((a * factor, b * factor) for a, b in self.spans))


@dataclass(frozen=True)
class Clip:
    """Features ``[frames, 80]`` at 100 frames a second, and the utterances in them."""

    features: Features
    heard: tuple[Heard, ...]

    @property
    def is_one_sentence(self) -> bool:
        """Whether it is short, holds one utterance, and may be cut or joined."""
        return len(self.heard) == 1 and len(self.features) < 450


def features_of(audio: Audio) -> Features:
    """Log-mel features ``[frames, 80]``, exactly what faster-whisper feeds the encoder."""
    features: Features = _extractor(audio.astype(np.float32))
    return features[:, :-1].T


def spoken_by(synthesizer: Synthesizer, voices: Voices, rng: random.Random) -> Spoken:
    """A random sentence in a random voice."""
    sample = sample_mandarin if rng.random() < MANDARIN_SHARE else sample_english
    utterance = sample(rng)
    return synthesizer.speak(utterance, voices(rng, utterance.language), rng)


def heard_in(spoken: Spoken, offset_s: float = 0.0) -> Heard:
    """The labels of a spoken utterance that starts at ``offset_s``."""
    utterance = spoken.utterance
    return Heard(
        utterance.language,
        utterance.words,
        utterance.pieces,
        utterance.punctuation,
        spoken.spans,
    ).moved(offset_s)


def make_clip(
    synthesizer: Synthesizer, voices: Voices, rng: random.Random, noise_rng: np.random.Generator
) -> Clip:
    """A random clip: a sentence, two or three with pauses, or no speech at all."""
    kind = rng.choices(("sentence", "several", "wordless"), (0.81, 0.07, 0.12))[0]
    if kind == "wordless":
        return Clip(features_of(channel.wordless(noise_rng)).astype(np.float16), ())
    lead = rng.choice((0.0, rng.uniform(0, 0.3), rng.uniform(0, 1.0), rng.uniform(0, 2.5)))
    parts: list[Audio] = [np.zeros(int(lead * SAMPLE_RATE), np.float32)]
    labels: list[Heard] = []
    for index in range(rng.choice((2, 2, 3)) if kind == "several" else 1):
        if index:
            parts.append(np.zeros(int(rng.uniform(0.3, 1.2) * SAMPLE_RATE), np.float32))
        spoken = spoken_by(synthesizer, voices, rng)
        while labels and spoken.utterance.language != labels[0].language:
            spoken = spoken_by(synthesizer, voices, rng)
        labels.append(heard_in(spoken, sum(map(len, parts)) / SAMPLE_RATE))
        parts.append(spoken.audio * rng.uniform(0.5, 1) if index else spoken.audio)
    tail = rng.choice((0.0, rng.uniform(0, 0.3), rng.uniform(0, 1.2), rng.uniform(0, 3)))
    parts.append(np.zeros(int(tail * SAMPLE_RATE), np.float32))
    audio = channel.as_heard(np.concatenate(parts), noise_rng)
    return Clip(features_of(audio).astype(np.float16), tuple(labels))


def write_shards(folder: Path, seed: int, count: int, invented: bool = False) -> None:
    """Makes ``count`` clips from ``seed``; shards that are there already are kept.

    Every shard has its own seed, so that an interrupted run goes on where it stopped. The voices
    are variants that espeak-ng comes with or, with ``invented``, random ones.
    """
    import espeakng_loader

    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as data:
        if invented:
            write_data(Path(espeakng_loader.get_data_path()), Path(data))
        synthesizer = Synthesizer(Path(data) if invented else None)
        voices = sample_invented if invented else sample_voice
        for first in range(0, count, CLIPS_PER_SHARD):
            path = folder / f"{seed}-{first:06d}.pickle"
            if path.exists():
                continue
            rng = random.Random(f"{seed}-{first}")
            noise_rng = np.random.default_rng([seed, first])
            size = min(CLIPS_PER_SHARD, count - first)
            clips = [make_clip(synthesizer, voices, rng, noise_rng) for _ in range(size)]
            partial = path.with_suffix(".partial")
            with partial.open("wb") as file:
                pickle.dump(clips, file, protocol=5)
            partial.rename(path)


def read_shards(folder: Path) -> list[Clip]:
    """All clips of a folder, in the order of the shards' names."""
    clips: list[Clip] = []
    for path in sorted(folder.glob("*.pickle")):
        with path.open("rb") as file:
            clips += pickle.load(file)
    return clips


def is_english(clip: Clip) -> bool:
    """Whether the clip is in English; a clip without words is in none."""
    return bool(clip.heard) and clip.heard[0].language == ENGLISH
