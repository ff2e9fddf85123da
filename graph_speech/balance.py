"""Where brackets that were opened are closed again, in text that comes piece by piece."""

from __future__ import annotations

import re

_TOKEN = re.compile(r'\\.|["\'{}\[\]()]', re.DOTALL)


class Balance:
    """Finds the end of the structure that a text begins with.

    It remembers how far it has read, so that a text that grows by a character is read once.

    Args:
        quotes: What delimits strings, within which brackets do not count.
    """

    def __init__(self, quotes: str = '"') -> None:
        self._quotes = quotes
        self._quote = ""
        self._depth = 0
        self._at = 0
        self._end: int | None = None

    def end(self, text: str) -> int | None:
        """The index after the last bracket; None while it has not come yet.

        Args:
            text: That of the last call, and what has come since.
        """
        if self._end is not None:
            return self._end
        for token in _TOKEN.finditer(text, self._at):
            mark = token[0]
            if self._quote:
                if mark == self._quote:
                    self._quote = ""
            elif mark in self._quotes:
                self._quote = mark
            elif mark in "{[(":
                self._depth += 1
            elif mark in "}])":
                self._depth -= 1
                if self._depth <= 0:
                    self._end = token.end()
                    return self._end
        # a backslash may still get what it escapes
        escapes = len(text) - len(text.rstrip("\\"))
        self._at = len(text) - escapes % 2
        return None
