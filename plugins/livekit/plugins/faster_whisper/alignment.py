"""From aligned tokens to words with times."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from .words import Word


def words_of(
    alignment: Any, tokens: list[int], tokenizer: Any, duration_s: float
) -> tuple[Word, ...]:
    """Returns words with times in seconds from the start of the window.

    Args:
        alignment: CTranslate2's: pairs of (token, encoder frame of 20 ms), and probabilities.
        tokens: The text's.
        tokenizer: faster-whisper's.
        duration_s: Of the sound in the window.
    """
    pairs = np.array(alignment.alignments)
    first_frames = pairs[np.diff(pairs[:, 0], prepend=-1) > 0, 1] * 0.02
    texts, groups = tokenizer.split_to_word_tokens([*tokens, tokenizer.eot])
    probabilities = alignment.text_token_probs
    words: list[Word] = []
    at = 0
    for text, size in whole_words(texts[:-1], [len(group) for group in groups[:-1]]):
        begin, end = at, at + size
        at = end
        start_s = float(first_frames[min(begin, len(first_frames) - 1)])
        end_s = float(first_frames[min(end, len(first_frames) - 1)])
        probability = float(np.mean(probabilities[begin:end])) if end > begin else 0.0
        if words and not any(c.isalnum() for c in text):
            # A mark belongs to the word before it, and takes no time of its own.
            last = words[-1]
            surest = 1.0 if last.closing_probability is None else last.closing_probability
            words[-1] = replace(
                last, text=last.text + text, closing_probability=min(surest, probability)
            )
        else:
            words.append(Word(text, start_s, min(max(end_s, start_s), duration_s), probability))
    return tuple(words)


def whole_words(texts: Sequence[str], sizes: Sequence[int]) -> list[tuple[str, int]]:
    """Joins what faster-whisper takes apart at a mark: "d" and "'Asterisk", "5" and ":06".

    Such a half is no word: "d" may not be confirmed alone, and speech may not be cut behind it.

    Args:
        texts: With their leading spaces, where they have any.
        sizes: Tokens of each.
    """
    joined: list[tuple[str, int]] = []
    for text, size in zip(texts, sizes, strict=True):
        goes_on = text[:1].strip() and not text[0].isalnum() and any(c.isalnum() for c in text)
        if joined and goes_on and joined[-1][0][-1:].isalnum():
            last, tokens = joined[-1]
            joined[-1] = (last + text, tokens + size)
        else:
            joined.append((text, size))
    return joined
