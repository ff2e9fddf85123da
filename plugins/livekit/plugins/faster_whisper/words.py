"""A recognised word with its times, and what makes two words the same."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

SENTENCE_ENDS = frozenset(".!?。！？…")


@dataclass(frozen=True, slots=True)
class Word:
    """One word as the model wrote it."""

    text: str
    """With its leading space, where the language has them, and its punctuation."""
    start: float
    """Seconds."""
    end: float
    """Seconds."""
    probability: float = 1.0
    """Mean over the word's tokens, 0 to 1."""
    closing_probability: float | None = None
    """Of the marks behind it, 0 to 1, None without any. Whisper is less sure of a full stop where
    the speaker only paused."""

    @property
    def key(self) -> str:
        """What is compared between two hypotheses: letter case and outer marks don't count."""
        text = self.text.strip().casefold()
        first, last = 0, len(text)
        while first < last and not text[first].isalnum():
            first += 1
        while last > first and not text[last - 1].isalnum():
            last -= 1
        return text[first:last] or text

    @property
    def ends_sentence(self) -> bool:
        """Whether a full stop, question or exclamation mark closes it."""
        return self.text.rstrip()[-1:] in SENTENCE_ENDS


def text_of(words: Iterable[Word]) -> str:
    """Returns the words as running text."""
    return "".join(word.text for word in words).strip()
