"""What of a text can be spoken at all, and how much of it is spoken in one go."""

from __future__ import annotations

import re
from collections.abc import Callable

# Where a long text may be cut, best first: after a sentence, after a clause, at a space.
_CUTS = (
    re.compile(r"[.!?。！？．।؟…][\"'”’»)\]]*\s*"),
    re.compile(r"[,;:，、；：،]\s*"),
    re.compile(r"\s+"),
)


def is_speakable(text: str) -> bool:
    """Whether there is a letter or a digit in it; emoji, dashes and blanks make no sound."""
    return any(character.isalnum() for character in text)


def encodable(text: str) -> str:
    """Replaces lone surrogates, which a token cut in half can leave and no encoder takes."""
    return text.encode("utf-8", "replace").decode()


def cut_long(text: str, limit: int) -> list[str]:
    """Cuts a text at sentences, else clauses, else words, else anywhere.

    Args:
        text: Of any length.
        limit: Characters of one piece at most.

    Returns:
        The pieces in order; none of an empty text. Joined, they are the text.
    """
    return _cut(text, limit, lambda rest: _best_cut(rest, limit)) if text else []


def cut_at_last(text: str, limit: int, breaks: re.Pattern[str]) -> list[str]:
    """Cuts a text at the last break within the limit, so that the pieces are as long as can be.

    Args:
        text: Of any length.
        limit: Characters of one piece at most.
        breaks: Matches from the beginning of a text to the end of its last break.

    Returns:
        The pieces in order, at least one. Joined, they are the text.
    """

    def end(rest: str) -> int:
        found = breaks.match(rest[:limit])
        return found.end() if found else limit

    return _cut(text, limit, end)


def _cut(text: str, limit: int, end: Callable[[str], int]) -> list[str]:
    pieces: list[str] = []
    while len(text) > limit:
        at = end(text)
        pieces.append(text[:at])
        text = text[at:]
    return [*pieces, text]


def _best_cut(text: str, limit: int) -> int:
    for pattern in _CUTS:
        ends = [match.end() for match in pattern.finditer(text, 0, limit) if match.end() <= limit]
        # A cut in the first quarter would make a scrap and leave nearly all to the next.
        if ends and ends[-1] >= limit // 4:
            return ends[-1]
    return limit
