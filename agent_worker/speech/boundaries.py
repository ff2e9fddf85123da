"""Where text that arrives character by character may be cut, and how well."""

from __future__ import annotations

import enum
import functools
import re
from dataclasses import dataclass

from agent_worker.toml_beside import toml_beside

_LATIN_TERMINATORS = frozenset(".!?…‽")
_SPACED_TERMINATORS = _LATIN_TERMINATORS | frozenset("؟۔।॥՞።")
"""They end a sentence when white space follows."""
_CJK_TERMINATORS = frozenset("。！？；｡︒")
"""They end a sentence by themselves."""
_CLAUSE_MARKS = frozenset(",;:،؛")
_CJK_CLAUSE_MARKS = frozenset("，、：")
_DASHES = frozenset("—–")

_PAIRS = {
    "(": ")",
    "[": "]",
    "{": "}",
    "“": "”",
    "„": "“”",
    "‘": "’",
    "«": "»",
    "「": "」",
    "『": "』",
    "（": "）",
    "【": "】",
    "《": "》",
    "〈": "〉",
    "［": "］",
    "〔": "〕",
}
_CLOSERS = frozenset("\"'”’»」』）】》〉］〕)]}“«")
_SINGLE_QUOTES = "'’"
_FORGET_AFTER = 200
"""Characters after which an opening bracket or quote counts as a slip of the writer."""


class Boundary(enum.Enum):
    """What kind of cut a position allows, from the best to the worst."""

    PARAGRAPH = "paragraph"
    SENTENCE = "sentence"
    CLAUSE = "clause"
    NESTED = "nested"
    """The end of a sentence or a clause within brackets or quotes."""
    WORD = "word"
    TIGHT_WORD = "tight word"
    """White space after a number, after an abbreviation, or within brackets or quotes."""


@dataclass(frozen=True)
class Cut:
    """A place where the text may be cut."""

    position: int
    """Index of the first character after the cut."""
    boundary: Boundary


class _Awaits(enum.Enum):
    NOT_LOWER = enum.auto()
    NOT_DIGIT = enum.auto()
    STARTER = enum.auto()
    NO_ORDINAL = enum.auto()


@dataclass(frozen=True)
class _Words:
    never_final: frozenset[str]
    maybe_final: frozenset[str]
    before_number: frozenset[str]
    sentence_starters: frozenset[str]
    ordinal_leads: frozenset[str]
    ordinal_follows: frozenset[str]


@functools.cache
def _words() -> _Words:
    lists = toml_beside(__file__, "sentences.toml")
    return _Words(**{name: frozenset(words) for name, words in lists.items()})


def is_cjk(char: str) -> bool:
    """Whether a character belongs to a script written without spaces between words."""
    code = ord(char)
    return (
        0x3040 <= code <= 0x30FF  # kana
        or 0x3400 <= code <= 0x4DBF
        or 0x4E00 <= code <= 0x9FFF
        or 0xF900 <= code <= 0xFAFF
        or 0x20000 <= code <= 0x3FFFF
        or 0x3105 <= code <= 0x312F
        or code in (0x3005, 0x3007)
    )


def is_wide(char: str) -> bool:
    """Whether a character is CJK text or the punctuation that goes with it."""
    return is_cjk(char) or 0x3000 <= ord(char) <= 0x303F or 0xFF00 <= ord(char) <= 0xFF60


_INITIALS = re.compile(r"(?:[^\W\d_]\.)*[^\W\d_]")
_LIST_MARKER = re.compile(r"\s*(?:[-*+>]\s+)*\(?\d{1,3}")
_INLINE_LIST_LEADS = (".", "!", "?", ":", ";")


