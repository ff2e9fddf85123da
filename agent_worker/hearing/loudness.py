"""How loud the caller usually is, to tell the caller from what is heard behind them. No I/O."""

from __future__ import annotations

import math
from collections import deque
from typing import Protocol

import numpy as np

_REMEMBERED = 500
"""Frames: ten seconds of 20 ms each."""
_BEFORE = 15
"""Frames kept from before a voice was noticed: a detector of voice is late."""
_SPEECH_PERCENTILE = 75
"""Of the frames' levels: among the vowels, and the same for short and long speech."""
_SILENCE_DB = -100.0


class Frame(Protocol):
    """A piece of sound, such as LiveKit's `AudioFrame`."""

    @property
    def data(self) -> memoryview:
        """Its 16-bit samples."""


class CallerLoudness:
    """Compares the voice under way with how loud this caller was in the turns taken so far.

    What the loudspeaker gives back to the microphone is far below its owner's voice; so is a
    television, or somebody else in the room.
    """

    def __init__(self) -> None:
        """Knows nobody yet."""
        self._usual_db: float | None = None
        self._levels_db: deque[float] = deque(maxlen=_REMEMBERED)

    def hear(self, frame: Frame) -> None:
        """Takes the next sound of the microphone, 16-bit samples."""
        self._levels_db.append(_level_db(frame))

    def speech_started(self) -> None:
        """Somebody was noticed to speak."""
        while len(self._levels_db) > _BEFORE:
            self._levels_db.popleft()

    def turn_taken(self) -> None:
        """What was heard since was the caller's turn."""
        now_db = self._now_db()
        if now_db > _SILENCE_DB:
            usual_db = now_db if self._usual_db is None else self._usual_db
            self._usual_db = (usual_db + now_db) / 2

    @property
    def below_usual_db(self) -> float:
        """How far the voice under way lies below the caller's; 0 while that is not known."""
        return 0.0 if self._usual_db is None else self._usual_db - self._now_db()

    def _now_db(self) -> float:
        heard = [db for db in self._levels_db if db > _SILENCE_DB]
        return float(np.percentile(heard, _SPEECH_PERCENTILE)) if heard else _SILENCE_DB


def _level_db(frame: Frame) -> float:
    samples = np.frombuffer(frame.data, np.int16).astype(np.float32)
    power = float(np.dot(samples, samples)) / max(len(samples), 1) / 32768**2
    return max(10 * math.log10(power), _SILENCE_DB) if power > 0 else _SILENCE_DB
