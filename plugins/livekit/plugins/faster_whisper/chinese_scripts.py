"""Chinese in the script that was asked for: Whisper writes 简体 and 繁體 as it comes.

The conversion is OpenCC's, word by word where characters alone don't tell (头发 is 頭髮, 发展 is
發展). The words themselves stay what they were: no vocabulary of another region is put in.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Literal

from livekit.agents import LanguageCode

from .words import Word

Script = Literal["simplified", "traditional", "taiwan", "hong kong"]

CHINESE = frozenset({"zh", "yue"})
"""Whisper's codes for languages that are written in either script."""

# From any mixture of the two; the traditional characters that Whisper writes are Taiwan's.
_CONFIGS: dict[Script, str] = {
    "simplified": "tw2s",
    "traditional": "s2t",
    "taiwan": "s2tw",
    "hong kong": "s2hk",
}
_HAN = re.compile(r"[\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")


def script_of(language: str | None) -> Script:
    """Returns the script that a language setting asks for.

    A script subtag ("zh-Hant") counts before a region ("zh-TW"). What names neither is written as
    CLDR's likely subtags have it: "zh" and a detected Mandarin in simplified characters, "yue" in
    those of Hong Kong.

    Args:
        language: As `STT` takes it.
    """
    code, *subtags = LanguageCode(language or "").lower().split("-")
    if "hans" in subtags or {"cn", "sg", "my"} & set(subtags):
        return "simplified"
    if {"hk", "mo"} & set(subtags):
        return "hong kong"
    if "tw" in subtags:
        return "taiwan"
    if "hant" in subtags:
        return "traditional"
    return "hong kong" if code == "yue" else "simplified"


def in_script(text: str, script: Script) -> str:
    """Returns Chinese text in a script, whichever it is in, even mixed."""
    if not _HAN.search(text):
        return text
    converted = _converted(text, script)
    if script == "simplified" or converted == text:
        return converted
    plain = _converted(text, "simplified")
    # In 頭发 the dictionary knows neither 头发 nor 頭髮.
    return converted if plain == text else _converted(plain, script)


def words_in_script(words: Iterable[Word], script: Script) -> tuple[Word, ...]:
    """Returns words in a script, their times unchanged; see `in_script`.

    They are converted as running text, since most hold one character and the right one depends on
    its neighbours.
    """
    given = tuple(words)
    whole = "".join(word.text for word in given)
    converted = in_script(whole, script)
    if converted == whole:
        return given
    if len(converted) != len(whole):  # a few words change their length; none is cut in two then
        return tuple(replace(word, text=in_script(word.text, script)) for word in given)
    out, at = [], 0
    for word in given:
        out.append(replace(word, text=converted[at : at + len(word.text)]))
        at += len(word.text)
    return tuple(out)


def _converted(text: str, script: Script) -> str:
    return str(_converter(_CONFIGS[script]).convert(text))


@functools.cache
def _converter(config: str) -> Any:
    from opencc import OpenCC

    return OpenCC(config)
