"""How much of a text Kokoro makes sound of in one go.

It hears nothing of a phrase before it has made all of it: the normalisation in its decoder looks
at the whole. So the first phrase is a clause, and the later ones, which are made while it is
played, are as long as sounds natural.
"""

from __future__ import annotations

from collections.abc import Sequence

FEWEST = 10
"""Phonemes of a phrase: of fewer Kokoro makes a hasty sound."""
MOST_LATER = 160
"""Of the phrases after the first: some ten seconds."""
MOST = 400
"""Of any; the graph takes 510."""


def plan_phrases(clauses: Sequence[str]) -> list[str]:
    """Joins clauses to phrases, and cuts what is too long.

    Args:
        clauses: Phonemes, with the mark that ends each.

    Returns:
        The phrases in order; joined by a space where a clause ended, they are the clauses.
    """
    phrases: list[str] = []
    for clause in (piece for whole in clauses for piece in _cut(whole)):
        if phrases and _belongs(phrases, clause):
            phrases[-1] += f" {clause}"
        else:
            phrases.append(clause)
    return phrases


def _belongs(phrases: list[str], clause: str) -> bool:
    """Whether a clause is spoken in one go with what comes before it."""
    before = phrases[-1]
    together = len(before) + 1 + len(clause)
    if len(before) < FEWEST or len(clause) < FEWEST:
        return together <= MOST
    ended = before[-1:] in ".!?…"
    return len(phrases) > 1 and not ended and together <= MOST_LATER


def _cut(clause: str) -> list[str]:
    pieces: list[str] = []
    while len(clause) > MOST:
        at = clause.rfind(" ", 1, MOST)
        at = MOST if at < 0 else at
        pieces.append(clause[:at])
        clause = clause[at:].lstrip()
    return [*pieces, clause] if clause else pieces
