"""Text made for the eye becomes text for the ear: markdown, emoji, code, links, lists, tables."""

from __future__ import annotations

import html
import re
from collections.abc import AsyncGenerator, AsyncIterable

from agent_worker.language_tags import primary

from .boundaries import is_cjk

_CODE_MENTIONS = {
    "en": "The code is in the text.",
    "de": "Der Code steht im Text.",
    "fr": "Le code est dans le texte.",
    "es": "El código está en el texto.",
    "it": "Il codice è nel testo.",
    "pt": "O código está no texto.",
    "zh": "代码请看文字。",
    "ja": "コードはテキストをご覧ください。",
}
_LONGEST_HELD = 300
"""Characters after which an unfinished link or tag is taken as plain text."""

_MAYBE_BLOCK = re.compile(
    r"[ \t]*(?:#{1,6}|[-*+•]|>+[ \t]*|\d{1,3}[.)]?|`{1,3}[^\n]*|~{1,3}[^\n]*|\|[^\n]*|[-*_= \t]+)?"
)
_FENCE = re.compile(r"[ \t]*(`{3,}|~{3,})[^\n]*\n")
_RULE = re.compile(r"[ \t]*(?:(?:-[ \t]*){3,}|(?:\*[ \t]*){3,}|(?:_[ \t]*){3,}|={3,})\n")
_TABLE_ROW = re.compile(r"[ \t]*\|([^\n]*)\n")
_TABLE_RULE = re.compile(r"[\s|:-]+")
_HEADING = re.compile(r"[ \t]*#{1,6}[ \t]+")
_QUOTE = re.compile(r"[ \t]*>+[ \t]?")
_BULLET = re.compile(r"[ \t]*[-*+•][ \t]+(?:\[[ xX]\][ \t]+)?")
_NUMBERED = re.compile(r"[ \t]*(?=\d{1,3}[.)][ \t])")
_LINK = re.compile(r"!?\[([^\[\]\n]*)\]\([^()\n]*(?:\([^()\n]*\)[^()\n]*)*\)")
_MAYBE_LINK = re.compile(r"!?(?:\[[^\[\]\n]*(?:\](?:\((?:[^()\n]|\([^()\n]*\)?)*)?)?)?")
_FOOTNOTE = re.compile(r"\[\^?\d{1,3}\]")
_AUTOLINK = re.compile(r"<((?:https?://|mailto:)[^<>\s]+)>")
_TAG = re.compile(r"</?[a-zA-Z][^<>\n]*>")
_MAYBE_TAG = re.compile(r"</?(?:[a-zA-Z][^<>\n]*)?")
_URL = re.compile(r"(?:https?://|www\.)[^\s<>\"'`|、。，！？；：（）「」]*")
_URL_BEGINNINGS = frozenset(
    whole[:length] for whole in ("http://", "https://", "www.") for length in range(1, len(whole))
)
_URL_TAIL = re.compile(r"[.,;:!?*_~)\]}]+$")
_ENTITY = re.compile(r"&(?:#\d{1,6}|#x[0-9a-fA-F]{1,5}|[a-zA-Z]{2,8});")
_MAYBE_ENTITY = re.compile(r"&(?:#?[0-9a-zA-Z]{0,8})?")
_ESCAPED = re.compile(r"\\([\\`*_{}\[\]()#+\-.!|>~$])")


def is_emoji(char: str) -> bool:
    """Whether a character is a picture, or a part of one that is never text."""
    code = ord(char)
    return (
        0x1F000 <= code <= 0x1FAFF
        or 0x2600 <= code <= 0x27BF
        or 0x2B00 <= code <= 0x2BFF
        or 0x1FB00 <= code <= 0x1FBFF
        or 0xE0000 <= code <= 0xE007F
        or code in (0xFE0E, 0xFE0F, 0x20E3)
    )


