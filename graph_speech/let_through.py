"""The white space of a text out of which pieces are taken."""

from __future__ import annotations


class LetThrough:
    """Joins what is let through of a text, as if what is left out had never been there.

    What was hidden leaves one white space at most between its two sides, and a block of code stays
    on lines of its own.
    """

    def __init__(self) -> None:
        self.line_start = True
        """Whether what comes next begins a line of what came in."""
        self.at_start = True
        """Whether nothing but white space was let through."""
        self._trim_next = True
        """Drop white space before the next text: at the start, and after a gap."""
        self._ends_in_space = True
        self._ends_in_newline = True
        self._newline_next = False
        """A block of code has ended: what follows begins a line."""

    def text(self, text: str) -> str:
        """The next piece, as it goes out."""
        line = text.rstrip(" \t")
        if line:
            self.line_start = line.endswith("\n")
        if self._trim_next:
            text = text.lstrip()
        if not text:
            return ""
        self._trim_next = False
        if text.strip():
            self.at_start = False
        if self._newline_next:
            self._newline_next = False
            if text[0] != "\n":
                text = "\n" + text
        self._ends_in_newline = text[-1] == "\n"
        self._ends_in_space = text[-1].isspace()
        return text

    def block(self, text: str) -> str:
        """The beginning of a block of code, on a line of its own."""
        if not self._ends_in_newline and not self._newline_next:
            text = "\n" + text
        return self.text(text)

    def block_ended(self) -> None:
        """What follows the block begins a line."""
        self._newline_next = True

    def gap(self) -> None:
        """Something was left out here."""
        if self._ends_in_space:
            self._trim_next = True

    def begin(self) -> None:
        """What was let through so far was none of the text: it begins here."""
        self._trim_next = True
        self.line_start = True
