"""What Whisper is known to write where nobody spoke; the lists are in `inventions.toml`."""

from __future__ import annotations

import functools
import re
import tomllib
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum, auto
from importlib import resources

from .chinese_scripts import in_script
from .words import Word, text_of

_KANA = re.compile(r"[\u3040-\u30ff]")
_CYRILLIC = re.compile(r"[\u0400-\u04ff]+")
_LONGEST_CREDIT = 80
"""Letters; what is longer has more in it than a credit."""


class Invention(Enum):
    """Which of the lists a text is on."""

    CREDIT = auto()
    """Of subtitle writers and video makers: nobody says it to an agent."""
    FAREWELL = auto()
    """Thanks, goodbyes, short words and addresses of pages, which people do say."""


def known_invention(text: str) -> Invention | None:
    """Returns the list that the whole of a text is on, if any."""
    bare = _bare(text)
    if not bare:
        return None
    farewells, credits = _lists()
    # First, since a page that nobody but a subtitle writer names is an address too.
    if len(bare) <= _LONGEST_CREDIT and credits.fullmatch(bare):
        return Invention.CREDIT
    # "Thank you. Thank you." is no more than "Thank you."
    sentences = [_bare(part) for part in re.split(r"[.!?。！？…,，]+", text)]
    if farewells.fullmatch(bare) or all(farewells.fullmatch(part) for part in sentences if part):
        return Invention.FAREWELL
    return Invention.CREDIT if _describes_sound(text) else None


def without_credits(words: Sequence[Word]) -> tuple[Word, ...]:
    """Returns words without the subtitle writers' lines at their end.

    Whisper likes to fill the silence behind real speech with them: "I'd like two tickets. Thanks
    for watching!"
    """
    kept = tuple(words)
    while kept:
        ends = [at for at, word in enumerate(kept[:-1], 1) if word.ends_sentence]
        at = ends[-1] if ends else 0
        if known_invention(text_of(kept[at:])) is not Invention.CREDIT:
            break
        kept = kept[:at]
    return kept


def is_echo(text: str, hints: Iterable[str]) -> bool:
    """Tells whether a text holds nothing but words that the model was given beforehand.

    Args:
        text: What the model wrote.
        hints: Keyterms and prompts.
    """
    given = {word for hint in hints for word in _words(hint)}
    said = _words(text)
    return bool(said) and all(word in given for word in said)


def has_words(text: str) -> bool:
    """Tells whether a text has a letter or digit outside of brackets: "[Music]" hasn't."""
    outside = re.sub(r"\[[^]]*\]|\([^)]*\)|（[^）]*）|【[^】]*】|\*[^*]*\*", "", text)
    return any(char.isalnum() for char in outside)


def _describes_sound(text: str) -> bool:
    """ "ТЕЛЕФОННЫЙ ЗВОНОК": Russian subtitles write sounds in capitals, and no speech."""
    words = _CYRILLIC.findall(text)
    # One short word may be an abbreviation.
    longer_than = 5 if len(words) == 1 else 4
    return text.upper() == text and any(len(word) > longer_than for word in words)


def _words(text: str) -> list[str]:
    return [_bare(part) for part in re.split(r"[\s,.;:!?，。、！？-]+", text) if _bare(part)]


def _bare(text: str, also: str = "") -> str:
    """Letters and digits alone, without case and vowel signs; Chinese in simplified characters."""
    text = unicodedata.normalize("NFKC", text).casefold()
    if not _KANA.search(text):
        text = in_script(text, "simplified")
    return "".join(char for char in text if char.isalnum() or char in also)


@functools.cache
def _lists() -> tuple[re.Pattern[str], re.Pattern[str]]:
    source = resources.files(__package__).joinpath("inventions.toml")
    tables: dict[str, dict[str, list[str]]] = tomllib.loads(source.read_text(encoding="utf-8"))
    return _pattern_of(tables["farewells"]), _pattern_of(tables["credits"])


def _pattern_of(texts: Mapping[str, Sequence[str]]) -> re.Pattern[str]:
    """Returns what matches any of a list's texts, `*` and `#` in them as the list explains them."""
    bare = (_bare(text, "*#") for by_language in texts.values() for text in by_language)
    return re.compile(
        "|".join(re.escape(t).replace(r"\*", ".*").replace(r"\#", r"\d") for t in bare)
    )
