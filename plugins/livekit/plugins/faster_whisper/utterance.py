"""One stretch of speech: its audio and what has been found out about it so far."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .job import SAMPLE_RATE
from .partials import PartialTranscript
from .voice import WINDOW
from .words import Word

_QUIET_SPAN = SAMPLE_RATE // 50


@dataclass(frozen=True, slots=True)
class Speculation:
    """A final made before it was known that the speech had ended."""

    words: tuple[Word, ...]
    language: str
    sounded_windows: int
    """Sound heard when it was made; more since then makes it void."""
    is_sure: bool = True
    """Whether nothing speaks against it, or nothing better is to be had."""


class Utterance:
    """Audio from one start of speech, or from a cut, to the next end or cut."""

    def __init__(
        self,
        *,
        request_id: str,
        start_sample: int,
        starts_speech: bool,
        partials: PartialTranscript,
        heard_at: float,
    ) -> None:
        """Starts without audio.

        Args:
            request_id: Names it in events.
            start_sample: Where its first sample lies in the stream.
            starts_speech: Whether it begins with speech, not with a cut in running speech.
            partials: Grows its live transcript.
            heard_at: Wall clock when its speech began, seconds since the epoch.
        """
        self.request_id = request_id
        self.starts_speech = starts_speech
        self.ends_speech = True
        self.partials = partials
        self.heard_at = heard_at
        self.last_heard_at = heard_at
        self.onset_s = start_sample / SAMPLE_RATE
        self.announced = False
        self.interim_shown = False
        self.closed = False
        self.flushed = False
        self.voiced_windows = 0
        self.silence_s = 0.0
        self.sounded_windows = 0
        self.pause_s = 0.0
        self.decoded_sounded_windows = 0
        self.decoded_at_sample = start_sample
        self.speculation: Speculation | None = None
        self.speculated_windows = 0
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
    def duration_s(self) -> float:
        """Seconds of audio kept."""
        return len(self._pcm) / 2 / SAMPLE_RATE

    def extend(self, pcm: bytes) -> None:
        """Adds 16-bit mono audio."""
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

    def samples(self) -> npt.NDArray[np.float32]:
        """Returns the audio kept, in [-1, 1]."""
        pcm = np.frombuffer(bytes(self._pcm), "<i2")
        return pcm.astype(np.float32) / np.float32(32768)

    def hand_over(self, after: Utterance, at_sample: int) -> None:
        """Gives the audio from a sample of the stream on, and its voice, to the next utterance."""
        at = 2 * max(0, min(at_sample - self._start_sample, len(self._pcm) // 2))
        after.extend(bytes(self._pcm[at:]))
        del self._pcm[at:]
        after._voice = deque((max(s, at_sample), e) for s, e in self._voice if e > at_sample)
        self._voice = deque((s, min(e, at_sample)) for s, e in self._voice if s < at_sample)
        voiced = sum(end - start for start, end in after._voice) // WINDOW
        after.voiced_windows = after.sounded_windows = voiced

    def drop_before(self, at_sample: int) -> None:
        """Forgets the audio before a sample of the stream."""
        at = max(0, min(at_sample - self._start_sample, len(self._pcm) // 2))
        del self._pcm[: 2 * at]
        self._start_sample += at
        while self._voice and self._voice[0][1] <= self._start_sample:
            self._voice.popleft()

    def quietest_near(self, at_sample: int, within: int) -> int:
        """Returns the middle of the quietest 20 ms within so many samples of a place."""
        samples = self.samples()
        low = max(0, at_sample - within - self._start_sample)
        high = min(len(samples), at_sample + within - self._start_sample)
        if high - low < 2 * _QUIET_SPAN:
            return at_sample
        energy = np.convolve(samples[low:high] ** 2, np.ones(_QUIET_SPAN), "valid")
        return self._start_sample + low + int(np.argmin(energy)) + _QUIET_SPAN // 2
