"""Where speech starts, pauses and ends, from a voice detector's probabilities. No I/O."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum, auto

WINDOW = 512
"""Samples that the voice detector takes at once, 32 ms at 16 kHz."""
WINDOW_S = WINDOW / 16000


@dataclass(frozen=True, slots=True)
class VoiceOptions:
    """When sound counts as speech. Times are seconds."""

    threshold: float = 0.5
    """Probability above which a window is voiced."""
    release: float = 0.35
    """Once speech has begun, probability down to which it goes on."""
    min_speech_s: float = 0.09
    """Unbroken voice before speech begins."""
    min_silence_s: float = 0.5
    """Silence after which speech has ended."""


_QUIET_DB = -30.0
"""Below the speaker's own level; soft consonants are about -25 dB."""
_LEVEL_FALLS_DB = 0.2
"""For each window: who turns away is soon measured anew."""
_MAX_RELEASE_S = 0.2
"""A detector of voice goes on for up to this long after the sound; soft voice lasts longer."""


class PauseTracker:
    """Notices a pause by the level of the sound, before the detector of voice does.

    A detector's probability stays up for 50 to 130 ms after the last sound. That is right for
    deciding that a speaker has finished, and too late for preparing what follows.
    """

    def __init__(self) -> None:
        """Knows no speaker yet."""
        self._level_db = -math.inf
        self._quiet_windows = 0
        self.pause_windows = 0
        """Windows since the last that sounded like the speaker."""

    @property
    def sounding(self) -> bool:
        """Whether the last window sounded like the speaker."""
        return self.pause_windows == 0

    def step(self, rms: float, *, voiced: bool) -> None:
        """Takes one more window.

        Args:
            rms: Of its samples, on any scale that stays the same.
            voiced: What the detector says.
        """
        db = 20 * math.log10(rms) if rms > 0 else -math.inf
        if voiced:
            self._level_db = max(db, self._level_db - _LEVEL_FALLS_DB)
        quiet = db < self._level_db + _QUIET_DB
        self._quiet_windows = self._quiet_windows + 1 if voiced and quiet else 0
        if voiced and (not quiet or self._quiet_windows * WINDOW_S > _MAX_RELEASE_S):
            self.pause_windows = 0
        else:
            self.pause_windows += 1


class VoiceChange(Enum):
    """What a window changed."""

    START = auto()
    RESUME = auto()
    """Voice after a pause too short to end the speech."""
    END = auto()


class VoiceTracker:
    """Follows one speaker, a window at a time."""

    def __init__(self, options: VoiceOptions) -> None:
        """Starts in silence."""
        self.options = options
        self._run = 0
        self.speaking = False
        """Whether speech has begun and not ended."""
        self.voiced = False
        """Whether the last window was voiced."""
        self.silent_windows = 0
        """Windows without voice since the last with it, while speaking."""

    @property
    def run(self) -> int:
        """Windows of unbroken voice up to now."""
        return self._run

    @property
    def silence_s(self) -> float:
        """Seconds without voice, while speaking."""
        return self.silent_windows * WINDOW_S

    def step(self, probability: float) -> VoiceChange | None:
        """Takes the probability of one more window."""
        options = self.options
        limit = options.release if self.speaking else options.threshold
        self.voiced = probability >= limit
        if self.voiced:
            self._run += 1
            paused, self.silent_windows = self.silent_windows > 0, 0
            if self.speaking:
                return VoiceChange.RESUME if paused else None
            if self._run * WINDOW_S >= options.min_speech_s:
                self.speaking = True
                return VoiceChange.START
            return None
        self._run = 0
        if self.speaking:
            self.silent_windows += 1
            if self.silence_s >= options.min_silence_s:
                self.reset()
                return VoiceChange.END
        return None

    def reset(self) -> None:
        """Goes back to silence."""
        self._run = 0
        self.speaking = False
        self.silent_windows = 0
