"""Whether a decoded text can be true of its sound, decided from word times and voice alone.

Whisper was trained on whole windows of 30 s. On a short one it is ten times faster and mostly as
good, and where it is not the sound tells: a copy of a phrase has no time of its own, a lost word
leaves voice behind that no word covers, and a guess has a low probability. A text in doubt is
decoded again over a wider window (`second_look`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from .gates import WEAK_LOG_PROBABILITY, repeats_itself
from .words import Word, text_of

Spans = Sequence[tuple[float, float]]
"""Stretches of voice as (start, end) in seconds, in order."""


class Doubt(StrEnum):
    """What speaks against a text."""

    LOOP = "the decoder looped"
    COPY = "a phrase stands there twice in a row"
    LOST_WORDS = "voice without words"
    NO_VOICE = "words without voice"
    WEAK = "improbable"
    LANGUAGE = "the language is unsure"

    @property
    def spoils(self) -> bool:
        """Whether the text is too likely wrong to act on before it was decoded again."""
        return self in (Doubt.LOOP, Doubt.COPY, Doubt.LOST_WORDS, Doubt.LANGUAGE)


@dataclass(frozen=True, slots=True)
class Trust:
    """Beyond which limits a text is doubted. Measured with Whisper base on people's recordings."""

    word_probability: float = 0.5
    """A text with a word below this is decoded again. It tells more than the mean over the text. Of
    1013 recordings 122 have their weakest word between 0.4 and this; a second look bettered 14 of
    them and spoiled 3. Between 0.5 and 0.7 lie 123 of 440: 6 were bettered, 4 spoiled."""
    mean_log_probability: float = WEAK_LOG_PROBABILITY
    """Likewise for the mean over the text. Of what is heard in noise nearly all is below it, and a
    second look is a second witness."""
    lost_voice_s: float = 0.3
    """Seconds of voice that no word covers."""
    word_reach_s: float = 0.25
    """So far beyond its aligned end a word's sound may go on: the alignment is that coarse."""
    copy_word_s: float = 0.08
    """Seconds a word below which a copy has no time of its own; the fastest speakers need 0.1."""
    language_probability: float = 0.7


_MEASURED = Trust()


def without_timeless_copies(words: Sequence[Word], trust: Trust) -> tuple[Word, ...]:
    """Returns the words without those copies of a phrase that have no time in the audio.

    People do say things twice; they take as long for it the second time.
    """
    kept = list(words)
    start = 0
    while start < len(kept):
        size = _copied_at(kept, start)
        second = kept[start + size : start + 2 * size]
        if size and _duration_s(second) < trust.copy_word_s * size:
            # The copy's closing mark ends the sentence that is left.
            first = kept[start + size - 1]
            mark = second[-1].text.strip()[len(first.text.strip()) :]
            if mark and not any(c.isalnum() for c in mark):
                kept[start + size - 1] = replace(
                    first,
                    text=first.text + mark,
                    closing_probability=second[-1].closing_probability,
                )
            del kept[start + size : start + 2 * size]
        else:
            start += 1
    return tuple(kept)


def reason_to_doubt(
    words: Sequence[Word],
    *,
    voice: Spans | None,
    language_probability: float = 1.0,
    mean_log_probability: float = 0.0,
    hit_limit: bool = False,
    trust: Trust | None = _MEASURED,
) -> Doubt | None:
    """Returns what speaks against a text, the gravest first; None where nothing does.

    Args:
        words: With times in seconds from the start of the audio.
        voice: Where the detector heard a voice, on the same clock; None where nobody looked.
        language_probability: Of the detected language; 1 where it was given.
        mean_log_probability: Of the text's tokens.
        hit_limit: Whether the decoder was stopped before it ended by itself.
        trust: The limits; None: only a loop is doubted.
    """
    if hit_limit or repeats_itself(text_of(words)):
        return Doubt.LOOP
    if trust is None:
        return None
    if language_probability < trust.language_probability:
        return Doubt.LANGUAGE
    if voice and lost_voice_s(words, voice, trust) >= trust.lost_voice_s:
        return Doubt.LOST_WORDS
    if any(_copied_at(words, start) for start in range(len(words))):
        return Doubt.COPY
    if voice and words and words[-1].start > voice[-1][1] + trust.word_reach_s:
        return Doubt.NO_VOICE
    if words and mean_log_probability < trust.mean_log_probability:
        return Doubt.WEAK
    if any(word.probability < trust.word_probability for word in words):
        return Doubt.WEAK
    return None


def lost_voice_s(words: Sequence[Word], voice: Spans, trust: Trust) -> float:
    """Returns the longest stretch of voice, in seconds, that lies beyond the words.

    Only what follows the last word counts, and what precedes the first: between two words the
    alignment stretches one of them over whatever lies there.
    """
    if not words:
        return sum(end - start for start, end in voice)
    first_s = words[0].start - trust.word_reach_s
    last_s = words[-1].end + trust.word_reach_s
    before = sum(max(0.0, min(end, first_s) - start) for start, end in voice if start < first_s)
    after = sum(max(0.0, end - max(start, last_s)) for start, end in voice if end > last_s)
    return max(before, after)


def _copied_at(words: Sequence[Word], start: int) -> int:
    """Returns the length of the longest phrase at a place that stands there twice in a row."""
    keys = [word.key for word in words[start:]]
    for size in range(len(keys) // 2, 0, -1):
        if keys[:size] == keys[size : 2 * size]:
            return size
    return 0


def _duration_s(words: Sequence[Word]) -> float:
    return words[-1].end - words[0].start if words else 0.0