def domain_of(url: str) -> str:
    """The part of an address that is worth saying: "https://www.a.org/b?c" is "a.org"."""
    host = re.sub(r"^(?:https?://|mailto:)", "", url)
    host = re.split(r"[/?#]", host, maxsplit=1)[0]
    host = host if url.startswith("mailto:") else host.rpartition("@")[2]
    return re.sub(r":\d+$", "", host.removeprefix("www."))


class ReadAloud:
    """A filter in front of the phrase buffer, for one reply.

    It holds text back only where it can't be told yet what it is: at a line's beginning, within a
    link, a tag or an address. The result does not depend on how the text is split.
    """

    def __init__(self, *, language: str = "en", code_mention: str | None = None) -> None:
        """
        Args:
            language: Of the text, as a BCP 47 tag.
            code_mention: Said in place of a block of code; None: a sentence in that language.
        """
        default = _CODE_MENTIONS.get(primary(language), _CODE_MENTIONS["en"])
        self._mention = default if code_mention is None else code_mention
        self._held = ""
        self._fence: str | None = None
        self._at_line_start = True
        self._line_needs_end = False
        self._last = "\n"
        self._after_emoji = False

    def push(self, text: str) -> str:
        """Takes the next piece of text and returns what can be spoken by now."""
        self._held += text
        return self._run(is_end=False)

    def flush(self) -> str:
        """The reply is over: returns what was held back."""
        if self._held and self._at_line_start and not self._held.endswith("\n"):
            # Blocks are recognised by whole lines.
            self._held += "\n"
            return self._run(is_end=True).removesuffix("\n")
        out = self._run(is_end=True)
        return out + self._end_line()

    def _run(self, *, is_end: bool) -> str:
        out: list[str] = []
        while self._held:
            before = (len(self._held), self._at_line_start)
            if self._fence is not None:
                spoken = self._skip_code(is_end)
            elif self._at_line_start:
                spoken = self._begin_line(is_end)
            else:
                spoken = self._inline(is_end)
            if spoken:
                out.append(spoken)
                self._last = spoken[-1]
            if spoken is None or before == (len(self._held), self._at_line_start):
                break
        return "".join(out)

    def _skip_code(self, is_end: bool) -> str | None:
        assert self._fence is not None
        line, newline, rest = self._held.partition("\n")
        if not newline and not is_end:
            return None
        self._held = rest
        closing = line.strip()
        if closing and not closing.strip(self._fence[0]) and len(closing) >= len(self._fence):
            self._fence = None
            self._at_line_start = True
        return ""

    def _begin_line(self, is_end: bool) -> str | None:
        """Decides what kind of line this is; None: not yet."""
        held = self._held
        if not is_end and _MAYBE_BLOCK.fullmatch(held):
            return None
        if match := _FENCE.match(held):
            self._fence = match[1]
            self._held = held[match.end() :]
            return f"{self._mention}\n" if self._mention else ""
        if match := _RULE.match(held):
            self._held = held[match.end() :]
            return "\n"
        if match := _TABLE_ROW.match(held):
            self._held = held[match.end() :]
            return _row(match[1], self._mention)
        self._at_line_start = False
        for pattern in (_HEADING, _BULLET, _NUMBERED):
            if match := pattern.match(held):
                self._line_needs_end = True
                self._held = held[match.end() :]
                return ""
        if match := _QUOTE.match(held):
            self._held = held[match.end() :]
            self._at_line_start = bool(self._held)
            return ""
        return self._inline(is_end)

    def _end_line(self) -> str:
        """A full stop where a heading or a list item has none."""
        needed = self._line_needs_end and (self._last.isalnum() or self._last in ")]\"'”’%")
        self._line_needs_end = False
        return "." if needed else ""

    def _inline(self, is_end: bool) -> str | None:
        """Speaks up to the next thing that must wait; None: nothing can be said yet."""
        held, at = self._held, 0
        out: list[str] = []
        while at < len(held):
            previous = out[-1][-1] if out and out[-1] else self._last
            char = held[at]
            if char == "\n":
                self._last = previous
                out.append(f"{self._end_line()}\n")
                self._at_line_start = True
                at += 1
                break
            step = self._special(held, at, previous, is_end)
            if step is None:
                break
            spoken, at = step
            if spoken:
                out.append(spoken)
        self._held = held[at:]
        return "".join(out) if at else None

    def _special(self, held: str, at: int, previous: str, is_end: bool) -> tuple[str, int] | None:
        """What is spoken for the text at a place, and where to go on; None: wait for more."""
        char, waits = held[at], not is_end and len(held) - at < _LONGEST_HELD
        if is_emoji(char):
            self._after_emoji = True
            return "", at + 1
        if char == "\u200d" and self._after_emoji:
            return "", at + 1
        self._after_emoji = False
        if char in "*_~`":
            return _mark(held, at, previous, is_end)
        if char in "[!":
            if match := _LINK.match(held, at):
                return match[1], match.end()
            if match := _FOOTNOTE.match(held, at):
                ended = match.end() < len(held) or is_end
                return ("", match.end()) if ended else None
            return None if waits and _MAYBE_LINK.fullmatch(held, at) else (char, at + 1)
        if char == "<":
            if match := _AUTOLINK.match(held, at):
                return domain_of(match[1]), match.end()
            if match := _TAG.match(held, at):
                return " " if match[0].lower().startswith("<br") else "", match.end()
            return None if waits and _MAYBE_TAG.fullmatch(held, at) else (char, at + 1)
        if char == "&":
            if match := _ENTITY.match(held, at):
                return html.unescape(match[0]), match.end()
            return None if waits and _MAYBE_ENTITY.fullmatch(held, at) else (char, at + 1)
        if char == "\\":
            if match := _ESCAPED.match(held, at):
                return match[1], match.end()
            return None if waits and at + 1 == len(held) else (char, at + 1)
        if char in "hw" and (is_cjk(previous) or not previous.isalnum()):
            if match := _URL.match(held, at):
                if match.end() == len(held) and not is_end:
                    return None
                tail = _URL_TAIL.search(match[0])
                url = match[0][: tail.start()] if tail else match[0]
                return domain_of(url), at + len(url)
            if not is_end and held[at:] in _URL_BEGINNINGS:
                return None
        return char, at + 1


