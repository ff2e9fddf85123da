"""When each word of a text is heard, from the durations of its phonemes.

The phonemizer does not say which phonemes belong to which word, and the counts differ: "$3.14" is
five spoken words, "of the" is one. Where they do, each word is phonemized alone, and the words are
paired with the spoken groups of phonemes so that the lengths agree best.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from .delivery import SpokenWord

_CJK = r"\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"\s*(?:[{_CJK}]|[^\s{_CJK}]+)[^\w\s]*\s*")
_MOST_MERGED = 6
"""Words that the phonemizer joins into one spoken group, at most."""


@dataclass(frozen=True)
class WordSpan:
    """A word, and its place among the phonemes of the whole text."""

    text: str
    first: int
    last: int
    """One past the word's last phoneme."""


def split_words(text: str) -> list[str]:
    """Cuts text into words (characters, where there are no spaces) which, joined, are the text."""
    found = _WORD.findall(text)
    return found if found and "".join(found) == text else [text]


def align_words(
    text: str,
    sentences: Sequence[Sequence[str]],
    spoken_alone: Callable[[str], Sequence[Sequence[str]]],
) -> list[WordSpan]:
    """Gives each word of `text` its phonemes; every phoneme belongs to exactly one word.

    Args:
        text: What was phonemized.
        sentences: Its phonemes, sentence by sentence; a space separates spoken groups.
        spoken_alone: Phonemizes one word. Called only if it is needed.
    """
    words = split_words(text)
    flat = [phoneme for phonemes in sentences for phoneme in phonemes]
    starts = _group_starts(sentences)
    if not starts:
        bounds = [0] * len(words)
    elif len(starts) == len(words) and all(_is_plain(word) for word in words):
        bounds = starts
    else:
        bounds = _paired(words, starts, flat, spoken_alone)
    bounds = [0, *bounds[1:], len(flat)]
    return [WordSpan(word, bounds[i], bounds[i + 1]) for i, word in enumerate(words)]


def evenly(began: int, ended: int, phonemes: int) -> list[int]:
    """Where phonemes of equal length begin, for a voice that does not tell their durations."""
    return [began + (ended - began) * i // max(phonemes, 1) for i in range(phonemes + 1)]


def words_within(
    spans: Sequence[WordSpan], offset: int, at: Sequence[int], sample_rate: int
) -> tuple[SpokenWord, ...]:
    """The words that begin in a stretch of the text's phonemes.

    Args:
        spans: All words of the text.
        offset: Phonemes before the stretch.
        at: Samples at which its phonemes begin, and at which it ends.
        sample_rate: Hertz.
    """
    count = len(at) - 1
    whole = spans[-1].last
    found: list[SpokenWord] = []
    for span in spans:
        first = span.first - offset
        # A word without phonemes at the very end of the text belongs to the last stretch.
        if 0 <= first < count or (first == count and span.first == whole):
            end = at[min(span.last - offset, count)]
            found.append(SpokenWord(span.text, at[first] / sample_rate, end / sample_rate))
    return tuple(found)


def _group_starts(sentences: Sequence[Sequence[str]]) -> list[int]:
    """Where the spoken words begin, counted over all sentences; lone punctuation is none."""
    starts: list[int] = []
    offset = 0
    for phonemes in sentences:
        start: int | None = None
        for index, phoneme in enumerate(phonemes):
            if phoneme == " ":
                start = None
            elif start is None and phoneme[:1].isalpha():
                start = offset + index
                starts.append(start)
        offset += len(phonemes)
    return starts


def _sounds(phonemes: Sequence[str]) -> int:
    """Phonemes that are heard."""
    return sum(phoneme not in " ,.;:?!" for phoneme in phonemes)


def _is_plain(word: str) -> bool:
    return any(map(str.isalpha, word)) and not any(map(str.isdigit, word))


def _paired(
    words: Sequence[str],
    starts: Sequence[int],
    flat: Sequence[str],
    spoken_alone: Callable[[str], Sequence[Sequence[str]]],
) -> list[int]:
    """Where each word begins, if words take as few groups more or less than alone as can be."""
    alone = [spoken_alone(word) for word in words]
    counts = [len(_group_starts(phonemes)) for phonemes in alone]
    lengths = [sum(map(_sounds, phonemes)) for phonemes in alone]
    edges = [*starts, len(flat)]
    sizes = [_sounds(flat[edges[j] : edges[j + 1]]) for j in range(len(starts))]
    # After i words, for each number of groups: the least cost, and the last move on its way.
    table: list[dict[int, tuple[float, int, int]]] = [{0: (0.0, 0, 0)}, *({} for _ in words)]
    for i in range(len(words)):
        for j, (cost, _, _) in table[i].items():
            for taken, groups in _moves(i, j, counts, len(starts)):
                wanted = sum(lengths[i : i + taken])
                misfit = abs(wanted - sum(sizes[j : j + groups]))
                unlike = abs(groups - sum(counts[i : i + taken]))
                so_far = cost + misfit + 0.3 * unlike
                known = table[i + taken].get(j + groups)
                if known is None or so_far < known[0]:
                    table[i + taken][j + groups] = (so_far, taken, groups)
    i, j = len(words), len(starts)
    if j not in table[i]:
        return _in_proportion(lengths, 0, len(flat))
    bounds: list[int] = []
    while i > 0:
        _, taken, groups = table[i][j]
        i, j = i - taken, j - groups
        bounds[:0] = _in_proportion(lengths[i : i + taken], edges[j], edges[j + groups])
    return bounds


def _moves(i: int, j: int, counts: Sequence[int], groups: int) -> Iterator[tuple[int, int]]:
    """Words and groups that may be paired next: a word and about its own count, or some and one."""
    for taken in range(max(0, counts[i] - 1), counts[i] + 2):
        if j + taken <= groups:
            yield 1, taken
    if j < groups:
        for together in range(2, min(_MOST_MERGED, len(counts) - i) + 1):
            yield together, 1


def _in_proportion(lengths: Sequence[int], first: int, last: int) -> list[int]:
    """Where each of some words begins that share phonemes `first` to `last`."""
    whole = sum(lengths) or 1
    return [first + (last - first) * sum(lengths[:k]) // whole for k in range(len(lengths))]
