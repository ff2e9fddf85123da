"""Does a transcript end like something that was said to the end?"""

from __future__ import annotations

import enum
import functools
import re
import tomllib
import unicodedata
from dataclasses import dataclass
from importlib import resources


class Completeness(enum.Enum):
    """What the words alone say about the end of a turn."""

    FINISHED = "finished"
    """A finished sentence, a question, or an answer that is a turn by itself."""
    PLAIN = "plain"
    """Nothing speaks for more to come, and nothing against it."""
    UNFINISHED = "unfinished"
    """It ends with "and", "um", a comma, an article …"""
    DICTATING = "dictating"
    """Digits, a spelled name or an e-mail address are under way."""


_SENTENCE_END = re.compile(r"[.!?。！？؟।]['\"”’»」）)]*$")
_QUESTION_END = re.compile(r"[?？؟]['\"”’»」）)]*$")
_OPEN_END = re.compile(r"(\.\.\.|…|[,،，、:：;；—–-])$")
_LOOSE_MARKS = re.compile(r"(?<!\S)['-]+|['-]+(?!\S)")
_CJK = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]")
_CJK_OR_OTHER = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|[^\u3040-\u30ff\u3400-\u9fff]+")
_DIGITS = re.compile(r"\+?\d[\d-]*")
_WHOLE_PHONE_NUMBER = 10
"""Digits; a number may well be complete now."""
_SHORT_TURN = 2
"""Words; so few are often only the beginning."""


@dataclass(frozen=True)
class _Lexicon:
    open_words: frozenset[str]
    fillers: frozenset[str]
    question_words: frozenset[str]
    question_ends: frozenset[str]
    answers: frozenset[str]
    numbers: frozenset[str]
    email: frozenset[str]
    domains: frozenset[str]


@functools.cache
def _tables() -> dict[str, dict[str, list[str]]]:
    source = resources.files(__package__).joinpath("data/turns.toml")
    tables: dict[str, dict[str, list[str]]] = tomllib.loads(source.read_text(encoding="utf-8"))
    return tables


@functools.cache
def _lexicon(language: str) -> _Lexicon:
    tables = _tables()
    common, own = tables["any"], tables.get(language, {})

    def words(name: str) -> frozenset[str]:
        return frozenset(own.get(name, [])) | frozenset(common.get(name, []))

    return _Lexicon(
        open_words=words("open_words"),
        fillers=words("fillers"),
        question_words=words("question_words"),
        question_ends=words("question_ends"),
        answers=words("answers"),
        numbers=frozenset(tables["numbers"].get(language, [])),
        email=words("email"),
        domains=words("domains"),
    )


def split_words(text: str) -> list[str]:
    """The words of a text in lower case, without punctuation; CJK text one by one character."""
    kept = "".join(char if _in_word(char) else " " for char in text.lower().replace("’", "'"))
    words: list[str] = []
    for word in _LOOSE_MARKS.sub(" ", kept).split():
        if _CJK.search(word):
            words += re.findall(
                r"[\u3040-\u30ff\u3400-\u9fff]|[^\u3040-\u30ff\u3400-\u9fff]+", word
            )
        else:
            words.append(word)
    return words


def _in_word(char: str) -> bool:
    # Vowel signs of Indic and Arabic scripts are marks, not letters.
    return char.isalnum() or char in "'@&+-_" or unicodedata.category(char).startswith("M")


def language_of(text: str, language: str | None = None) -> str:
    """The primary language tag to judge a text by.

    Args:
        text: Any text.
        language: What the recogniser says, as a BCP 47 tag, if it says anything.
    """
    if language and language not in ("auto", "multi"):
        return re.split(r"[-_]", language.lower())[0]
    if re.search(r"[\u3040-\u30ff]", text):
        return "ja"
    return "zh" if _CJK.search(text) else "en"


