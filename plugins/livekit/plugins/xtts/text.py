"""What of a text can be spoken at all, and how much of it goes into one request."""

from __future__ import annotations

import re

# Where a long text may be cut, best first: after a sentence, after a clause, at a space.
_CUTS = (
    re.compile(r"[.!?。！？．।؟…][\"'”’»)\]]*\s*"),
    re.compile(r"[,;:，、；：،]\s*"),
    re.compile(r"\s+"),
)


def is_speakable(text: str) -> bool:
    """Whether there is a letter or a digit in it; emoji, dashes and blanks make no sound."""
    return any(character.isalnum() for character in text)


def cut_long(text: str, limit: int) -> list[str]:
    """Cuts a text at sentences, else clauses, else words, else anywhere.

    Args:
        text: Of any length.
        limit: Characters of one piece at most.

    Returns:
        The pieces in order. Joined, they are the text.
    """
    pieces: list[str] = []
    while len(text) > limit:
        end = _best_cut(text, limit)
        pieces.append(text[:end])
        text = text[end:]
    if text:
        pieces.append(text)
    return pieces


def _best_cut(text: str, limit: int) -> int:
    for pattern in _CUTS:
        ends = [match.end() for match in pattern.finditer(text, 0, limit) if match.end() <= limit]
        # A cut in the first quarter would make a scrap and leave nearly all to the next.
        if ends and ends[-1] >= limit // 4:
            return ends[-1]
    return limit
