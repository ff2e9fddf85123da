"""What the bundled model understands: a closed vocabulary and the sentences made of it."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass

ENGLISH = "en"
MANDARIN = "zh"


@dataclass(frozen=True)
class Utterance:
    """One sentence as it is written and as it is said."""

    language: str
    words: tuple[str, ...]
    """Units of text without spaces: English words, single Mandarin characters."""
    punctuation: str
    """End of the sentence; empty when the speaker breaks off."""
    breaths: frozenset[int] = frozenset()
    """Indices of words after which the speaker makes a short pause (a comma, never written)."""

    @property
    def pieces(self) -> tuple[str, ...]:
        """The written form of each word, as one token each."""
        if self.language == MANDARIN:
            return self.words
        return tuple(" " + _cased(index, word) for index, word in enumerate(self.words))

    @property
    def text(self) -> str:
        """The transcript."""
        return ("".join(self.pieces) + self.punctuation).strip()


LETTERS = tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
"""Spelled letters are written upper-case, which tells the letter A from the article."""

_DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_LARGER_NUMBERS = ("ten", "eleven", "twelve", "twenty", "thirty")
_OPENERS = ("um", "well", "so", "and", "but", "yeah", "right", "okay", "no", "yes", "mhm")

ENGLISH_SLOTS: dict[str, tuple[str, ...]] = {
    "city": ("london", "paris", "tokyo"),
    "name": ("alice", "bob", "maria"),
    "num": (*_DIGITS[1:], *_LARGER_NUMBERS),
    "dig": _DIGITS,
    "unit": ("minutes", "seconds", "hours", "minute", "second", "hour"),
    "room": ("kitchen", "bedroom"),
    "updown": ("up", "down"),
    "letter": LETTERS,
    "opener": (*_OPENERS, "uh huh"),
    "trailer": ("and", "but", "so", "um"),
}

ENGLISH_TEMPLATES: tuple[tuple[float, str], ...] = (
    (3, "what time is it?"),
    (1, "what is the time?"),
    (3, "what is the weather in {city}?"),
    (1, "what is the weather like today?"),
    (1, "what is the weather like tomorrow?"),
    (2, "tell me a joke."),
    (2, "tell me a story."),
    (1, "tell me about {city}."),
    (4, "set a timer for {num} {unit}."),
    (1, "set an alarm for {num}."),
    (3, "stop."),
    (1, "please stop."),
    (2, "wait."),
    (1, "pause."),
    (1, "continue."),
    (5, "what is {num} plus {num}?"),
    (1, "what is {num} minus {num}?"),
    (1, "what is {num} times {num}?"),
    (3, "book a table for {num}."),
    (2, "book a table for {num} at {num}."),
    (1, "book a room for {num} nights."),
    (2, "where is my order?"),
    (1, "cancel my order."),
    (2, "my order number is {dig} {dig} {dig} {dig}."),
    (2, "who are you?"),
    (1, "how are you?"),
    (1, "what is your name?"),
    (2, "what can you do?"),
    (3, "count to {num}."),
    (3, "goodbye."),
    (3, "hello."),
    (1, "good morning."),
    (2, "thank you."),
    (3, "yes."),
    (3, "no."),
    (1, "yes please."),
    (1, "no thank you."),
    (2, "okay."),
    (1, "sure."),
    (4, "remember that my name is {name}."),
    (3, "my name is {name}."),
    (3, "what is my name?"),
    (1, "call {name}."),
    (1, "turn on the lights."),
    (1, "turn off the lights."),
    (1, "turn on the lights in the {room}."),
    (1, "turn the volume {updown}."),
    (1, "play some music."),
    (1, "i want to talk to a human."),
    (1, "repeat that please."),
    (1, "say that again."),
    (1, "help me."),
    (1, "actually stop."),
    (1, "no wait."),
    (1, "hold on."),
    (1, "go on."),
    (1, "one moment."),
    (1, "actually make it {num}."),
    (1, "no i said {num}."),
    (2, "{dig} {dig} {dig}."),
    (1, "{dig} {dig}."),
    (1, "{dig} {dig} {dig} {dig} {dig}."),
    (2, "{num}."),
    (1, "hello who are you?"),
    (1, "hello how are you?"),
    # Turn-taking: backchannels, fillers, sentences that are not over.
    (2, "mhm."),
    (2, "uh huh."),
    (2, "yeah."),
    (2, "right."),
    (1, "well."),
    (1, "um."),
    (1, "but."),
    (1, "and."),
    (1, "so."),
    (1, "yeah sure."),
    (1, "yeah right."),
    (1, "uh huh yeah."),
    (1, "mhm yeah."),
    (1, "yeah but wait."),
    (1, "but wait."),
    (1, "well yeah but no."),
    (1, "my name is {name} and"),
    (1, "i want to talk to"),
    (1, "i want to"),
    (1, "book a table for {num} and"),
    (1, "and a table for {num}."),
    (1, "set a timer for {num} {unit} and"),
    (1, "my order number is"),
    (1, "so what is {num} plus {num}?"),
    # Spelling and addresses.
    (2, "A L I C E."),
    (1, "B O B."),
    (1, "M A R I A."),
    (1, "my name is {letter} {letter} {letter} {letter}."),
    (2, "{letter} {letter} {letter}."),
    (2, "{letter} {letter} {letter} {letter} {letter}."),
    (1, "{letter} {letter} {dig} {dig}."),
    (2, "{name} at example dot com."),
    (1, "my email is {name} at example dot com."),
    (1, "{letter} {letter} {letter} at example dot com."),
)

MANDARIN_SLOTS: dict[str, tuple[str, ...]] = {
    "num": tuple("一二三四五六七八九十"),
    "name": ("小明", "小红", "王芳"),
    "city": ("北京", "上海"),
    "opener": ("嗯", "对", "好的", "是的", "不是"),
}

MANDARIN_TEMPLATES: tuple[tuple[float, str], ...] = (
    (4, "你好。"),
    (4, "现在几点？"),
    (1, "现在几点了？"),
    (3, "谢谢。"),
    (3, "再见。"),
    (3, "停。"),
    (2, "等一下。"),
    (1, "请等一下。"),
    (2, "是。"),
    (2, "是的。"),
    (2, "不是。"),
    (2, "嗯。"),
    (2, "对。"),
    (2, "好的。"),
    (1, "不对。"),
    (3, "我叫{name}。"),
    (2, "我的名字是{name}。"),
    (2, "我的名字是什么？"),
    (2, "你叫什么名字？"),
    (2, "你是谁？"),
    (2, "今天天气怎么样？"),
    (1, "明天天气怎么样？"),
    (2, "{city}天气怎么样？"),
    (4, "{num}加{num}是多少？"),
    (2, "{num}加{num}等于几？"),
    (2, "{num}。"),
    (2, "{num}{num}{num}。"),
    (1, "数到{num}。"),
    (1, "讲个故事。"),
    (1, "讲个笑话。"),
    (1, "再说一遍。"),
)

SALAD_SHARE = 0.12
"""Random words keep the decoder listening; with sentences only it would guess from the grammar."""


def _words_of(templates: tuple[tuple[float, str], ...]) -> set[str]:
    return {
        word
        for _, template in templates
        for word in template.strip(".?").split()
        if "{" not in word
    }


ENGLISH_WORDS: tuple[str, ...] = tuple(
    sorted(
        _words_of(ENGLISH_TEMPLATES)
        | {word for values in ENGLISH_SLOTS.values() for value in values for word in value.split()}
    )
)

MANDARIN_CHARACTERS: tuple[str, ...] = tuple(
    sorted(
        {
            character
            for _, template in MANDARIN_TEMPLATES
            for character in re.sub(r"\{\w+\}|[。？]", "", template)
        }
        | {
            character
            for values in MANDARIN_SLOTS.values()
            for value in values
            for character in value
        }
    )
)

WORDS: tuple[str, ...] = ENGLISH_WORDS + MANDARIN_CHARACTERS

_ALWAYS_CAPITAL = {"i", *ENGLISH_SLOTS["city"], *ENGLISH_SLOTS["name"]}


def _cased(index: int, word: str) -> str:
    return word.capitalize() if index == 0 or word in _ALWAYS_CAPITAL else word


def all_pieces() -> list[str]:
    """Every token of text that an utterance can hold, without the punctuation."""
    english = {" " + word for word in ENGLISH_WORDS} | {
        " " + word.capitalize() for word in ENGLISH_WORDS
    }
    return sorted(english) + list(MANDARIN_CHARACTERS)


def english(text: str) -> Utterance:
    """An utterance from plain text such as ``"what time is it?"``."""
    body, punctuation = (text[:-1], text[-1]) if text[-1] in ".?" else (text, "")
    return Utterance(ENGLISH, tuple(body.split()), punctuation)


def mandarin(text: str) -> Utterance:
    """An utterance from plain text such as ``"现在几点？"``."""
    body, punctuation = (text[:-1], text[-1]) if text[-1] in "。？" else (text, "")
    return Utterance(MANDARIN, tuple(body), punctuation)


def _filled(
    rng: random.Random,
    templates: tuple[tuple[float, str], ...],
    slots: dict[str, tuple[str, ...]],
) -> str:
    weights = [weight for weight, _ in templates]
    template = rng.choices([text for _, text in templates], weights)[0]
    return re.sub(r"\{(\w+)\}", lambda match: rng.choice(slots[match.group(1)]), template)


def sample_english(rng: random.Random, salad: float = SALAD_SHARE) -> Utterance:
    """A random English utterance; with probability ``salad`` words in no order."""
    if rng.random() < salad:
        words = tuple(rng.choice(ENGLISH_WORDS) for _ in range(rng.randint(1, 6)))
        return Utterance(ENGLISH, words, ".")
    base = english(_filled(rng, ENGLISH_TEMPLATES, ENGLISH_SLOTS))
    words, punctuation = base.words, base.punctuation
    breaths: set[int] = set()
    if rng.random() < 0.14:
        opener = rng.choice(ENGLISH_SLOTS["opener"]).split()
        words = (*opener, *words)
        if rng.random() < 0.5:
            breaths.add(len(opener) - 1)
    if punctuation and len(words) > 2 and rng.random() < 0.05:
        words, punctuation = (*words, rng.choice(ENGLISH_SLOTS["trailer"])), ""
    if words[0] in {"hello", "no", "yes", "actually"} and len(words) > 1 and rng.random() < 0.5:
        breaths.add(0)
    return Utterance(ENGLISH, words, punctuation, frozenset(breaths))


def sample_mandarin(rng: random.Random, salad: float = SALAD_SHARE) -> Utterance:
    """A random Mandarin utterance; with probability ``salad`` characters in no order."""
    if rng.random() < salad:
        characters = tuple(rng.choice(MANDARIN_CHARACTERS) for _ in range(rng.randint(1, 6)))
        return Utterance(MANDARIN, characters, "。")
    base = mandarin(_filled(rng, MANDARIN_TEMPLATES, MANDARIN_SLOTS))
    if rng.random() < 0.12:
        opener = tuple(rng.choice(MANDARIN_SLOTS["opener"]))
        return Utterance(
            MANDARIN, (*opener, *base.words), base.punctuation, frozenset({len(opener) - 1})
        )
    return base
