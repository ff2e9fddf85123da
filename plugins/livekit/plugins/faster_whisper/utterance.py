"""One stretch of speech: its audio and what has been found out about it so far."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .decode import SAMPLE_RATE
from .partials import PartialTranscript
from .words import Word

_QUIET_SPAN = SAMPLE_RATE // 50


@dataclass(frozen=True, slots=True)
class Speculation:
    """A final made before it was known that the speech had ended."""

    words: tuple[Word, ...]
    language: str
    sounded_windows: int
    """Sound heard when it was made; more since then makes it void."""


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

    def samples(self) -> npt.NDArray[np.float32]:
        """Returns the audio kept, in [-1, 1]."""
        pcm = np.frombuffer(bytes(self._pcm), "<i2")
        return pcm.astype(np.float32) / np.float32(32768)

    def split(self, at_sample: int) -> bytes:
        """Cuts the audio off from a sample of the stream on, and returns it."""
        at = 2 * max(0, min(at_sample - self._start_sample, len(self._pcm) // 2))
        rest = bytes(self._pcm[at:])
        del self._pcm[at:]
        return rest

    def drop_before(self, at_sample: int) -> None:
        """Forgets the audio before a sample of the stream."""
        at = max(0, min(at_sample - self._start_sample, len(self._pcm) // 2))
        del self._pcm[: 2 * at]
        self._start_sample += at

    def quietest_near(self, at_sample: int, within: int) -> int:
        """Returns the middle of the quietest 20 ms within so many samples of a place."""
        samples = self.samples()
        low = max(0, at_sample - within - self._start_sample)
        high = min(len(samples), at_sample + within - self._start_sample)
        if high - low < 2 * _QUIET_SPAN:
            return at_sample
        energy = np.convolve(samples[low:high] ** 2, np.ones(_QUIET_SPAN), "valid")
        return self._start_sample + low + int(np.argmin(energy)) + _QUIET_SPAN // 2