def _mark(held: str, at: int, previous: str, is_end: bool) -> tuple[str, int] | None:
    """Marks of emphasis and inline code are silent; signs of arithmetic and names are not."""
    end = at
    while end < len(held) and held[end] == held[at]:
        end += 1
    if end == len(held) and not is_end:
        return None
    following = held[end : end + 1]
    single = end - at == 1
    if held[at] == "_" and single and previous.isalnum() and following.isalnum():
        return " ", end
    if (
        held[at] == "*"
        and single
        and ((previous.isdigit() and following.isdigit()) or (previous == " " and following == " "))
    ):
        return "*", end
    if held[at] == "~" and single:
        return "~", end
    return "", end


def _row(cells: str, mention: str) -> str:
    """A table's row as a sentence; nothing for the rule under its head."""
    if _TABLE_RULE.fullmatch(cells):
        return ""
    spoken = []
    for cell in cells.strip().removesuffix("|").split("|"):
        inner = ReadAloud(code_mention=mention)
        text = (inner.push(f" {cell.strip()}") + inner.flush()).strip()
        if text:
            spoken.append(text)
    row = ", ".join(spoken)
    return f"{row}{'' if row.endswith(('.', '!', '?')) else '.'}\n" if row else ""


async def read_aloud(
    tokens: AsyncIterable[str], *, language: str = "en"
) -> AsyncGenerator[str, None]:
    """The tokens of one reply without what can't be spoken; sits in front of the phrase buffer."""
    reader = ReadAloud(language=language)
    async for token in tokens:
        if text := reader.push(token):
            yield text
    if text := reader.flush():
        yield text
