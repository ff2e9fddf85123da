"""Scores what was heard against what people said: word errors, doubled phrases, lost last words."""

from __future__ import annotations

import difflib
import functools
import re
import unicodedata
from collections.abc import Sequence

import num2words

_ORDINAL = re.compile(r"(\d+)(st|nd|rd|th)\b")
_NUMBER = re.compile(r"\d+")
_LIKE = 0.6
"""Share of letters in common from which two words are one and the same, misheard."""


def spoken_words(text: str, language: str) -> list[str]:
    """Returns the words as they are said: lower case, no marks, numbers spelled.

    "Press 1" and "press one" sound the same, so they count as the same, whoever writes which.
    """
    text = unicodedata.normalize("NFKC", text).lower().replace("’", "'")
    text = _ORDINAL.sub(lambda m: f" {_spelled(int(m[1]), language, 'ordinal')} ", text)
    text = _NUMBER.sub(lambda m: f" {_spelled(int(m[0]), language, 'cardinal')} ", text)
    text = text.replace("#", " pound ").replace("ё", "е") if language != "en" else text
    return re.sub(r"[^\w']+", " ", text).replace("_", " ").split()


@functools.cache
def _spelled(number: int, language: str, form: str) -> str:
    if number > 999_999:
        return " ".join(num2words.num2words(int(digit), lang=language) for digit in str(number))
    return str(num2words.num2words(number, lang=language, to=form))


def edits(said: Sequence[str], heard: Sequence[str]) -> int:
    """Returns the words to insert, delete or replace (Levenshtein)."""
    row = list(range(len(heard) + 1))
    for i, word in enumerate(said, 1):
        previous, row[0] = row[0], i
        for j, other in enumerate(heard, 1):
            cost = min(row[j] + 1, row[j - 1] + 1, previous + (word != other))
            previous, row[j] = row[j], cost
    return row[-1]


def is_doubled(said: Sequence[str], heard: Sequence[str]) -> bool:
    """Tells whether a phrase was heard twice in a row that was said once."""
    for size in range(1, len(heard) // 2 + 1):
        for at in range(len(heard) - 2 * size + 1):
            phrase = list(heard[at : at + size])
            if phrase == list(heard[at + size : at + 2 * size]) and not _twice(said, phrase):
                return True
    return False


def _twice(words: Sequence[str], phrase: list[str]) -> bool:
    size = len(phrase)
    return any(
        list(words[at : at + size]) == phrase == list(words[at + size : at + 2 * size])
        for at in range(len(words) - 2 * size + 1)
    )


def lost_tail(said: Sequence[str], heard: Sequence[str]) -> bool:
    """Tells whether the last word is missing: too few were heard, and none at the end is like it.

    A word that was misheard ("тиши" for "тише"), or written together with the one before
    ("réenregistrer" for "re-enregistrer"), was not lost.
    """
    if not said or len(heard) >= len(said):
        return False
    return not any(_is_like(said[-1], word) for word in heard[-2:])


def _is_like(said: str, heard: str) -> bool:
    if len(said) > 2 and heard.endswith(said):
        return True
    return difflib.SequenceMatcher(None, said, heard).ratio() >= _LIKE
