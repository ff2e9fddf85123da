"""The simplest way from tokens to phrases: one string in, a phrase out when there is one."""

from __future__ import annotations

from .boundaries import Boundary, BoundaryScanner, is_wide

_HARD_LIMIT = 4
"""A text without a word's end is let go after this many times `min_chars`."""

_SENTENCE = (Boundary.PARAGRAPH, Boundary.SENTENCE)
_CLAUSE = (Boundary.CLAUSE, Boundary.NESTED)


class SpeechBuffer:
    """Gathers tokens until there is something to say: no clock, no tuning, no I/O.

    A sentence leaves as soon as it is whole, however short. Within a longer one a phrase leaves
    once `min_chars` characters are there, at the end of a clause or else of a word. The phrases
    and what `flush` gives are, joined, the tokens joined. `SentenceStreamBuffer` does more: it
    starts a reply earlier, and merges sentences too short to be spoken well on their own.
    """

    def __init__(self, min_chars: int = 30) -> None:
        """
        Args:
            min_chars: Characters from which a phrase may end within a sentence. A CJK character
                counts as three, for it takes about as long to say.
        """
        if min_chars < 1:
            raise ValueError("min_chars must be at least 1")
        self._min_chars = min_chars
        self._scanner = BoundaryScanner()
        self._cuts: dict[Boundary, int] = {}
        self.flush()

    def add(self, token: str) -> str | None:
        """Takes the next piece of text.

        Returns:
            The phrase that can be spoken now, with the white space after it; None for none yet.
        """
        self._feed(token)
        position = self._place_to_cut()
        if position is None:
            return None
        text = self._scanner.text
        self._restart(text[position - 1])
        self._feed(text[position:])
        return text[:position]

    def flush(self) -> str:
        """Ends the reply: returns what is left, "" where nothing is, and begins anew."""
        text = self._scanner.text
        self._restart("\n")
        return text

    def _restart(self, before: str) -> None:
        self._scanner.restart(before)
        self._cuts.clear()

    def _feed(self, text: str) -> None:
        for char in text:
            for cut in self._scanner.feed(char):
                self._cuts[cut.boundary] = cut.position

    def _place_to_cut(self) -> int | None:
        text = self._scanner.text
        if sentence := self._last(_SENTENCE):
            return sentence
        weight = len(text) + 2 * sum(map(is_wide, text))
        if weight < self._min_chars:
            return None
        clause, word = self._last(_CLAUSE), self._last((Boundary.WORD,))
        # a clause that has only just begun the phrase is not worth a pause
        if clause * 2 >= word and clause:
            return clause
        if word:
            return word
        if weight >= self._min_chars * _HARD_LIMIT:
            return self._last((Boundary.TIGHT_WORD,)) or len(text)
        return None

    def _last(self, boundaries: tuple[Boundary, ...]) -> int:
        """The last such cut behind something that can be spoken; 0 for none."""
        position = max((self._cuts.get(boundary, 0) for boundary in boundaries), default=0)
        return position if any(map(str.isalnum, self._scanner.text[:position])) else 0
