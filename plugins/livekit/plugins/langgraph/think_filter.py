"""What of a model's text may be spoken: no thinking, no tool-call markup, no JSON.

Reasoning models write `<think>...</think>` before the answer, servers with a wrong tool parser
leak `<tool_call>{...}</tool_call>` or bare JSON into the text, and templates leak control tokens
such as `<|im_end|>`. Tokens cut all of these anywhere, so the filter holds back text only while
it could still become one of them.
"""

from __future__ import annotations

import re

_THINK_NAMES = ("think", "thinking", "thought", "reasoning")
_CALL_NAMES = ("tool_call", "tool_calls", "function_call", "tool_response", "tools")

_OPENERS = {f"<{name}>": f"</{name}>" for name in (*_THINK_NAMES, *_CALL_NAMES)}
_OPENERS["```"] = "```"
_THINK_CLOSERS = frozenset(f"</{name}>" for name in _THINK_NAMES)
_STRAY = frozenset(f"</{name}>" for name in (*_THINK_NAMES, *_CALL_NAMES))
_LITERALS = (*_OPENERS, *_STRAY)
_LONGEST = max(map(len, _LITERALS))

_SUSPECT = re.compile(r"[<{\[`]")
# control tokens: <|im_end|>, and the full-width bars of another family's templates
_CONTROL = re.compile(r"<[|｜][^<>\n]{0,40}[|｜]>")
_CONTROL_START = re.compile(r"<[|｜][^<>\n]{0,41}>?\Z")
# a function written as XML, as the coder template does when its wrapper got lost
_FUNCTION = re.compile(r"<function=[^<>\n]{0,80}>")
_FUNCTION_START = re.compile(r"<function=[^<>\n]{0,80}\Z")
# Braces in speech are rare, but "[1]" is a citation: only what opens like an object, or like a
# list of objects or strings, counts as JSON.
_JSON = re.compile(r"\{\s*[\"}]|\[\s*[\[{\"]")
_JSON_START = re.compile(r"[{\[]\s*\Z")
_JSON_TOKEN = re.compile(r'[{}\[\]]|"(?:[^"\\]|\\.)*"|"', re.DOTALL)


class ThinkFilter:
    """Filters the text of one AI message, piece by piece.

    Args:
        starts_thinking: The message starts inside the thinking, because the model's chat
            template has written the opener into the prompt. Text is then held until `</think>`;
            if none comes, all of it was the answer and `finish` returns it.

    Attributes:
        opener_was_missing: A `</think>` came without an opener: this model's messages start
            inside the thinking.
    """

    def __init__(self, *, starts_thinking: bool = False) -> None:
        self.opener_was_missing = False
        self._held = ""
        self._closer: str | None = None
        """What ends the hidden region that we are in."""
        self._thought_first: list[str] | None = [] if starts_thinking else None
        self._trim_next = True
        """Drop white space before the next text: at the start, and after a gap."""
        self._ends_in_space = True

    def push(self, text: str) -> str:
        """Takes the next piece; returns what may be spoken now, often all of it."""
        if not self._held and self._closer is None and not _SUSPECT.search(text):
            return self._emit(text)
        self._held += text
        return "".join(self._scan(last=False))

    def finish(self) -> str:
        """Returns what was held back in vain; the message is over."""
        rest = "".join(self._scan(last=True))
        if self._thought_first is not None:
            held, self._thought_first = "".join(self._thought_first), None
            rest = held + rest
        return rest

    def _emit(self, text: str) -> str:
        if self._trim_next:
            text = text.lstrip()
            if not text:
                return ""
        self._trim_next = False
        if self._thought_first is not None:
            self._thought_first.append(text)
            return ""
        self._ends_in_space = text[-1:].isspace()
        return text

    def _scan(self, *, last: bool) -> list[str]:
        """Consumes as much of `_held` as can be decided."""
        out: list[str] = []
        while self._held:
            if self._closer is not None:
                if not self._skip_hidden(last=last):
                    break
                continue
            suspect = _SUSPECT.search(self._held)
            if suspect is None:
                out.append(self._emit(self._held))
                self._held = ""
                break
            if suspect.start():
                out.append(self._emit(self._held[: suspect.start()]))
                self._held = self._held[suspect.start() :]
            taken = self._take_markup(last=last)
            if taken is None:
                break
            if taken == 0:  # only looked like markup
                out.append(self._emit(self._held[0]))
                self._held = self._held[1:]
            else:
                self._held = self._held[taken:]
                self._gap()
        return out

    def _gap(self) -> None:
        # what was hidden leaves one white space at most between its two sides
        if self._ends_in_space:
            self._trim_next = True

    def _skip_hidden(self, *, last: bool) -> bool:
        """Drops hidden text up to the closer; false when the closer has not come yet."""
        assert self._closer is not None
        end = self._held.lower().find(self._closer)
        if end < 0:
            # keep only what may be the beginning of the closer
            self._held = "" if last else self._held[-(len(self._closer) - 1) :]
            return False
        self._held = self._held[end + len(self._closer) :]
        self._closer = None
        self._gap()
        return True

    def _take_markup(self, *, last: bool) -> int | None:
        """Looks at `_held`, which starts with a suspect character.

        Returns:
            How many characters to drop, 0 when it is plain text, None when more text decides.
        """
        held = self._held
        if held[0] in "{[":
            return self._take_json(last=last)
        head = held[:_LONGEST].lower()
        for literal in _LITERALS:
            if head.startswith(literal):
                return self._take_literal(literal)
        if match := _CONTROL.match(held):
            return match.end()
        if match := _FUNCTION.match(held):
            self._closer = "</function>"
            return match.end()
        undecided = (
            any(literal.startswith(head) for literal in _LITERALS)
            or "<function=".startswith(head)
            or _CONTROL_START.match(held)
            or _FUNCTION_START.match(held)
        )
        return None if undecided and not last else 0

    def _take_literal(self, literal: str) -> int:
        if literal in _OPENERS:
            self._closer = _OPENERS[literal]
        elif literal in _THINK_CLOSERS:
            self.opener_was_missing = True
            self._thought_first = None
            self._trim_next = True
        return len(literal)

    def _take_json(self, *, last: bool) -> int | None:
        held = self._held
        if not _JSON.match(held):
            return None if _JSON_START.match(held) and not last else 0
        depth = 0
        for token in _JSON_TOKEN.finditer(held):
            if token[0] in "{[":
                depth += 1
            elif token[0] in "}]":
                depth -= 1
                if not depth:
                    return token.end()
            elif token[0] == '"':
                break  # a string that has not ended yet
        # Not whole yet; what never becomes whole is JSON that was cut off, not speech.
        return len(held) if last else None
