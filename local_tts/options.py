"""What a voice's options have in common: their bounds, and how text is cut by default."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from livekit.agents import NotGivenOr, tokenize
from livekit.agents.utils import is_given

Number = TypeVar("Number", int, float)

Tokenizer = tokenize.SentenceTokenizer | tokenize.WordTokenizer
"""Cuts the text pushed to a stream into pieces that are spoken one after the other."""


def checked(name: str, value: Number, low: float, high: float) -> Number:
    """The value, if it lies within its bounds.

    Raises:
        ValueError: It does not.
    """
    if not low <= value <= high:
        raise ValueError(f"{name} must be between {low} and {high}, not {value}")
    return value


def checked_numbers(
    given: Mapping[str, NotGivenOr[Number]], limits: Mapping[str, tuple[float, float]]
) -> dict[str, Number]:
    """The numbers that were given at all, each within its limits.

    Raises:
        ValueError: One is not.
    """
    return {
        name: checked(name, value, *limits[name])
        for name, value in given.items()
        if is_given(value)
    }


def sentences_unless(
    tokenizer: NotGivenOr[Tokenizer],
    *,
    min_sentence_len: int,
    stream_context_len: int,
    retain_format: bool = False,
) -> Tokenizer:
    """The tokenizer that was given, else LiveKit's blingfire sentences.

    LiveKit's own default waits for 20 characters; a short first sentence is heard sooner with less.

    Args:
        tokenizer: As a voice's constructor got it.
        min_sentence_len: Characters; a shorter sentence goes with the next one.
        stream_context_len: Characters that have to be there before a sentence is looked for.
        retain_format: Keep the white space around sentences.
    """
    if is_given(tokenizer):
        return tokenizer
    return tokenize.blingfire.SentenceTokenizer(
        min_sentence_len=min_sentence_len,
        stream_context_len=stream_context_len,
        retain_format=retain_format,
    )