class BoundaryScanner:
    """Finds the places to cut in a text that is fed one character at a time.

    A decision depends on the characters seen so far and on nothing else, so it does not matter
    how the text was split on its way here. It looks ahead only where the text is ambiguous until
    the next word is known ("5 p.m. The" against "5 p.m. on Monday").
    """

    def __init__(self) -> None:
        self._text = ""
        self._before = "\n"
        self._open: list[tuple[int, str]] = []
        self._word_start = 0
        self._pending: tuple[int, _Awaits] | None = None

    @property
    def text(self) -> str:
        """What was fed since the last `restart`."""
        return self._text

    def restart(self, before: str) -> None:
        """Begins with an empty text.

        Args:
            before: The character in front of it, for what depends on where a word begins.
        """
        self._text = ""
        self._before = before
        self._open.clear()
        self._word_start = 0
        self._pending = None

    def feed(self, char: str) -> list[Cut]:
        """Takes one character and returns the cuts that it made certain, earliest first."""
        cuts = self._settle(char)
        position = len(self._text)
        previous = self._text[-1] if self._text else self._before
        if self._open and previous == self._open[-1][1] in _SINGLE_QUOTES and not char.isalpha():
            # Only now is it no apostrophe.
            self._open.pop()
        if char.isspace():
            cuts += self._at_space(char, position, previous)
        elif is_cjk(char):
            cuts += self._before_cjk(position, previous)
        if previous.isspace() and not char.isspace():
            self._word_start = position
        self._text += char
        closed = self._track_pairs(char, position, previous)
        cuts += self._after_mark(char, position + 1, closed)
        return cuts

    def finish(self) -> list[Cut]:
        """Takes the end of the text: settles what waited for another word."""
        return self._settle("\n")

    def ends_sentence(self) -> bool:
        """Whether the text ends with a terminator that no later character is likely to undo."""
        stem = self._text.rstrip().rstrip("".join(_CLOSERS))
        if self._open or not stem or stem[-1] not in _SPACED_TERMINATORS | _CJK_TERMINATORS:
            return False
        return self._judge(len(stem)) is True and not re.search(r"\d\.$", stem)

    def _settle(self, char: str) -> list[Cut]:
        """Decides a full stop that waited for what comes next."""
        if self._pending is None:
            return []
        position, awaits = self._pending
        words = _words()
        if awaits in (_Awaits.NOT_LOWER, _Awaits.NOT_DIGIT):
            if char.isspace():
                return []
            goes_on = char.islower() if awaits is _Awaits.NOT_LOWER else char.isdigit()
        else:
            word = self._text[position:].lstrip().lower().replace("’", "'")
            if char.isalnum() or char in "'’" or (not word and char.isspace()):
                return []
            if awaits is _Awaits.STARTER:
                goes_on = word not in words.sentence_starters or self._lower_at(position)
            else:
                goes_on = word in words.ordinal_follows or self._lower_at(position)
        self._pending = None
        return [] if goes_on else [Cut(position, Boundary.SENTENCE)]

    def _lower_at(self, position: int) -> bool:
        return self._text[position:].lstrip()[:1].islower()

    def _at_space(self, char: str, position: int, previous: str) -> list[Cut]:
        if char == "\n" and "\n" in self._text[len(self._text.rstrip()) :]:
            self._open.clear()
            self._pending = None
            return [Cut(position + 1, Boundary.PARAGRAPH)] if self._text.strip() else []
        if previous.isspace():
            return []
        after = position + 1
        end = position
        while end and self._text[end - 1] in _CLOSERS:
            end -= 1
        mark = self._text[end - 1 : end]
        if mark in _SPACED_TERMINATORS and mark:
            verdict = self._judge(end)
            if verdict is True and self._open:
                return [Cut(after, Boundary.NESTED)]
            if verdict is True and end < position and char != "\n":
                verdict = _Awaits.NOT_LOWER
            if verdict is True:
                return [Cut(after, Boundary.SENTENCE)]
            if verdict is not False and not self._open:
                self._pending = (after, verdict)
            return [Cut(after, Boundary.TIGHT_WORD)]
        if self._is_clause_end(mark, end):
            return [Cut(after, Boundary.NESTED if self._open else Boundary.CLAUSE)]
        if char == "\n" and not self._open:
            return [Cut(after, Boundary.CLAUSE)]
        tight = self._open or previous.isdigit() or self._is_marker(position)
        return [Cut(after, Boundary.TIGHT_WORD if tight else Boundary.WORD)]

    def _is_clause_end(self, mark: str, end: int) -> bool:
        if mark in ("-", *_DASHES):
            # A dash between words; a hyphen at a word's end belongs to the word.
            return end - self._word_start == 1 and end > 1
        # "e.g., this" and "March 3, 2024" are spoken in one breath.
        return bool(mark) and mark in _CLAUSE_MARKS and self._text[end - 2 : end - 1].isalpha()

    def _is_marker(self, end: int) -> bool:
        """Whether nothing but a list marker stands in front of a position."""
        line = self._text[self._text.rfind("\n", 0, end) + 1 : end]
        return not any(char.isalpha() for char in line)

    def _judge(self, end: int) -> bool | _Awaits:
        """Whether the terminator just before `end` ends a sentence, as far as one can tell."""
        if self._text[end - 1] != ".":
            return True
        start = min(self._word_start, end)
        word = self._text[start : end - 1].lstrip("".join(_PAIRS) + "\"'¿¡").lower()
        words = _words()
        if word.endswith(".") or not word:
            # An ellipsis.
            return True
        if word in words.never_final:
            return False
        if word in words.before_number:
            return _Awaits.NOT_DIGIT
        if word in words.maybe_final or (_INITIALS.fullmatch(word) and word.isascii()):
            return _Awaits.STARTER
        if word.isdigit() and len(word) <= 3:
            line = self._text[self._text.rfind("\n", 0, end) + 1 : end - 1]
            before = self._text[:start].rstrip()
            if _LIST_MARKER.fullmatch(line) or before[-1:] in _INLINE_LIST_LEADS:
                return False
            lead = self._text[:start].lower().split()[-2:]
            if lead and lead[-1] in words.ordinal_leads and lead != ["i", "am"]:
                return False
            return _Awaits.NO_ORDINAL if len(word) <= 2 else True
        return True

    def _before_cjk(self, position: int, previous: str) -> list[Cut]:
        if not self._text:
            return []
        if previous in _LATIN_TERMINATORS and not self._open:
            stem = self._text.rstrip(".!?…‽")
            if not (previous == "." and stem[-1:].isdigit()) and self._judge(position) is True:
                return [Cut(position, Boundary.SENTENCE)]
        if is_cjk(previous):
            return [Cut(position, Boundary.TIGHT_WORD if self._open else Boundary.WORD)]
        return []

    def _track_pairs(self, char: str, position: int, previous: str) -> bool:
        """Follows brackets and quotes; returns whether the outermost one was closed."""
        if self._open and position - self._open[0][0] > _FORGET_AFTER:
            self._open.clear()
        for depth in range(len(self._open) - 1, -1, -1):
            if char in self._open[depth][1] and char not in _SINGLE_QUOTES:
                del self._open[depth:]
                return not self._open
        opens_word = previous.isspace() or previous in _PAIRS or previous in "\"'-—–/"
        if char == '"':
            if opens_word or is_cjk(previous) or previous in "：，。:,":
                self._open.append((position, '"'))
        elif char == "»" or char == "'":
            if opens_word:
                self._open.append((position, "«" if char == "»" else "'"))
        elif char in _PAIRS and not (char == "(" and previous in ":;"):
            self._open.append((position, _PAIRS[char]))
        return False

    def _after_mark(self, char: str, after: int, closed: bool) -> list[Cut]:
        """Marks that allow a cut right behind them, whatever follows."""
        if char in _CJK_TERMINATORS:
            return [Cut(after, Boundary.NESTED if self._open else Boundary.SENTENCE)]
        if closed:
            stem = self._text.rstrip("".join(_CLOSERS))
            if stem[-1:] in _CJK_TERMINATORS and stem:
                return [Cut(after, Boundary.SENTENCE)]
        if char in _CJK_CLAUSE_MARKS or (char in _DASHES and self._text[-2:-1].isalpha()):
            return [Cut(after, Boundary.NESTED if self._open else Boundary.CLAUSE)]
        return []
