"""Looking again at a text in doubt: over which window, and which of two texts stands.

A short window is ten times faster than Whisper's whole one and mostly as good. A text that is
doubted there is decoded over a wide window; what is in grave doubt there as well, over the whole
one, with Whisper's temperatures.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from .job import AudioContext, Decoded
from .soundness import Doubt


@dataclass(frozen=True, slots=True)
class Look:
    """What has been made of a sound so far."""

    decoded: Decoded
    """The best text yet."""
    wider: AudioContext | None
    """The window over which to look again; None where nothing better is to be had."""

    @property
    def is_sure(self) -> bool:
        """Whether the text stands as it is."""
        return self.wider is None

    @property
    def may_be_acted_on(self) -> bool:
        """Whether the text is likely right, though a wider look may better it."""
        return self.is_sure or self.decoded.doubt is None or not self.decoded.doubt.spoils


def looked(decoded: Decoded, before: Look | None, *, stands: Callable[[Decoded], bool]) -> Look:
    """Returns what is known of a sound after one more look at it.

    What is about to be dropped as invented is looked at again as well: a real "goodbye" may be
    as improbable as an invented one on a short window, and is not on a wider one.

    Args:
        decoded: A final, over a short window, or over the one that `before` asked for.
        before: What was known before; None at the first look.
        stands: Tells whether somebody said what the model wrote.
    """
    best = decoded if before is None else better_of(before.decoded, decoded)
    if not _wants_wider(decoded, stands, is_first=before is None):
        return Look(best, None)
    return Look(best, "wide" if before is None else "full")


def _wants_wider(decoded: Decoded, stands: Callable[[Decoded], bool], *, is_first: bool) -> bool:
    if not decoded.has_wider:
        return False
    # A weak word or a low mean alone is no reason to look twice again: sampling over the whole
    # window takes seconds on a CPU, and of 210 recordings it bettered two words.
    if decoded.doubt is not None and (is_first or decoded.doubt is not Doubt.WEAK):
        return True
    return decoded.profits_from_whole and bool(decoded.words) and not stands(decoded)


def better_of(first: Decoded, wider: Decoded) -> Decoded:
    """Returns the text whose least sure word is the surer one.

    The wider window is no judge over the short one: of 219 people's recordings in five languages it
    made as many texts worse as better where only a weak word had raised the doubt, and taking the
    surer of the two had fewer wrong words than either, and than plain Whisper (each in two sets).
    Where more speaks against the first, the second stands.

    Args:
        first: A final over a shorter window.
        wider: The same sound over a wider one.
    """
    is_only_weak = first.doubt is Doubt.WEAK and wider.doubt in (None, Doubt.WEAK)
    is_only_weak &= first.language == wider.language
    if not (is_only_weak and wider.words) or first.least_probability <= wider.least_probability:
        return wider
    return replace(
        first,
        # What nobody said must pass both.
        mean_log_probability=min(first.mean_log_probability, wider.mean_log_probability),
        no_speech_probability=max(first.no_speech_probability, wider.no_speech_probability),
    )
