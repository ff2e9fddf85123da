"""What a stream goes by. Each stream takes a snapshot when it starts."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from .gates import Gates
from .voice import VoiceOptions

AudioContextSetting = Literal["auto", "full"]
"""The window of a final's first decode: one that fits, or the whole one."""


@dataclass(frozen=True, slots=True)
class Confirming:
    """When a word of a partial counts as said, for good; see `PartialTranscript`."""

    runs: int = 3
    """So many runs in a row must have written it."""
    min_probability: float = 0.75
    tail_s: float = 0.5
    """It must have ended so long ago."""


LENIENT = Confirming(runs=2, min_probability=0.0, tail_s=0.3)
"""For the bundled model: what it knows it knows at once."""

LONG_PAUSES = ((1.0, 0.1), (0.75, 0.2), (0.5, 0.35))
ANY_PAUSE = ((0.5, 0.0),)
"""Cuts for the bundled model, which drops words in more than a sentence or two."""


@dataclass(frozen=True, slots=True)
class Options:
    """The settings of one stream; see `STT` for their meaning."""

    language: str | None = "en"
    prompt: str = ""
    use_context: bool = True
    """Put the text before a cut in front of what follows."""
    keyterms: tuple[str, ...] = ()
    beam_size: int | None = None
    audio_ctx: AudioContextSetting = "auto"
    interim_results: bool = True
    interim_interval_s: float = 0.25
    speculative_silence_s: float = 0.18
    max_segment_s: float = 12.0
    cuts: tuple[tuple[float, float], ...] = LONG_PAUSES
    """Which pause, in seconds, cuts speech that has lasted for more than a share of the longest;
    the largest share first. A long pause is the end of a sentence, where a cut loses nothing; the
    shortest is longer than a stop consonant, in which a cut makes two words of one."""
    confirming: Confirming = field(default_factory=Confirming)
    voice: VoiceOptions = field(default_factory=VoiceOptions)
    gates: Gates = field(default_factory=Gates)

    def cutting_pause_s(self, duration_s: float) -> float:
        """Returns the pause, in seconds, that cuts speech which has lasted for so long.

        Infinite where no pause does.
        """
        share = duration_s / self.max_segment_s
        return next((pause_s for least, pause_s in self.cuts if share > least), math.inf)

    @property
    def hard_limit_s(self) -> float:
        """Speech without a pause or a trusted word is cut here, before Whisper's 30 s."""
        return min(28.0, self.max_segment_s + 8.0)
