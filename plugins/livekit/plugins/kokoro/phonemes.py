"""Text to the phonemes that Kokoro was trained with, by way of espeak-ng's.

Kokoro's own phonemizer, misaki (Apache-2.0, https://github.com/hexgrad/misaki), rewrites those of
espeak-ng by the tables below: for English where its dictionary ends, and for the other languages
always. Here it is done for all of them, which spares a dictionary and a tagger of English.
"""

from __future__ import annotations

import ctypes
import importlib.util
import json
import re
from pathlib import Path
from typing import Any

from local_tts import espeak_library as c

from .languages import Language

_TIE = "^"
_MODE = c.PHONEMES_IPA | c.PHONEMES_TIED | ord(_TIE) << 8
_SWITCH = re.compile(r"\((?:\^?[a-z-])+\)")
"""Marks that another language begins."""
_CLAUSE = re.compile(
    r"""(?<!\bMr)(?<!\bMrs)(?<!\bMs)(?<!\bDr)(?<!\bSt)(?<!\bvs)(?<![.\s]\w)
    ([.!?…;:,—]+["'”’»)\]]*)(?=\s|$)|([\n—]+|\s-\s)""",
    re.VERBOSE,
)
"""The end of a clause, and no point of a number or a title."""

_ENGLISH = (
    ("ʔˌn\u0329", "ʔn"), ("ʔn\u0329", "ʔn"), ("a^ɪ", "I"), ("a^ʊ", "W"), ("d^ʒ", "ʤ"),
    ("e^ɪ", "A"), ("t^ʃ", "ʧ"), ("ɔ^ɪ", "Y"), ("ə^l", "ᵊl"), ("ʲo", "jo"), ("ʲə", "jə"),
    ("ʲ", ""), ("ɚ", "əɹ"), ("r", "ɹ"), ("x", "k"), ("ç", "k"), ("ɐ", "ə"), ("ɬ", "l"),
    ("\u0303", ""),
)  # fmt: skip
_AMERICAN = (
    ("o^ʊ", "O"), ("ɜːɹ", "ɜɹ"), ("ɜː", "ɜɹ"), ("ɪə", "iə"), ("ː", ""), ("e", "A"),
    ("o", "ɔ"), ("ɾ", "T"), ("ʔ", "t"),
)  # fmt: skip
_BRITISH = (
    ("e^ə", "ɛː"), ("iə", "ɪə"), ("ə^ʊ", "Q"), ("e", "A"), ("o", "ɔ"), ("ɾ", "T"), ("ʔ", "t"),
)  # fmt: skip
_OTHERS = (
    ("a^ɪ", "I"), ("a^ʊ", "W"), ("d^z", "ʣ"), ("d^ʒ", "ʤ"), ("e^ɪ", "A"), ("o^ʊ", "O"),
    ("ə^ʊ", "Q"), ("s^s", "S"), ("t^s", "ʦ"), ("t^ʃ", "ʧ"), ("ɔ^ɪ", "Y"), ("-", ""),
)  # fmt: skip

VOCABULARY: dict[str, int] = json.loads(
    Path(__file__).with_name("vocabulary.json").read_text(encoding="utf-8")
)
"""Kokoro's phonemes, each one character, by which its graph is given numbers."""


class PhonemizerError(RuntimeError):
    """espeak-ng cannot be loaded, or lacks a language."""


def require_phonemizer() -> None:
    """Checks that espeak-ng's pip package is there, without loading anything.

    Raises:
        ImportError: The `kokoro` extra is not installed.
    """
    if importlib.util.find_spec("espeakng_loader") is None:
        raise ImportError(
            "Kokoro's phonemizer is not installed; run: pip install 'livekit-agent-worker[kokoro]'"
        )


class Phonemizer:
    """Loads espeak-ng when first used; any thread may call it."""

    def __init__(self) -> None:
        self._lib: Any = None

    def clauses(self, text: str, language: Language) -> list[str]:
        """Phonemes of each clause, with the mark that ends it; nothing of one without sound.

        Raises:
            ImportError: The `kokoro` extra is not installed.
            PhonemizerError: espeak-ng cannot be loaded.
        """
        found: list[str] = []
        for words, mark in cut_clauses(text):
            sounds = to_kokoro(self._espeak(words, language), language)
            if any(sound.isalpha() for sound in sounds):
                found.append(sounds + mark)
        return found

    def _espeak(self, text: str, language: Language) -> str:
        with c.process_lock():
            lib = self._loaded()
            if lib.espeak_SetVoiceByName(c.c_string(language.espeak_voice)) != 0:
                raise PhonemizerError(f"espeak-ng lacks {language.espeak_voice}")
            buffer = ctypes.create_string_buffer(c.c_string(text))
            rest = ctypes.c_void_p(ctypes.addressof(buffer))
            parts: list[str] = []
            while rest.value:
                sounds = lib.espeak_TextToPhonemes(ctypes.byref(rest), c.CHARS_UTF8, _MODE)
                parts.append((sounds or b"").decode("utf-8", "replace"))
        return " ".join(part for part in parts if part)

    def _loaded(self) -> Any:
        if self._lib is None:
            require_phonemizer()
            import espeakng_loader

            try:
                self._lib = c.start_library(
                    espeakng_loader.get_library_path(), Path(espeakng_loader.get_data_path())
                )
            except (OSError, RuntimeError) as e:
                raise PhonemizerError(f"espeak-ng could not be loaded: {e}") from e
        return self._lib


def cut_clauses(text: str) -> list[tuple[str, str]]:
    """Cuts a text at the ends of clauses.

    Returns:
        Words, and the mark that Kokoro is to hear after them: one of `.!?…;:,—` or nothing.
    """
    found: list[tuple[str, str]] = []
    at = 0
    for end in _CLAUSE.finditer(text):
        mark = (end[1] or "—").lstrip()
        found.append((text[at : end.start()], "," if end[0] == "\n" else mark[0]))
        at = end.end()
    return [(words, mark) for words, mark in [*found, (text[at:], "")] if words.strip()]


def to_kokoro(sounds: str, language: Language) -> str:
    """espeak-ng's phonemes in the letters that Kokoro knows; what it does not know is left out."""
    sounds = _SWITCH.sub("", sounds)
    english = language.tag.startswith("en")
    tables = (_ENGLISH, _AMERICAN if language.tag == "en-US" else _BRITISH)
    for table in tables if english else (_OTHERS,):
        for old, new in table:
            sounds = sounds.replace(old, new)
    if english:
        sounds = re.sub("(\\S)\u0329", r"ᵊ\1", sounds)
    known = "".join(sound for sound in sounds.replace(_TIE, "") if sound in VOCABULARY)
    return " ".join(known.split())
