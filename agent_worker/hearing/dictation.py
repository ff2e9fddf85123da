"""Are digits, a spelled name or an address under way?"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from .lexicon import Lexicon

_DIGITS = re.compile(r"\+?\d[\d-]*")
_CJK = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]")
_WHOLE_PHONE_NUMBER = 10
"""Digits; a number may well be complete now."""
_LONGEST_MAILBOX = 6
"""Words after "my e-mail is" that may still be an address without its domain."""


def is_dictation(text: str, words: list[str], lexicon: Lexicon, *, expected: bool) -> bool:
    """Whether the end of a text belongs to something that is dictated piece by piece.

    Args:
        text: As it was heard.
        words: Its words in lower case; CJK characters one by one.
        lexicon: Of its language.
        expected: The agent has just asked for digits, a spelled name or an address.
    """
    # "five five um six" is dictated too
    words = [word for word in words if word not in lexicon.fillers] or words
    if _is_address(text, words, lexicon, expected):
        return True
    announced = _is_announced(words, lexicon)
    return _is_code(words, lexicon, expected) if announced is None else announced


@dataclass(frozen=True)
class _Run:
    """Digits and single letters at the end of a text."""

    parts: int = 0
    digits: int = 0
    groups: int = 0
    """Parts written as figures."""
    letters: int = 0
    sure_letters: int = 0
    """Letters that are no words of the language, as "a" and "i" are in English."""


def _run(words: Iterable[str], lexicon: Lexicon, *, with_tens: bool = False) -> _Run:
    parts = digits = groups = letters = sure = 0
    for word in words:
        if _DIGITS.fullmatch(word):
            digits += sum(char.isdigit() for char in word)
            groups += 1
        elif word in lexicon.numbers:
            digits += 1
        elif with_tens and word in lexicon.quantities:
            digits += 2
        elif _is_letters(word):
            letters += word.count("-") + 1
            sure += sum(part not in lexicon.open_words for part in word.split("-"))
        elif word not in lexicon.links:
            break
        parts += 1
    return _Run(parts, digits, groups, letters, sure)


def _is_letters(word: str) -> bool:
    return not _CJK.search(word) and all(
        len(part) == 1 and part.isalpha() for part in word.split("-")
    )


def _is_code(words: list[str], lexicon: Lexicon, expected: bool) -> bool:
    """Digits, letters, or both, without having been announced."""
    spaced = f" {' '.join(words)}"
    if spaced.endswith(tuple(f" {end}" for end in lexicon.not_spelled)):
        return False
    if _spells_by_words(words, lexicon):
        return True
    run = _run(reversed(words), lexicon, with_tens=expected)
    if run.digits and run.digits < _WHOLE_PHONE_NUMBER:
        alone = run.parts > 1 and run.parts == len(words)
        if expected or run.parts > 2 or alone or (run.parts > 1 and run.groups == run.parts):
            return True
    if run.digits:
        return False
    if run.letters == 1:
        return expected and len(words) == 1
    # "ir y a" and "should i" end with words, not with letters
    return run.letters > 1 and (run.sure_letters > 0 or run.letters == len(words))


def _spells_by_words(words: list[str], lexicon: Lexicon) -> bool:
    """ "b as in bravo", "m wie martha"."""
    spaced = " ".join(words)
    for link in lexicon.spelled_like:
        before, found, after = spaced.rpartition(f" {link}")
        if found and len(after.split()) < 2 and (not after or after.startswith(" ")):
            letter = before.split()[-1]
            return _is_letters(letter) and (" " in link or letter not in lexicon.open_words)
    return False


def _is_announced(words: list[str], lexicon: Lexicon) -> bool | None:
    """Whether what "my order number is" announced is under way; None: nothing was announced."""
    tail = _after(words, lexicon.announcers)
    if tail is None:
        return None
    if not tail:
        return True
    run = _run(tail, lexicon, with_tens=True)
    if run.parts < len(tail):
        return None
    before = " ".join(words[: len(words) - len(tail)])
    whole = [length for noun, length in lexicon.lengths.items() if noun in before]
    return run.digits < min(whole, default=_WHOLE_PHONE_NUMBER)


def _after(words: list[str], announcers: Iterable[str]) -> list[str] | None:
    """The words after the last announcement; None without one."""
    found: list[str] | None = None
    for announcer in announcers:
        parts = list(announcer) if _CJK.search(announcer) else announcer.split()
        for start in range(len(words) - len(parts), -1, -1):
            if words[start : start + len(parts)] == parts:
                tail = words[start + len(parts) :]
                found = tail if found is None or len(tail) < len(found) else found
                break
    return found


def _is_address(text: str, words: list[str], lexicon: Lexicon, expected: bool) -> bool:
    last = words[-1]
    if "@" in last and "." not in text.rpartition("@")[2].rstrip(".?!"):
        return True
    mailbox = _after(words, lexicon.mail_announcers)
    if mailbox == []:
        return True
    if last in lexicon.domains:
        return False
    if mailbox is not None and len(mailbox) <= _LONGEST_MAILBOX and "@" not in text:
        return True
    if any(word in words or (_CJK.search(word) and word in text) for word in lexicon.at_words):
        return True
    has_at = bool({"at", "@"} & set(words[1:]))
    return (expected and has_at) or (
        last in lexicon.email and (expected or (has_at and last != "at"))
    )
