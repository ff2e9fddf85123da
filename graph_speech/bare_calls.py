"""Where a tool call ends that stands in the text as it is: JSON, Mistral's mark, a line of code.

Nothing closes such a call but its own last bracket, so the text is held until that has come.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from . import markup
from .balance import Balance

_AFTER_CALL = re.compile(r"[ \t;.,`]*")
_TAGGED = re.compile(
    r"\[TOOL_CALLS\]\s*(?:[\w.-]+\s*)?(?:\[CALL_ID\]\s*[\w-]+\s*)?(?:\[ARGS\]\s*)?", re.IGNORECASE
)
_LONGEST_CALL = 2000
"""Characters of a bare call; what is longer is no call but text with an open bracket."""


class BareCalls:
    """Looks at text that begins like one; every question tells how many characters to drop.

    The answer is 0 where it is plain text, and None where more text decides.

    Args:
        tools: Names of the tools that the model was offered.
        leaks: Gets each call, as it stood.
    """

    def __init__(self, tools: Collection[str], leaks: list[str]) -> None:
        self._tools = tools
        self._leaks = leaks
        self._balance: Balance | None = None
        """Of the call that is being looked at, whose text was seen in part before."""

    def decided(self) -> None:
        """The next question is about another call."""
        self._balance = None

    def json(self, held: str, *, last: bool) -> int | None:
        """An object or a list, alone or in a call's own brackets."""
        opening = markup.JSON.match(held)
        if not opening:
            return None if markup.JSON_START.match(held) and not last else 0
        self._balance = self._balance or Balance("\"'" if opening[0][-1] == "(" else '"')
        end = self._balance.end(held)
        if end is None and not last:
            return None
        # what never becomes whole is JSON that was cut off, not speech
        end = end or len(held)
        self._leaks.append(held[:end])
        return end

    def tagged(self, held: str, *, last: bool) -> int | None:
        """Mistral's `[TOOL_CALLS]`, before a list, or before a name and its arguments."""
        tagged = _TAGGED.match(held)
        assert tagged is not None
        rest = held[tagged.end() :]
        if not last and any(mark.startswith(rest.lower()) for mark in ("[args]", "[call_id]")):
            return None
        if rest[:1] not in ("[", "{") or not rest:
            return len(markup.TOOL_CALLS)
        self._balance = self._balance or Balance()
        end = self._balance.end(rest)
        if end is None and not last:
            return None
        end = tagged.end() + (end or len(rest))
        self._leaks.append(held[:end])
        return end

    def by_name(self, held: str, *, last: bool) -> int | None:
        """A line that is a call, `get_time(city="Rome")`."""
        name = markup.NAME.match(held)
        if name is None:
            return 0
        known = name[0].rpartition(".")[2] in self._tools or name[0] in self._tools
        may_be = known or name[0][0].islower() or name[0][0] == "_"
        if name.end() == len(held) and not last:
            may_become = may_be or any(tool.startswith(held) for tool in self._tools)
            return None if may_become and len(held) < 80 else 0
        if not may_be or held[name.end() : name.end() + 1] != "(":
            return 0
        self._balance = self._balance or Balance("\"'")
        end = self._balance.end(held)
        if end is None or end > _LONGEST_CALL:
            if len(held) > _LONGEST_CALL:
                return 0
            if not last:
                return None
            end = len(held)
        after = _AFTER_CALL.match(held, end)
        assert after is not None
        if after.end() == len(held) and not last:
            return None
        alone = held[after.end() : after.end() + 1] in ("", "\n", "<")
        is_call = known or "_" in name[0] or end == name.end() + 2
        if not alone or not is_call:
            return 0
        self._leaks.append(held[:end])
        return after.end()
