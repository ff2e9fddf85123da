"""The seventeen languages of XTTS v2."""

from __future__ import annotations

from livekit.agents import LanguageCode

MAX_CHARACTERS = {
    "ar": 166,
    "cs": 186,
    "de": 253,
    "en": 250,
    "es": 239,
    "fr": 273,
    "hi": 150,
    "hu": 224,
    "it": 213,
    "ja": 71,
    "ko": 95,
    "nl": 251,
    "pl": 224,
    "pt": 203,
    "ru": 182,
    "tr": 226,
    "zh-cn": 82,
}
"""By language, how many characters the model speaks at once without losing the end of them.

Source: `char_limits` of the tokenizer in coqui-tts.
"""

LANGUAGES = tuple(MAX_CHARACTERS)


def language_code(language: str) -> str:
    """The model's own code: `en-US` is `en`, `zh` is `zh-cn`.

    Raises:
        ValueError: The model does not speak it.
    """
    base = LanguageCode(language).language
    code = "zh-cn" if base == "zh" else base
    if code not in MAX_CHARACTERS:
        raise ValueError(f"XTTS does not speak {language!r}; it has {', '.join(LANGUAGES)}")
    return code
