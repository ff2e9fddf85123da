"""Telling that a conversation is too long for a model, and how much it takes, from any wording.

Seen in vLLM, SGLang, llama.cpp, llama-cpp-python, Ollama, LM Studio, TGI, TabbyAPI, LiteLLM,
TensorRT-LLM, OpenVINO and at OpenAI; each says it in several ways and changes them.
"""

import re
from dataclasses import dataclass

from .wording import Refusal

_STATUSES = (0, 400, 413, 422, 500)
_SUBJECT = (
    r"(?:context|prompt|inputs?\b(?! should)|sequence|max_seq_len|max_model_len|n_ctx|n_keep"
    r"|token count|number of tokens|requested tokens|length of the messages|message list)"
)
_EXCESS = (
    r"(?:exceed\w*|too (?:long|large|many|big)|longer than|greater than|larger than|more than"
    r"|maximum|at most|must (?:be <=|be less|have less|not be longer)|reduce the (?:length|number)"
    r"|not enough|overflow\w*|does(?:n't| not) fit|reached|>=?)"
)
_TOO_LONG = re.compile(
    rf"context_?length_?exceeded|exceed_context_size|ContextWindowExceeded|reduce the length"
    rf"|{_SUBJECT}.{{0,160}}{_EXCESS}|{_EXCESS}.{{0,160}}{_SUBJECT}",
    re.IGNORECASE | re.DOTALL,
)
_NUMBER = r"(\d[\d,_]*)"
# Best first: what names the context itself, then the far side of a comparison.
_LIMITS = (
    rf"n_ctx\D{{0,5}}{_NUMBER}",
    rf"(?:context (?:length|size|window)|max_model_len|max_seq_len|max(?:imum)? (?:sequence |model "
    rf"|input )?(?:length|tokens)|model max length)\b[^\d.]{{0,40}}{_NUMBER}",
    rf"{_NUMBER}(?: tokens)? (?:maximum )?context (?:length|size|window)",
    rf"(?:must be <=|less than|at most|greater than|longer than|larger than|not exceed"
    rf"|exceeds?|>=?|<=)[^\d.]{{0,60}}{_NUMBER}",
    rf"{_NUMBER} maximum",
)
_SENT = (
    rf"(?:requested|passed|given:|has|contains|resulted in|inputs?|prompt|request|n_keep)"
    rf"[^\d.]{{0,30}}{_NUMBER}(?!\d)",
    rf"{_NUMBER} (?:input |prompt )?tokens",
)
_BY_HOW_MUCH = re.compile(r"\bby \d+")
_SMALLEST_CONTEXT = 128


@dataclass(frozen=True)
class TooLong:
    """The conversation does not fit."""

    limit: int | None
    """Tokens of context, where the server says so."""
    sent: int | None
    """Tokens of our prompt, where the server says so."""


def too_long(refusal: Refusal) -> TooLong | None:
    """What a refusal says of the length; None when it is about something else."""
    if refusal.status not in _STATUSES:
        return None
    numbers = dict(refusal.numbers)
    if refusal.status == 413 or "n_ctx" in numbers or _TOO_LONG.search(refusal.said):
        limit = numbers.get("n_ctx") or _limit(_BY_HOW_MUCH.sub("", refusal.said))
        return TooLong(limit, numbers.get("n_prompt_tokens") or _sent(refusal.said, limit))
    return None


def _limit(said: str) -> int | None:
    for pattern in _LIMITS:
        for found in re.finditer(pattern, said, re.IGNORECASE):
            number = _value(found[1])
            if number >= _SMALLEST_CONTEXT:
                return number
    return None


def _sent(said: str, limit: int | None) -> int | None:
    for pattern in _SENT:
        for found in re.finditer(pattern, said, re.IGNORECASE):
            number = _value(found[1])
            if limit is not None and number > limit // 2 and number != limit:
                return number
    return None


def _value(digits: str) -> int:
    return int(digits.replace(",", "").replace("_", ""))
