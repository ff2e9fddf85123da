"""Language tags as the rest of the world writes them (BCP 47), down to the language itself.

The plugins read tags with LiveKit's `LanguageCode`. The policies here know nothing of LiveKit, and
name languages as our lists of words do.
"""

from __future__ import annotations

import re

_OTHER_TAGS = {"cmn": "zh", "nb": "no", "iw": "he"}


def primary(tag: str) -> str:
    """The primary tag of a BCP 47 tag: ``en`` of ``en-GB`` or ``en_US``; ``zh`` of ``cmn``."""
    tag = re.split(r"[-_]", tag.strip().lower())[0]
    return _OTHER_TAGS.get(tag, tag)


def same_language(one: str, other: str) -> bool:
    """Whether two tags name one language, whatever the region."""
    return primary(one) == primary(other)
