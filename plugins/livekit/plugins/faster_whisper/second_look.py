"""Which of two looks at the same sound stands: the one over a short window, or over the whole."""

from __future__ import annotations

from dataclasses import replace

from .job import Decoded
from .soundness import Doubt


def better_of(first: Decoded, whole: Decoded) -> Decoded:
    """Returns the text whose least sure word is the surer one.

    The whole window is no judge over the short one: of 219 people's recordings in five languages it
    made as many texts worse as better where only a weak word had raised the doubt, and taking the
    surer of the two had fewer wrong words than either, and than plain Whisper (each in two sets).
    Where more speaks against the first, the second stands.

    Args:
        first: A final over a short window.
        whole: The same sound over Whisper's whole window.
    """
    is_only_weak = first.doubt is Doubt.WEAK and whole.doubt in (None, Doubt.WEAK)
    is_only_weak &= first.language == whole.language
    if not (is_only_weak and whole.words) or first.least_probability <= whole.least_probability:
        return whole
    return replace(
        first,
        # What nobody said must pass both.
        mean_log_probability=min(first.mean_log_probability, whole.mean_log_probability),
        no_speech_probability=max(first.no_speech_probability, whole.no_speech_probability),
    )
