"""From clips to what the network learns from: cut, joined, masked features and token sequences."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from models.training import channel, grammar, tokens
from models.training.clips import FRAMES_PER_SECOND, Clip, Features, Heard, features_of
from models.training.warping import sample_warp, warped

IGNORED = -100
"""Targets with this value teach nothing."""
POSITIONS_PER_SECOND = 50
LONGEST_FRAMES = 1400
FRESH_WORDLESS = 0.08
"""Part of the examples that are sounds without words made on the spot, beside the stored ones:
of all those that no one can list, the network is to have heard many."""

_WORD_CLASSES = {word: index + 1 for index, word in enumerate(grammar.WORDS)}
Positions = tuple[float, float] | None


@dataclass(frozen=True)
class Example:
    """One training example."""

    features: Features
    """``[frames, 80]``."""
    ids: list[int]
    """What the decoder reads."""
    targets: list[int]
    """What it is to write after each."""
    looks_at: list[Positions]
    """Encoder positions at which it is to look while writing, for word times."""
    frame_words: npt.NDArray[np.int64]
    """The word in each encoder position, 0 for none, `IGNORED` where unsure."""


class ExampleSource:
    """Draws examples from clips, never twice the same."""

    def __init__(self, clips: list[Clip], seed: int) -> None:
        self._rng = random.Random(seed)
        self._noise_rng = np.random.default_rng(seed)
        self._clips = [clip for clip in clips if len(clip.features) < 700]
        self._sentences = [clip for clip in self._clips if clip.is_one_sentence]

    def draw(self) -> Example:
        """One example."""
        rng = self._rng
        if rng.random() < FRESH_WORDLESS:
            sound = features_of(channel.wordless(self._noise_rng)).astype(np.float32)
            return self._sequence(self._masked(sound, speech=False), ())
        clip = rng.choice(self._clips)
        clip = replace(clip, features=clip.features.astype(np.float32))
        if clip.heard and rng.random() < 0.6:
            clip = replace(clip, features=warped(clip.features, sample_warp(rng)))
        if clip.is_one_sentence:
            clip = self._varied(clip)
        features = self._masked(clip.features, bool(clip.heard))[:LONGEST_FRAMES]
        return self._sequence(features, clip.heard)

    def _varied(self, clip: Clip) -> Clip:
        """A sentence at another pace; cut off, as partials are; or followed by another one."""
        rng = self._rng
        if rng.random() < 0.6:
            clip = _stretched(clip, rng.uniform(0.72, 1.3))
        heard = clip.heard[0]
        chance = rng.random()
        if chance < 0.30:
            length = len(clip.features) / FRAMES_PER_SECOND
            cut = rng.uniform(min(heard.spans[0][0] + 0.05, length), length)
            frames = max(10, int(cut * FRAMES_PER_SECOND))
            return Clip(clip.features[:frames], (heard.until(cut),))
        if chance < 0.37:
            other = rng.choice(self._sentences)
            if other.heard[0].language == heard.language:
                return _joined(clip, other, rng.randint(0, 60))
        return clip

    def _masked(self, features: Features, speech: bool) -> Features:
        """Features at another level, with bands and moments blanked (Park et al. 2019)."""
        rng = self._rng
        features = features.copy()
        if rng.random() < 0.5:
            features = np.maximum(features + rng.uniform(-0.25, 0.1), -1.5)
        if speech and rng.random() < 0.4:
            band = rng.randint(0, 70)
            features[:, band : band + rng.randint(1, 10)] = features.mean()
        if speech and rng.random() < 0.3:
            moment = rng.randint(0, len(features) - 1)
            features[moment : moment + rng.randint(1, 8)] = features.mean()
        return features

    def _sequence(self, features: Features, heard: tuple[Heard, ...]) -> Example:
        rng = self._rng
        language = heard[0].language if heard else rng.choice(list(tokens.LANGUAGES))
        language_id = tokens.LANGUAGES[language]
        wordless = not any(part.words for part in heard)
        # After <|startoftranscript|>: the language, by which it is detected, or that nothing was
        # said. A clip cut inside its first word is neither.
        first = tokens.NO_SPEECH if not heard else IGNORED if wordless else language_id
        ids = [tokens.SOT, language_id, tokens.TRANSCRIBE]
        targets = [first, IGNORED]
        looks_at: list[Positions] = [None, None]
        timed = rng.random() < 0.5
        if wordless:
            ids.append(tokens.FIRST_TIME if timed else tokens.NO_TIMESTAMPS)
            targets += [tokens.FIRST_TIME if timed else IGNORED, tokens.EOT]
            looks_at += [None, None]
        else:
            if not timed:
                ids.append(tokens.NO_TIMESTAMPS)
                targets.append(IGNORED)
                looks_at.append(None)
            _append_words(ids, targets, looks_at, heard, timed)
        if rng.random() < 0.2:
            prompt = self._prompt(language)
            ids = prompt + ids
            targets = [IGNORED] * len(prompt) + targets
            looks_at = [*(None for _ in prompt), *looks_at]
        return Example(features, ids, targets, looks_at, _frame_words(len(features), heard))

    def _prompt(self, language: str) -> list[int]:
        """Earlier text or keyterms in front; what they say need not be heard."""
        rng = self._rng
        sample = grammar.sample_english if language == grammar.ENGLISH else grammar.sample_mandarin
        written: list[int] = []
        for _ in range(rng.randint(1, 3)):
            utterance = sample(rng)
            kind = rng.random()
            if kind < 0.7:
                written += [tokens.piece_id(piece) for piece in utterance.pieces]
                if utterance.punctuation:
                    written.append(tokens.piece_id(utterance.punctuation))
            elif kind < 0.85:
                written.append(tokens.piece_id(rng.choice(utterance.pieces)))
            else:  # A name out of the vocabulary is spelled in bytes.
                name = " " + "".join(
                    rng.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(rng.randint(3, 9))
                )
                written += [tokens.piece_id(letter) for letter in name]
        return [tokens.START_OF_PREV, *written[-50:]]


def _append_words(
    ids: list[int],
    targets: list[int],
    looks_at: list[Positions],
    heard: tuple[Heard, ...],
    timed: bool,
) -> None:
    def write(token: int, look: Positions) -> None:
        targets.append(token)
        looks_at.append(look)
        ids.append(token)

    end = 0.0
    for index, part in enumerate(heard):
        if not part.words:
            continue
        if timed:
            start = part.spans[0][0]
            # faster-whisper allows the first time token up to 1 s.
            write(_time(min(start, 1.0) if index == 0 else start, math.floor), None)
        for (start, stop), piece in zip(part.spans, part.pieces, strict=True):
            look = (start * POSITIONS_PER_SECOND, stop * POSITIONS_PER_SECOND)
            write(tokens.piece_id(piece), look)
        end = part.spans[-1][1] * POSITIONS_PER_SECOND
        if part.punctuation:
            write(tokens.piece_id(part.punctuation), (end - 2, end + 3))
        if timed:
            write(_time(part.spans[-1][1], math.ceil), (end, end + 5))
    targets.append(tokens.EOT)
    looks_at.append((end, end + 8))


def _time(seconds: float, rounded: object) -> int:
    """The time token at the next 0.1 s: finer than that espeak-ng's word events are not."""
    tenths = min(seconds, 29.9) * 10
    whole = math.ceil(tenths - 1e-6) if rounded is math.ceil else math.floor(tenths + 1e-6)
    return tokens.FIRST_TIME + whole * 5


