"""Is what was heard the agent's own voice, come back through the caller's loudspeaker?"""

from __future__ import annotations

from collections import deque
from difflib import SequenceMatcher

from .completeness import split_words

_REMEMBERED_WORDS = 120
"""Words; the reply being spoken and the end of the one before it."""
_ALIKE = 0.75
"""Share of a heard word's letters that must match; recognisers mishear an echo."""
_ECHO_SHARE = 0.7
"""Share of the words heard that must be the agent's, in its order."""


class EchoGuard:
    """Tells the agent's own words from the caller's.

    Two or more words in the agent's order are an echo. A single one may be an answer that takes
    up a word of the question; it counts as an echo only in a call in which echo was heard.
    """

    def __init__(self) -> None:
        self._said: deque[str] = deque(maxlen=_REMEMBERED_WORDS)
        self._was_heard = False

    @property
    def was_heard(self) -> bool:
        """Whether the agent has heard itself in this call."""
        return self._was_heard

    def agent_says(self, text: str) -> None:
        """The agent speaks these words now or soon."""
        self._said.extend(split_words(text))

    def without_echo(self, text: str) -> str:
        """What is left of a transcript without the agent's own words in front; "" if none."""
        heard = split_words(text)
        if not heard or not self._said:
            return text
        if len(heard) == 1:
            return "" if self._was_heard and self._is_known(heard[0]) else text
        length = self._echo_length(heard)
        if length < 2:
            return text
        self._was_heard = True
        rest = heard[length:]
        if all(self._is_known(word) for word in rest):
            return ""
        return _tail(text, len(rest))

    def _is_known(self, word: str) -> bool:
        """Whether a word is one of the agent's, or the beginning of one in a partial."""
        return any(_alike(word, said) or said.startswith(word) for said in self._said)

    def may_be_echo(self, text: str) -> bool:
        """Whether a partial is too short to tell, but may become an echo."""
        heard = split_words(text)
        return len(heard) == 1 and self._is_known(heard[0])

    def _echo_length(self, heard: list[str]) -> int:
        """How many of the first words heard follow the agent's words."""
        said = list(self._said)
        best = 0
        for start in range(len(said)):
            length = _follow(heard, said[start:])
            best = max(best, length)
        return best


def _follow(heard: list[str], said: list[str]) -> int:
    """Length of the longest beginning of `heard` that `said` begins with, give or take a word."""
    if not _alike(heard[0], said[0]):
        return 0
    matched = length = 1
    at = 1
    for index in range(1, len(heard)):
        near = range(at, min(at + 3, len(said)))
        step = next((k for k in near if _alike(heard[index], said[k])), None)
        if step is not None:
            matched += 1
            at = step + 1
            if matched / (index + 1) >= _ECHO_SHARE:
                length = index + 1
    return length if matched > 1 else 0


def _alike(heard: str, said: str) -> bool:
    if heard == said:
        return True
    if min(len(heard), len(said)) < 4:
        return False
    return SequenceMatcher(None, heard, said, autojunk=False).ratio() >= _ALIKE


def _tail(text: str, words: int) -> str:
    """The end of a text that has this many words."""
    for start in range(len(text)):
        if (start == 0 or not text[start - 1].isalnum() or not text[start].isascii()) and (
            len(split_words(text[start:])) == words
        ):
            return text[start:].strip()
    return text
