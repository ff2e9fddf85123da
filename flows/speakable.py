"""Keeps what is not for the ear out of a stream of tokens.

Small models leak their thoughts (`<think>…</think>`, or a stray `</think>` where the template
opened it in the prompt) and their tool calls (`<tool_call>…</tool_call>`) into the text. A tag may
be split over any number of tokens.
"""

from dataclasses import dataclass

_PAIRS = {"<think>": "</think>", "<tool_call>": "</tool_call>"}
_TAGS = (*_PAIRS, *_PAIRS.values())


@dataclass
class SpeakableFilter:
    """The filter of one answer; feed it every token, in order."""

    _held: str = ""
    _closer: str | None = None
    _said_something: bool = False

    def push(self, token: str) -> str:
        """Take a token and return what can be spoken by now, often the token itself."""
        if self._closer is None and not self._held and "<" not in token:
            return self._spoken(token)
        self._held += token
        out: list[str] = []
        while self._step(out):
            pass
        return self._spoken("".join(out))

    def flush(self) -> str:
        """The answer is over: what was held back and turned out to be text."""
        rest = "" if self._closer is not None else self._held
        self._held = ""
        return self._spoken(rest)

    def _step(self, out: list[str]) -> bool:
        """Move over one tag or stretch of text; False when more tokens are needed."""
        if self._closer is not None:
            before, closer, after = self._held.partition(self._closer)
            if not closer:
                self._held = before[-(len(self._closer) - 1) :]
                return False
            self._held, self._closer = after, None
            return True
        start = self._held.find("<")
        if start < 0:
            out.append(self._held)
            self._held = ""
            return False
        out.append(self._held[:start])
        self._held = self._held[start:]
        for tag in _TAGS:
            if self._held.startswith(tag):
                self._held = self._held[len(tag) :]
                # A stray closer is dropped alone: what came before it is already spoken.
                self._closer = _PAIRS.get(tag)
                return True
        if any(tag.startswith(self._held) for tag in _TAGS):
            return False
        out.append("<")
        self._held = self._held[1:]
        return True

    def _spoken(self, text: str) -> str:
        if not self._said_something:
            text = text.lstrip()
            self._said_something = bool(text)
        return text
