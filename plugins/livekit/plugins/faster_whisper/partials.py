"""Which words of a live transcript can be trusted, decided without I/O and without a model.

The policy is LocalAgreement (Liu et al., "Low-Latency Sequence-to-Sequence Speech Recognition
and Translation by Partial Hypothesis Selection", 2020; Macháček et al., "Turning Whisper into
Real-Time Transcription System", 2023) on a window that is anchored at its start: a word is
confirmed once successive runs over the growing window wrote it at the same place, sure of it each
time. Words close to the end of the audio are not confirmed: the model guesses them from half a
sound. Two runs in a row are not enough for people's voices: partials are made in haste, and the
second often repeats the first one's mistake ("do you like" for "to lock"), which the final then has
to keep. `options.Confirming` says what is asked for.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from .words import Word, text_of

_SAME_PLACE_S = 0.4
_KEPT_AFTER_CUT_S = 1.0


@dataclass(frozen=True, slots=True)
class Observation:
    """What is known after one run of the model."""

    confirmed: tuple[Word, ...]
    """Never changes but by growing, until a cut takes words off its front."""
    tail: tuple[Word, ...]
    """The model's present guess for what follows."""
    cut_at_s: float | None = None
    """Where the window should be cut, when it has grown too long and a good place is known."""

    @property
    def text(self) -> str:
        """Confirmed words and tail as running text."""
        return text_of((*self.confirmed, *self.tail))

    @property
    def confirmed_text(self) -> str:
        """The confirmed words as running text."""
        return text_of(self.confirmed)


