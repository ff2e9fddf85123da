"""The languages that Kokoro's voices speak, as far as espeak-ng gives their phonemes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from livekit.agents import LanguageCode


@dataclass(frozen=True)
class Language:
    """One language of Kokoro."""

    tag: str
    """BCP 47."""
    letter: str
    """Names of its voices begin with it: "af_heart" is American."""
    espeak_voice: str
    """What phonemizes it."""
    first_choice: str
    """The voice that its makers grade best."""


LANGUAGES = (
    Language("en-US", "a", "en-us", "af_heart"),
    Language("en-GB", "b", "gmw/en", "bf_emma"),
    Language("es", "e", "roa/es", "ef_dora"),
    Language("fr", "f", "roa/fr", "ff_siwis"),
    Language("hi", "h", "inc/hi", "hf_alpha"),
    Language("it", "i", "roa/it", "if_sara"),
    Language("pt-BR", "p", "roa/pt-BR", "pf_dora"),
)
"""Japanese (j) and Mandarin (z) are no part of it: Kokoro learnt them from phonemes of other
programs, and espeak-ng reads neither kanji nor tones well enough to stand in."""


def language_of(tag: str) -> Language:
    """The language for a BCP 47 tag; of an unknown region the language's first one.

    Raises:
        ValueError: It is none of Kokoro's that can be phonemized here.
    """
    wanted = LanguageCode(tag)
    exact = (one for one in LANGUAGES if one.tag == wanted)
    alike = (one for one in LANGUAGES if LanguageCode(one.tag).language == wanted.language)
    if (found := next(exact, None) or next(alike, None)) is not None:
        return found
    raise ValueError(
        f"Kokoro does not speak {tag!r} here; it speaks "
        + ", ".join(language.tag for language in LANGUAGES)
    )


def language_of_voice(voice: str) -> Language | None:
    """The language that a voice was made for; None where that cannot be spoken here."""
    return next((one for one in LANGUAGES if voice[:1] == one.letter), None)


def voice_for(language: Language, voices: Sequence[str]) -> str | None:
    """The voice for a language, of those that are there."""
    if language.first_choice in voices:
        return language.first_choice
    return next((voice for voice in voices if voice[:1] == language.letter), None)
