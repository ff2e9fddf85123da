"""Chinese in one script, so that 對對對 and 对对对 are found in the same list."""

from __future__ import annotations

import functools
import re
from typing import Any

_HAN = re.compile(r"[\u3400-\u9fff]")
_KANA = re.compile(r"[\u3040-\u30ff]")


def simplified(text: str) -> str:
    """Returns text with its Chinese in simplified characters; other scripts as they are.

    Japanese is left alone where kana show that it is Japanese.
    """
    if not _HAN.search(text) or _KANA.search(text):
        return text
    return str(_converter().convert(text))


@functools.cache
def _converter() -> Any:
    from opencc import OpenCC

    # Taiwan's characters, as Whisper writes them: 裡 and 著, beside 裏 and 着.
    return OpenCC("tw2s")
