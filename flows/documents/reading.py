"""From a file to passages: its title, and pieces that are short enough to be read by a model."""

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SUFFIXES = frozenset({".md", ".txt", ".rst", ".html", ".htm"})
"""What is read; the rest of a folder is left alone."""

PASSAGE_LENGTH = 700
"""Characters of a passage at most, about a minute of speech: what a voice needs fits well."""

MAX_FILE_BYTES = 5_000_000

_HEADING = re.compile(r"^#{1,6}\s+(.+?)\s*#*$", re.MULTILINE)
_HTML_TITLE = re.compile(r"<title[^>]*>(.*?)</title>", re.IGNORECASE | re.DOTALL)
_NOT_TEXT = re.compile(r"<(script|style|head)\b.*?</\1>", re.IGNORECASE | re.DOTALL)
_BLOCK = re.compile(r"</?(?:p|div|li|h[1-6]|tr|section|br)\b[^>]*>", re.IGNORECASE)
_TAG = re.compile(r"<[^>]+>")
_SENTENCE = re.compile(r"(?<=[.!?])\s+|(?<=[。！？])")


@dataclass(frozen=True)
class Passage:
    """A piece of a document."""

    title: str
    """Of the document, as one would say it."""
    text: str


def files_in(folder: Path) -> Iterator[Path]:
    """The files of a folder and of those in it that can be read, in a steady order.

    Hidden files, and links that lead out of the folder, are left out.
    """
    root = folder.resolve()
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        if (
            path.suffix.lower() in SUFFIXES
            and not any(part.startswith(".") for part in relative.parts)
            and path.is_file()
            and path.resolve().is_relative_to(root)
            and path.stat().st_size <= MAX_FILE_BYTES
        ):
            yield path


def passages_of(path: Path) -> list[Passage]:
    """Cut one file into passages.

    Raises:
        OSError: The file can't be read.
    """
    raw = path.read_text(encoding="utf-8", errors="replace")
    title = path.stem.replace("_", " ").replace("-", " ").strip().capitalize()
    if path.suffix.lower() in (".html", ".htm"):
        found = _HTML_TITLE.search(raw)
        title = _plain(found[1]) if found and _plain(found[1]) else title
        raw = html.unescape(_TAG.sub(" ", _BLOCK.sub("\n\n", _NOT_TEXT.sub(" ", raw))))
    else:
        found = _HEADING.search(raw)
        title = _plain(found[1]) if found else title
    return [Passage(title, text) for text in _cut(raw)]


def _plain(markup: str) -> str:
    return " ".join(html.unescape(_TAG.sub(" ", markup)).replace("`", "").split())


def _cut(text: str) -> Iterator[str]:
    """Paragraphs under their heading; short ones joined, long ones cut between sentences."""
    heading, held = "", ""
    for block in re.split(r"\n\s*\n", text):
        block = block.strip()
        first, _, rest = block.partition("\n")
        if _HEADING.fullmatch(first.strip()):
            if held:
                yield held
            heading, held = _HEADING.sub(r"\1", first.strip()), ""
            block = rest
        paragraph = " ".join(re.sub(r"^\s*(?:[-*+]|\d+[.)])\s+", "", block, flags=re.M).split())
        for piece in _short(paragraph):
            if held and len(held) + len(piece) + 1 > PASSAGE_LENGTH:
                yield held
                held = ""
            start = held or (f"{heading}:" if heading else "")
            held = f"{start} {piece}".strip()
    if held:
        yield held


def _short(paragraph: str) -> Iterator[str]:
    held = ""
    for sentence in _SENTENCE.split(paragraph):
        while len(sentence) > PASSAGE_LENGTH:
            cut = sentence.rfind(" ", 0, PASSAGE_LENGTH)
            cut = cut if cut > 0 else PASSAGE_LENGTH
            yield from ([held] if held else [])
            yield sentence[:cut]
            held, sentence = "", sentence[cut:].strip()
        if held and len(held) + len(sentence) + 1 > PASSAGE_LENGTH:
            yield held
            held = ""
        held = f"{held} {sentence}".strip()
    if held:
        yield held


def best_sentence(text: str, question: str) -> str:
    """The sentence of a passage that has most of a question's words, with the one after it where
    both are short: what is said where no model phrases an answer."""
    asked = set(words_in(question))
    sentences = [sentence for sentence in _SENTENCE.split(text) if sentence.strip()]
    if not sentences:
        return text
    scores = [len(asked & set(words_in(sentence))) for sentence in sentences]
    best = scores.index(max(scores))
    said = sentences[best]
    if len(said) < 60 and best + 1 < len(sentences):
        said = f"{said} {sentences[best + 1]}"
    return said.strip()


_WORD = re.compile(r"[\u3400-\u9fff]|[^\W_]+(?:'[^\W_]+)?")
_HAN = re.compile(r"[\u3400-\u9fff]")
_COMMON = (
    "a an and any are as at be been but by can could did do does for from had has have he her his "
    "how i if in is it its many me much my no not of on or our please she should so some tell than "
    "that the their them then there these they this to us was we were what when where which who "
    "whom whose why will with would you your about know say says"
)
_STOP_WORDS = frozenset(_COMMON.split())


def words_in(text: str) -> list[str]:
    """The words that carry meaning, lower case, without the commonest endings of English."""
    return [_stem(word) for word in _WORD.findall(text.lower()) if word not in _STOP_WORDS]


def _stem(word: str) -> str:
    if _HAN.fullmatch(word) or not word.isascii():
        return word
    for ending in ("'s", "ies", "ing", "es", "ed", "s"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word[: -len(ending)] + ("y" if ending == "ies" else "")
    return word
