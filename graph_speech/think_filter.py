"""What of a model's text is meant for the caller: no thinking, no tool calls, no template's marks.

Reasoning models write `<think>...</think>` before the answer, servers with a wrong tool parser
leave calls in the text, and templates leak control tokens and the names of channels. Tokens cut
all of these anywhere, so the filter holds text back only while it could still become one of them,
and what it lets through does not depend on the cuts. `markup` names what it knows.

Code stays: a page shows it, and the voice side says that it is there.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from . import markup
from .bare_calls import BareCalls
from .hidden import Hidden
from .leaked_calls import is_call_or_nothing
from .let_through import LetThrough

_SUSPECT = re.compile(r"[<{\[`]|\n[ \t]*[A-Za-z_]")
_LINE_WORD = re.compile(r"[ \t]*(?=[A-Za-z_])")
_FENCE = re.compile(r"`+")
_FENCE_HEAD = re.compile(r"(`{3,})([^`\n]*)\n")
_PROSE = re.compile(r"analysis [a-z]")
_PYTHON_END = re.compile(r"(?=<[|｜])|\n+(?=[A-Z])")


class ThinkFilter:
    """Filters the text of one AI message, piece by piece.

    Args:
        starts_thinking: The message starts inside the thinking, because the model's chat
            template has written the opener into the prompt. Text is then held until `</think>`;
            if none comes, all of it was the answer and `finish` returns it.
        tools: Names of the tools that the model was offered, to know their calls by.

    Attributes:
        opener_was_missing: A `</think>` came without an opener: this model's messages start
            inside the thinking.
        thought: Characters of thinking that were left out.
        thinks_on: The message ended before its thinking did.
        leaks: What was left out and may be tool calls, as it stood.
    """

    def __init__(self, *, starts_thinking: bool = False, tools: Collection[str] = ()) -> None:
        self.opener_was_missing = False
        self.thought = 0
        self.thinks_on = False
        self.leaks: list[str] = []
        self._tools = tools
        self._held = ""
        self._region: Hidden | None = None
        self._code: re.Pattern[str] | None = None
        """What ends the block of code that we are in."""
        self._bare = BareCalls(tools, self.leaks)
        self._thought_first: list[str] | None = [] if starts_thinking else None
        self._out = LetThrough()
        self._stripped = False
        """It is harmony without control tokens: `assistantfinal` and its like end parts."""

    def push(self, text: str) -> str:
        """Takes the next piece; returns what may be spoken now, often all of it."""
        if (
            not self._held
            and self._region is None
            and self._code is None
            and not self._stripped
            and not (self._out.line_start and _LINE_WORD.match(text))
            and not _SUSPECT.search(text)
        ):
            return self._emit(text)
        self._held += text
        return "".join(self._scan(last=False))

    def finish(self) -> str:
        """Returns what was held back in vain; the message is over."""
        out = self._scan(last=True)
        if self._region is not None:
            region, self._region = self._region, None
            self._left_open(region, out)
        rest = "".join(out)
        if self._thought_first is not None:
            held, self._thought_first = "".join(self._thought_first), None
            rest = held + rest
        return rest

    # --- what goes out ---

    def _emit(self, text: str) -> str:
        return self._unless_thought(self._out.text(text))

    def _emit_block(self, text: str) -> str:
        return self._unless_thought(self._out.block(text))

    def _unless_thought(self, text: str) -> str:
        if self._thought_first is None:
            return text
        if text:
            self._thought_first.append(text)
        return ""

    # --- what comes in ---

    def _scan(self, *, last: bool) -> list[str]:
        """Consumes as much of `_held` as can be decided."""
        out: list[str] = []
        while self._held:
            if self._region is not None:
                if not self._skip(self._region, out, last=last):
                    break
                continue
            if self._code is not None:
                if not self._pass_code(self._code, out, last=last):
                    break
                continue
            suspect = self._next_suspect()
            if suspect is None:
                out.append(self._emit(self._held))
                self._held = ""
                break
            if suspect:
                out.append(self._emit(self._held[:suspect]))
                self._held = self._held[suspect:]
            taken = self._take(out, last=last)
            if taken is None:
                break
            self._bare.decided()
            if taken <= 0:  # only looked like markup
                length = -taken or 1
                out.append(self._emit(self._held[:length]))
                self._held = self._held[length:]
            else:
                self._held = self._held[taken:]
                if self._code is None:
                    self._out.gap()
        return out

    def _next_suspect(self) -> int | None:
        """Where in `_held` the next thing begins that may be no text."""
        held = self._held
        if self._out.line_start and (word := _LINE_WORD.match(held)):
            return word.end()
        found = _SUSPECT.search(held)
        at = None if found is None else found.end() - 1
        if self._stripped:
            part = held.find("a", 0, at)
            while part >= 0:
                rest = held[part : part + 20]
                if any(rest.startswith(w) or w.startswith(rest) for w in markup.STRIPPED_WORDS):
                    return part
                part = held.find("a", part + 1, at)
        return at

    def _take(self, out: list[str], *, last: bool) -> int | None:
        """Looks at `_held`, which starts with what may be markup.

        Returns:
            How many characters to drop; 0 when the first is plain text, or minus as many as are;
            None when more text decides.
        """
        held = self._held
        if held[0] == "`":
            return self._take_fence(out, last=last)
        if held[0] not in "<{[":
            return self._take_word(last=last)
        head = held[: markup.LONGEST].lower()
        for literal in markup.LITERALS:
            if head.startswith(literal):
                return self._take_literal(literal)
        if head.startswith(markup.TOOL_CALLS):
            return self._bare.tagged(held, last=last)
        undecided = markup.TOOL_CALLS.startswith(head) or any(
            literal.startswith(head) for literal in markup.LITERALS
        )
        if held[0] == "<":
            if control := markup.CONTROL.match(held):
                return self._take_control(control[0])
            if function := markup.FUNCTION.match(held):
                self._open("call", f"</{function[1]}>", function[0])
                return function.end()
            undecided = (
                undecided
                or any(start.startswith(head) for start in markup.FUNCTION_HEADS)
                or markup.CONTROL_START.match(held) is not None
                or markup.FUNCTION_START.match(held) is not None
            )
        elif not undecided or last:
            return self._bare.json(held, last=last)
        return None if undecided and not last else 0

    def _open(self, kind: str, literal: str, opener: str = "") -> None:
        self._region = Hidden.until(literal, kind, opener)

    def _take_literal(self, literal: str) -> int:
        if literal in markup.THOUGHTS:
            self._open("thought", markup.THOUGHTS[literal])
        elif literal in markup.CALLS:
            self._open("call", markup.CALLS[literal], literal)
        elif literal in markup.HIDDEN:
            self._open("hidden", markup.HIDDEN[literal])
        elif literal in markup.THINK_CLOSERS:
            self.opener_was_missing = True
            if self._thought_first is not None:
                self.thought += sum(map(len, self._thought_first))
                self._thought_first = None
            self._out.begin()
        return len(literal)

    def _take_control(self, token: str) -> int:
        name = token.lower()
        if name == markup.PYTHON_TAG:
            self._region = Hidden("call", _PYTHON_END, 1, token)
        elif name in markup.HEADERS:
            kind = "channel" if name == "<|channel|>" else "header"
            self._region = Hidden(kind, markup.HEADERS[name], 20)
        return len(token)

    def _take_word(self, *, last: bool) -> int | None:
        """A word that begins a line: a bare call, or harmony without its control tokens."""
        held = self._held
        if self._out.at_start or self._stripped:
            stripped = self._take_stripped(last=last)
            if stripped != 0:
                return stripped
        return self._bare.by_name(held, last=last) if self._out.line_start else 0

    def _take_stripped(self, *, last: bool) -> int | None:
        held = self._held
        words = markup.STRIPPED_WORDS + (markup.BARE_STRIPPED if self._out.at_start else ())
        for word in words:
            if not held.startswith(word):
                continue
            self._stripped = True
            if word == "assistantfinal":
                self._out.line_start = True
            else:
                kind = "call" if "commentary" in word else "analysis"
                self._region = Hidden(kind, markup.STRIPPED, 20, word)
            return len(word)
        return None if not last and any(word.startswith(held) for word in words) else 0

    # --- code ---

    def _take_fence(self, out: list[str], *, last: bool) -> int | None:
        held = self._held
        ticks = _FENCE.match(held)
        assert ticks is not None
        if ticks.end() == len(held) and not last:
            return None
        if ticks.end() < 3:
            return -ticks.end()
        head = _FENCE_HEAD.match(held)
        if head is None:
            inline = held.find("`", ticks.end())
            # a label has no such mark in it: this is code within a line
            return None if inline < 0 and "\n" not in held and not last else -ticks.end()
        label = head[2].strip().lower()
        closer = re.compile("`{" + str(len(head[1])) + ",}")
        if label in markup.CALL_FENCES:
            self._region = Hidden("call", closer, 0, greedy=True)
        elif label in markup.DATA_FENCES:
            self._region = Hidden("fence", closer, 0, head[0], greedy=True)
        else:
            out.append(self._emit_block(head[0]))
            self._code = closer
        return head.end()

    def _pass_code(self, closer: re.Pattern[str], out: list[str], *, last: bool) -> bool:
        """Lets code through up to its end; false when that has not come yet."""
        held = self._held
        end = closer.search(held)
        if end is None or (end.end() == len(held) and not last):
            length = len(held) if last else len(held.rstrip("`"))
            out.append(self._emit(held[:length]))
            self._held = held[length:]
            return False
        out.append(self._emit(held[: end.end()]))
        self._held = held[end.end() :]
        self._code = None
        self._out.block_ended()
        return True

    # --- what is hidden ---

    def _skip(self, region: Hidden, out: list[str], *, last: bool) -> bool:
        """Drops hidden text up to the closer; false when the closer has not come yet."""
        self._held, closer = region.skip(self._held, last=last)
        if closer is None:
            return False
        self._region = None
        self._closed(region, closer, out)
        return True

    def _closed(self, region: Hidden, closer: re.Match[str], out: list[str]) -> None:
        text = "".join(region.text)
        match region.kind:
            case "thought":
                self.thought += len(text)
                self._out.line_start = True
            case "call":
                self.leaks.append(region.opener + text + (closer[0] if region.opener else ""))
            case "header":
                self._out.line_start = True
            case "channel":
                self._enter_channel(text)
            case "fence":
                self._end_fence(region, text, closer[0], out)
                return
            case "analysis":
                self.thought += len(text)
        if region.closer is markup.STRIPPED:
            self._out.line_start = True
            if closer[1] != "final":
                kind = "call" if closer[1] == "commentary" else "analysis"
                self._region = Hidden(kind, markup.STRIPPED, 20, closer[1])
        self._out.gap()

    def _enter_channel(self, header: str) -> None:
        name = header.strip().lower()
        if "to=" in name:
            self._region = Hidden("call", markup.CHANNEL_END, 12, f"{header} ")
        elif not name.startswith("final"):
            self._region = Hidden("thought", markup.CHANNEL_END, 12)
        self._out.line_start = True

    def _end_fence(self, region: Hidden, text: str, closer: str, out: list[str]) -> None:
        if is_call_or_nothing(text, self._tools):
            self.leaks.append(text)
            self._out.gap()
            return
        out.append(self._emit_block(region.opener + text + closer))
        if closer:
            self._out.block_ended()

    def _left_open(self, region: Hidden, out: list[str]) -> None:
        """The message ended within a region."""
        text = "".join(region.text)
        match region.kind:
            case "thought":
                self.thought += len(text)
                self.thinks_on = True
            case "call":
                self.leaks.append(region.opener + text)
            case "fence":
                self._end_fence(region, text, "", out)
            case "analysis" if _PROSE.match(region.opener + text):
                out.append(self._emit(region.opener + text))
            case "analysis":
                self.thought += len(text)
                self.thinks_on = True