class PartialTranscript:
    """Grows a transcript from successive runs over one window of speech.

    All times are seconds on one clock of the caller's choice, such as the start of the stream.
    """

    def __init__(
        self,
        *,
        anchor_s: float = 0.0,
        tail_s: float = 0.3,
        runs: int = 2,
        min_probability: float = 0.0,
        hold_back_s: float = 0.1,
        max_window_s: float = 12.0,
    ) -> None:
        """Starts a window.

        Args:
            anchor_s: Where the window starts.
            tail_s: A word that ends less than this before the end of the audio is not confirmed.
            runs: So many runs in a row must agree.
            min_probability: A word below this is not confirmed.
            hold_back_s: A word that starts less than this before the end is not even shown.
            max_window_s: Past this length a place for a cut is proposed.
        """
        self._anchor_s = anchor_s
        self._tail_s = tail_s
        self._runs = runs
        self._min_probability = min_probability
        self._hold_back_s = hold_back_s
        self._max_window_s = max_window_s
        self._confirmed: list[Word] = []
        self._previous: tuple[Word, ...] = ()
        self._agreed: list[int] = []
        """For each word of the previous run, how many runs in a row wrote it."""

    @property
    def anchor_s(self) -> float:
        """Where the window starts, after the cuts made so far."""
        return self._anchor_s

    @property
    def confirmed(self) -> tuple[Word, ...]:
        """The words of this window that will not change."""
        return tuple(self._confirmed)

    def observe(self, words: Sequence[Word], audio_end_s: float) -> Observation:
        """Takes the words of a new run over the window from the anchor to `audio_end_s`."""
        rest = self._continuation(words)
        # The last word of either run may still grow ("to" into "today") or lose its full stop,
        # so agreement on it is worth nothing.
        same = 0
        for new, old in zip(rest[:-1], self._previous[:-1], strict=False):
            if new.text.strip().casefold() != old.text.strip().casefold():
                break
            same += 1
        counts = [n + 1 for n in self._agreed[:same]] + [1] * (len(rest) - same)
        steady = [self._was_there(word) for word in rest]
        confirmed = 0
        for word, count in zip(rest[:same], counts, strict=False):
            # A word that the alignment gives no time to has no sound to stand on.
            placed = word.start < word.end <= audio_end_s - self._tail_s
            if count < self._runs or word.probability < self._min_probability or not placed:
                break
            confirmed += 1
        steady = [True] * (len(self._confirmed) + confirmed) + steady[confirmed:]
        self._confirmed.extend(rest[:confirmed])
        self._previous, self._agreed = rest[confirmed:], counts[confirmed:]
        shown = tuple(w for w in self._previous if w.start < audio_end_s - self._hold_back_s)
        place = self._place_to_cut(steady, audio_end_s)
        return Observation(tuple(self._confirmed), shown, place)

    def finalize(self, words: Sequence[Word]) -> tuple[Word, ...]:
        """Returns the whole window's words: the confirmed ones, then those of the last run."""
        return (*self._confirmed, *self._continuation(words))

    def cut(self, at_s: float) -> tuple[Word, ...]:
        """Moves the anchor to `at_s` and returns the confirmed words that now lie before it."""
        kept = [w for w in self._confirmed if (w.start + w.end) / 2 >= at_s]
        gone = self._confirmed[: len(self._confirmed) - len(kept)]
        self._confirmed = kept
        self._anchor_s = at_s
        # What the last run wrote before the cut must not meet what the next one writes after it.
        self._previous, self._agreed = (), []
        return tuple(gone)

    def split_off(self, at_s: float) -> PartialTranscript:
        """Ends this transcript at a place, and returns the one that goes on from there."""
        after = PartialTranscript(
            anchor_s=self._anchor_s,
            tail_s=self._tail_s,
            runs=self._runs,
            min_probability=self._min_probability,
            hold_back_s=self._hold_back_s,
            max_window_s=self._max_window_s,
        )
        after._confirmed = self._confirmed
        self._confirmed = list(after.cut(at_s))
        self._previous, self._agreed = (), []
        return after

    def _continuation(self, words: Sequence[Word]) -> tuple[Word, ...]:
        """Returns the words that follow the confirmed ones in a run."""
        count = len(self._confirmed)
        if not count:
            return tuple(words)
        keys = [word.key for word in words]
        if keys[:count] == [word.key for word in self._confirmed]:
            return tuple(words[count:])
        # The run changed its mind about a confirmed word, or dropped or split one. What was said
        # stays said: go on where the last confirmed words are found again, or else by time.
        end_s = self._confirmed[-1].end
        for length in (2, 1):
            tail = [word.key for word in self._confirmed[-length:]]
            places = [
                i
                for i in range(length, len(words) + 1)
                if keys[i - length : i] == tail and abs(words[i - 1].end - end_s) < _SAME_PLACE_S
            ]
            if places:
                nearest = min(places, key=lambda i: abs(words[i - 1].end - end_s))
                return tuple(words[nearest:])
        return tuple(word for word in words if (word.start + word.end) / 2 > end_s)

    def _was_there(self, word: Word) -> bool:
        """Tells whether the previous run wrote a word at the same place."""
        return any(
            old.key == word.key and abs(old.start - word.start) < _SAME_PLACE_S
            for old in self._previous
        )

    def _place_to_cut(self, steady: Sequence[bool], audio_end_s: float) -> float | None:
        """Returns a place between two words that two runs agree on.

        They need not be confirmed: one name that every run spells anew keeps all that follows it
        from being so.
        """
        if audio_end_s - self._anchor_s <= self._max_window_s:
            return None
        words = [*self._confirmed, *self._previous]
        latest = audio_end_s - _KEPT_AFTER_CUT_S
        pairs = [
            (word, following)
            for (word, known), (following, also_known) in itertools.pairwise(
                zip(words, steady, strict=True)
            )
            if known and also_known and self._anchor_s < word.end <= latest
        ]
        if not pairs:
            return None
        earliest = self._anchor_s + self._max_window_s / 3
        ends = [pair for pair in pairs if pair[0].ends_sentence and pair[0].end > earliest]
        last, following = (ends or pairs)[-1]
        return (last.end + max(last.end, following.start)) / 2
