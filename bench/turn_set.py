"""What the caller of the turn benchmark says: only words that the bundled model knows."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import numpy as np

from agent_worker.caller.client import SAMPLE_RATE, Pcm
from agent_worker.commands.demo_conversation import render

_AUDIBLE = 80
"""Of int16 samples; the measure of the simulated caller."""


@dataclass(frozen=True)
class Sentence:
    """One thing to say, in parts with a pause after each but the last."""

    parts: tuple[str, ...]
    pauses_s: tuple[float, ...] = ()

    @property
    def text(self) -> str:
        """As it is shown."""
        return " … ".join(self.parts)

    @property
    def paused(self) -> bool:
        """Whether the caller pauses inside it."""
        return bool(self.pauses_s)


PLAIN = tuple(
    Sentence((text,))
    for text in (
        "what time is it",
        "what is two plus three",
        "hello",
        "set a timer for five minutes",
        "good morning",
        "what is the weather in london",
        "who are you",
        "remember that my name is alice",
        "what can you do",
        "book a table for two",
        "turn on the lights",
        "what is my name",
        "where is my order",
        "what is nine minus four",
        "thank you",
        "play some music",
        "how are you",
        "call maria",
        "what is the weather like today",
        "repeat that please",
    )
)
PAUSED = (
    Sentence(("set a timer for", "five minutes"), (0.6,)),
    Sentence(("my name is", "alice"), (0.4,)),
    Sentence(("um", "what time is it"), (0.5,)),
    Sentence(("what is two plus", "three"), (0.5,)),
    Sentence(("i want to", "talk to a human"), (0.7,)),
    Sentence(("book a table for", "two"), (0.9,)),
    Sentence(("well", "what is the weather in london"), (0.3,)),
    Sentence(("my order number is", "one two", "three four"), (0.7, 0.5)),
    Sentence(("remember that my name is", "bob"), (0.8,)),
    Sentence(("tell me about", "paris"), (0.6,)),
)
ASK_FOR_STORY = "tell me a story"
"""Answered at length in any words."""
ASK_FOR_KNOWN_WORDS = "tell me a joke"
"""Answered at length in words that the recogniser knows."""
BARGE_INS = ("stop", "wait", "no")
BACKCHANNELS = ("mhm", "yeah", "uh huh")


def sentences(turns: int) -> list[Sentence]:
    """That many turns; every third one has pauses inside."""
    out = []
    for turn in range(turns):
        paused = turn % 3 == 2
        pool = PAUSED if paused else PLAIN
        out.append(pool[(turn // 3 if paused else turn - turn // 3) % len(pool)])
    return out


async def rendered(sentence: Sentence, say: Callable[[str], Awaitable[Pcm]] = render) -> Pcm:
    """A sentence in the caller's voice, with silence exactly as long as its pauses."""
    pieces: list[Pcm] = []
    for part, pause_s in zip(sentence.parts, (*sentence.pauses_s, 0.0), strict=True):
        pieces += [trimmed(await say(part)), np.zeros(int(pause_s * SAMPLE_RATE), np.int16)]
    return np.concatenate(pieces)


def trimmed(pcm: Pcm) -> Pcm:
    """Without the silence before and after, which would lengthen a pause."""
    voiced = np.flatnonzero(np.abs(pcm.astype(np.int32)) >= _AUDIBLE)
    return pcm[voiced[0] : voiced[-1] + 1] if len(voiced) else pcm[:0]
