"""From a language tag, as the rest of the world writes it, to the voice that speaks it."""

from __future__ import annotations

from collections.abc import Iterable

from livekit.agents import LanguageCode

from .engine import Voice

# Tags that espeak-ng files under another name.
_OTHER_NAMES = {
    "zh": "cmn",
    "zh-cn": "cmn",
    "zh-tw": "cmn",
    "zh-hans": "cmn",
    "zh-hant": "cmn",
    "zh-hk": "yue",
    "no": "nb",
    "en": "en-us",
    "tl": "fil",
    "iw": "he",
}


def voice_for_language(tag: str, voices: Iterable[Voice]) -> str | None:
    """Returns the name of a voice for a BCP 47 tag ("pt-BR", "zh", "en_GB"), or None.

    The whole tag wins over its language alone, and a voice whose first language it is over one
    that lists it further down.
    """
    code = LanguageCode(tag)
    wanted, base = (_OTHER_NAMES.get(name, name) for name in (code.lower(), code.language.lower()))
    known = list(voices)
    for candidate in (wanted, base):
        for voice in known:
            if voice.languages and voice.languages[0] == candidate:
                # The library knows a voice by its file's name, which mostly is the tag.
                file_name = voice.identifier.rpartition("/")[2].lower()
                return candidate if file_name == candidate else voice.identifier
        for voice in known:
            if candidate in voice.languages or voice.identifier.lower() == candidate:
                return voice.identifier
    return None
