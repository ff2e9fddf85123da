"""The audio of one stretch of speech, and where in it a voice was heard."""

from __future__ import annotations

from collections import deque

import numpy as np

from .job import SAMPLE_RATE, Samples

_QUIET_SPAN = SAMPLE_RATE // 50


class KeptSound:
    """16-bit mono audio at 16 kHz; places in it are samples of the stream that it came from."""

    def __init__(self, start_sample: int) -> None:
        """Starts empty.

        Args:
            start_sample: Where its first sample lies in the stream.
        """
        self._pcm = bytearray()
        self._voice: deque[tuple[int, int]] = deque()
        self._start_sample = start_sample

    @property
    def start_sample(self) -> int:
        """Where the audio that is still kept begins in the stream."""
        return self._start_sample

    @property
    def end_sample(self) -> int:
        """Where it ends in the stream."""
        return self._start_sample + len(self._pcm) // 2

    @property
    def start_s(self) -> float:
        """Seconds from the start of the stream."""
        return self._start_sample / SAMPLE_RATE

    @property
    def end_s(self) -> float:
        """Seconds from the start of the stream."""
        return self.end_sample / SAMPLE_RATE

    @property
    def duration_s(self) -> float:
        """Seconds of audio kept."""
        return len(self._pcm) / 2 / SAMPLE_RATE

    def extend(self, pcm: bytes) -> None:
        """Adds audio."""
        self._pcm += pcm

    def note_voice(self, samples: int) -> None:
        """Notes that the last so many samples were voiced."""
        start, end = self.end_sample - samples, self.end_sample
        if self._voice and self._voice[-1][1] >= start:
            self._voice[-1] = (self._voice[-1][0], end)
        else:
            self._voice.append((start, end))

    def voice(self) -> tuple[tuple[float, float], ...]:
        """Returns where a voice was heard in the audio kept, as seconds from its first sample."""
        first = self._start_sample
        return tuple(
            (max(0, start - first) / SAMPLE_RATE, (end - first) / SAMPLE_RATE)
            for start, end in self._voice
            if end > first
        )

    def samples(self) -> Samples:
        """Returns the audio kept, in [-1, 1]."""
        pcm = np.frombuffer(bytes(self._pcm), "<i2")
        return pcm.astype(np.float32) / np.float32(32768)

    def hand_over(self, after: KeptSound, at_sample: int) -> int:
        """Gives the audio from a sample on, and its voice, to what follows.

        Returns:
            How many samples of voice went with it.
        """
        at = 2 * max(0, min(at_sample - self._start_sample, len(self._pcm) // 2))
        after.extend(bytes(self._pcm[at:]))
        del self._pcm[at:]
        after._voice = deque((max(s, at_sample), e) for s, e in self._voice if e > at_sample)
        self._voice = deque((s, min(e, at_sample)) for s, e in self._voice if s < at_sample)
        return sum(end - start for start, end in after._voice)

    def quietest_near(self, at_sample: int, within: int) -> int:
        """Returns the middle of the quietest 20 ms within so many samples of a place."""
        samples = self.samples()
        low = max(0, at_sample - within - self._start_sample)
        high = min(len(samples), at_sample + within - self._start_sample)
        if high - low < 2 * _QUIET_SPAN:
            return at_sample
        energy = np.convolve(samples[low:high] ** 2, np.ones(_QUIET_SPAN), "valid")
        return self._start_sample + low + int(np.argmin(energy)) + _QUIET_SPAN // 2