def _frame_words(frames: int, heard: tuple[Heard, ...]) -> npt.NDArray[np.int64]:
    words = np.zeros(frames // 2 + 1, np.int64)
    for part in heard:
        for (start, stop), word in zip(part.spans, part.words, strict=True):
            first, last = round(start * POSITIONS_PER_SECOND), round(stop * POSITIONS_PER_SECOND)
            words[first:last] = _WORD_CLASSES[word]
    if heard and not heard[-1].punctuation:  # The rest may hold half a word.
        last = round(heard[-1].spans[-1][1] * POSITIONS_PER_SECOND) if heard[-1].spans else 0
        words[last:] = IGNORED
    return words


def _stretched(clip: Clip, factor: float) -> Clip:
    length = max(8, int(len(clip.features) * factor))
    place = np.linspace(0, len(clip.features) - 1, length)
    before = place.astype(int)
    after = np.minimum(before + 1, len(clip.features) - 1)
    share = (place - before)[:, None]
    features = clip.features[before] * (1 - share) + clip.features[after] * share
    return Clip(features, tuple(part.stretched(factor) for part in clip.heard))


def _joined(clip: Clip, other: Clip, pause_frames: int) -> Clip:
    second = other.features.astype(np.float32)
    floor = min(clip.features.min(), second.min())
    pause = np.full((pause_frames, clip.features.shape[1]), floor, np.float32)
    offset = (len(clip.features) + pause_frames) / FRAMES_PER_SECOND
    return Clip(
        np.concatenate([clip.features, pause, second]),
        (*clip.heard, *(part.moved(offset) for part in other.heard)),
    )