def asks_for_dictation(text: str) -> bool:
    """Whether an agent's words ask for digits, a spelled name or an address."""
    lower = text.lower()
    return any(word in lower for word in _tables()["any"]["asks_dictation"])


def judge(
    text: str, *, language: str | None = None, expects_dictation: bool = False
) -> Completeness:
    """Judges the end of a transcript.

    Args:
        text: What was heard of this turn so far.
        language: BCP 47 tag; None: judged by the script, English for Latin letters.
        expects_dictation: The agent has just asked for digits, a spelled name or an address, so
            the first few of them don't make a turn.
    """
    stripped = text.strip()
    words = split_words(stripped)
    if not words:
        return Completeness.UNFINISHED
    tag = language_of(stripped, language)
    lexicon = _lexicon(tag)
    if _is_dictation(stripped, words, lexicon, expects_dictation):
        return Completeness.DICTATING
    if _OPEN_END.search(stripped):
        return Completeness.UNFINISHED
    separator = "" if tag in ("zh", "ja") else " "
    joined = separator.join(words)
    if joined in lexicon.answers:
        return Completeness.FINISHED
    # Recognisers end partials with a full stop whatever the last word is, so words go first.
    is_question = bool(_QUESTION_END.search(stripped)) or _asks(words, joined, lexicon, tag)
    if _is_open(words, joined, lexicon, tag) and not (
        is_question and _may_end_question(words, lexicon, tag)
    ):
        return Completeness.UNFINISHED
    if is_question or _SENTENCE_END.search(stripped):
        return Completeness.FINISHED
    return Completeness.PLAIN


def _asks(words: list[str], joined: str, lexicon: _Lexicon, tag: str) -> bool:
    if tag == "zh":
        return any(word in joined for word in lexicon.question_words)
    return len(words) > _SHORT_TURN and words[0] in lexicon.question_words


def _may_end_question(words: list[str], lexicon: _Lexicon, tag: str) -> bool:
    return tag in ("zh", "ja") or words[-1] in lexicon.question_ends


def _is_open(words: list[str], joined: str, lexicon: _Lexicon, tag: str) -> bool:
    endings = lexicon.open_words | lexicon.fillers
    if tag in ("zh", "ja"):
        return joined.endswith(tuple(endings))
    if words[-1] in endings:
        return True
    return any(" " in ending and joined.endswith(ending) for ending in lexicon.fillers)


def _is_dictation(text: str, words: list[str], lexicon: _Lexicon, expected: bool) -> bool:
    last = words[-1]
    if last in lexicon.email and ("@" in text or _spells_address(words, lexicon, expected)):
        return True
    if "@" in last and "." not in text.rpartition("@")[2].rstrip(".?!"):
        return True
    if expected and {"at", "@"} & set(words[1:]) and last not in lexicon.domains:
        return True
    run = 0
    digits = 0
    for word in reversed(words):
        if _DIGITS.fullmatch(word):
            digits += sum(char.isdigit() for char in word)
        elif word in lexicon.numbers:
            digits += 1
        else:
            break
        run += 1
    if run and digits < _WHOLE_PHONE_NUMBER:
        if expected or run > 2 or (run > 1 and run == len(words)):
            return True
        grouped = [word for word in words[-run:] if _DIGITS.fullmatch(word)]
        if run > 1 and len(grouped) == run:
            return True
    letters = 0
    for word in reversed(words):
        if not all(len(part) == 1 and part.isalpha() for part in word.split("-")):
            break
        letters += word.count("-") + 1
    spelled = letters > 1 or (letters == 1 and expected and len(words) == 1)
    return spelled and not _CJK.search(words[-1])


def _spells_address(words: list[str], lexicon: _Lexicon, expected: bool) -> bool:
    """Whether a trailing "at" or "dot" belongs to an address."""
    if words[-1] != "at":
        return expected or "at" in words[:-1] or words[-1] in ("underscore", "@", "arroba")
    return expected
