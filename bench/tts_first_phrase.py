"""How soon the first phrase of a reply can be spoken: ours against LiveKit's default tokenizer.

Nothing is timed here: tokens arrive by a clock that is set, 25 ms apart, so the figures depend on
the texts only.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import mean

from livekit.agents import tokenize

from agent_worker.streaming_buffer import SentenceStreamBuffer

from .tts_replies import replies, tokens

TOKENS_PER_SECOND = 40


@dataclass(frozen=True)
class FirstPhrase:
    """The first phrase of one reply."""

    characters: int
    """That the model had written when it left."""
    ms: float
    """After the first token."""


def measure(language: str) -> dict[str, float]:
    """Means over fifty replies, and the ratio of the times."""
    texts = [tokens(reply) for reply in replies(language)]
    ours = [_ours(text) for text in texts]
    theirs = [_theirs(text) for text in texts]
    return {
        "ratio": round(mean(p.ms for p in ours) / mean(p.ms for p in theirs), 3),
        "ours_ms": round(mean(p.ms for p in ours), 1),
        "livekit_ms": round(mean(p.ms for p in theirs), 1),
        "ours_characters": round(mean(p.characters for p in ours), 1),
        "livekit_characters": round(mean(p.characters for p in theirs), 1),
        "ratio_characters": round(
            mean(p.characters for p in ours) / mean(p.characters for p in theirs), 3
        ),
        "replies": len(texts),
    }


def _ours(text: list[str]) -> FirstPhrase:
    now = 0.0
    buffer = SentenceStreamBuffer(clock=lambda: now)
    written = 0
    for index, token in enumerate(text):
        arrives = index / TOKENS_PER_SECOND
        if buffer.deadline is not None and buffer.deadline <= arrives:
            now = buffer.deadline
            if buffer.poll():
                return FirstPhrase(written, now * 1000)
        now = arrives
        written += len(token)
        if buffer.push(token):
            return FirstPhrase(written, now * 1000)
    return FirstPhrase(written, now * 1000)


def _theirs(text: list[str]) -> FirstPhrase:
    stream = tokenize.blingfire.SentenceTokenizer().stream()
    written = 0
    for index, token in enumerate(text):
        written += len(token)
        stream.push_text(token)
        if not stream._event_ch.empty():
            return FirstPhrase(written, index / TOKENS_PER_SECOND * 1000)
    return FirstPhrase(written, (len(text) - 1) / TOKENS_PER_SECOND * 1000)
