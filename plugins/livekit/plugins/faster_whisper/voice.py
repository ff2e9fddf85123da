"""Where speech starts, pauses and ends, from a voice detector's probabilities. No I/O."""

from __future__ import annotations

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
