"""Language settings: one language, one detected and kept, or one detected for each utterance."""

from __future__ import annotations

from typing import Literal

from livekit.agents import LanguageCode

AUTO = "auto"
"""Detected once a second of voice was heard, then kept until the caller turns to another one."""
MULTI = "multi"
"""Detected anew in every utterance, for callers who switch between languages."""

SURE_OF_ANOTHER = 0.8
"""Probability from which a language is taken for a call's new one. It is asked for only where a
text in the old one is in doubt, and over a wider window: on a short one a second of Spanish may
well be Portuguese, or Tamil."""

LanguageMode = Literal["fixed", "auto", "multi"]

# Whisper's own codes; each model knows some of them.
_CODES = frozenset(
    """
    af am ar as az ba be bg bn bo br bs ca cs cy da de el en es et eu fa fi fo fr gl gu ha haw
    he hi hr ht hu hy id is it ja jw ka kk km kn ko la lb ln lo lt lv mg mi mk ml mn mr ms mt my
    ne nl nn no oc pa pl ps pt ro ru sa sd si sk sl sn so sq sr su sv sw ta te tg th tk tl tr tt
    uk ur uz vi yi yo yue zh
    """.split()  # noqa: SIM905 - a hundred quoted strings would fill the file
)
_ALIASES = {"nb": "no", "iw": "he", "jv": "jw", "fil": "tl"}


def parse_language(language: str | None) -> tuple[LanguageMode, str | None]:
    """Returns how the language is found and, where it is fixed, Whisper's code for it.

    Args:
        language: A code such as "en", "zh" or "pt-BR" (the region is dropped), "auto" or None,
            or "multi".

    Raises:
        ValueError: Whisper knows no such language.
        TypeError: It is not a string.
    """
    if language is None:
        return "auto", None
    if not isinstance(language, str):
        raise TypeError(f"language must be a string or None, not {type(language).__name__}")
    code = language.strip().lower()
    if code == AUTO:
        return "auto", None
    if code == MULTI:
        return "multi", None
    code = LanguageCode(code).language
    code = _ALIASES.get(code, code)
    if code not in _CODES:
        raise ValueError(
            f"Whisper knows no language {language!r}; use a code such as 'en' or 'zh', "
            "'auto' (detected once), or 'multi' (detected for each utterance)"
        )
    return "fixed", code


class LanguageLock:
    """Which language a stream's next run is told to use.

    With "auto" the first sure detection over enough voice is kept until a surer one of another
    language; until then, and with "multi" always, the model is asked each time.
    """

    def __init__(
        self,
        mode: LanguageMode,
        code: str | None,
        *,
        min_voiced_s: float = 1.0,
        min_probability: float = 0.7,
    ) -> None:
        """Starts without a detected language.

        Args:
            mode: How the language is found.
            code: The language, where the mode is "fixed".
            min_voiced_s: Seconds of voice before a detection counts.
            min_probability: A detection below this doesn't count.
        """
        self._mode = mode
        self._code = code
        self._min_voiced_s = min_voiced_s
        self._min_probability = min_probability

    @property
    def code(self) -> str | None:
        """The language to decode with, or None where it is to be detected."""
        return self._code

    @property
    def may_switch(self) -> bool:
        """Whether a language is kept that may still give way to another."""
        return self._mode != "fixed" and self._code is not None

    def observe(
        self, code: str, probability: float, voiced_s: float, *, is_final: bool = True
    ) -> None:
        """Takes what the model detected.

        Args:
            code: The language.
            probability: Of it.
            voiced_s: Seconds of voice in the utterance so far.
            is_final: Whether the detection is that of a final. A partial hears a word or two, on a
                short window, so it must be as sure as for a switch.
        """
        if self._mode == "fixed" or voiced_s < self._min_voiced_s:
            return
        least = self._min_probability if is_final else max(SURE_OF_ANOTHER, self._min_probability)
        if (self._code is None and probability >= least) or (
            self.may_switch and probability >= SURE_OF_ANOTHER
        ):
            self._code = code

    def next_utterance(self) -> None:
        """Forgets what holds for one utterance only."""
        if self._mode == "multi":
            self._code = None
