"""Cuts a stream of audio into utterances while it is heard."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from livekit.agents import utils
from livekit.local_inference import VAD

from .job import SAMPLE_RATE
from .options import Options
from .partials import PartialTranscript
from .utterance import Utterance
from .voice import WINDOW, WINDOW_S, PauseTracker, VoiceChange, VoiceTracker

_PRE_ROLL = int(0.3 * SAMPLE_RATE)
"""Samples kept before the start of speech: the detector hears soft consonants late."""


class Listener:
    """Fed with audio, it keeps a queue of utterances, of which the last may still grow.

    The voice detector's state is the listener's own. One window costs about 0.03 ms, so it runs
    where the audio arrives.
    """

    def __init__(self, options: Options, *, wall_clock: Callable[[], float] = time.time) -> None:
        """Starts in silence."""
        self.options = options
        self.utterances: deque[Utterance] = deque()
        """Oldest first; whoever has finished the oldest removes it."""
        self._detector = VAD()
        self._tracker = VoiceTracker(options.voice)
        self._pause = PauseTracker()
        self._wall_clock = wall_clock
        self._pending = bytearray()
        self._recent = bytearray()
        self._heard_samples = 0
        self._open: Utterance | None = None

    @property
    def heard_s(self) -> float:
        """Seconds of audio taken in."""
        return self._heard_samples / SAMPLE_RATE

    def update_options(self, options: Options) -> None:
        """Takes new settings for the windows and utterances to come."""
        self.options = options
        self._tracker.options = options.voice

    def hear(self, pcm: bytes) -> None:
        """Takes 16-bit mono audio at 16 kHz, of any length."""
        self._pending += pcm
        step = 2 * WINDOW
        while len(self._pending) >= step:
            window = bytes(self._pending[:step])
            del self._pending[:step]
            self._hear_window(window)

    def flush(self, *, answer_always: bool) -> None:
        """Ends the utterance under way here and now.

        Args:
            answer_always: Have a final sent even where nothing was said: somebody waits for it.
        """
        rest = bytes(self._pending)
        self._pending.clear()
        self._heard_samples += len(rest) // 2
        if self._open is not None:
            self._open.sound.extend(rest)
            self._close()
        self._tracker.reset()
        self._recent.clear()
        if not answer_always:
            return
        if not self.utterances:
            self.utterances.append(self._begin(self._heard_samples, starts_speech=False))
            self.utterances[-1].close(ends_speech=False)
        self.utterances[-1].ask_for_an_answer()

    def cut(self, at_sample: int) -> None:
        """Ends the utterance under way at a place in it, and goes on with the rest."""
        if self._open is not None:
            self._cut_running_speech(at_sample)

    def _hear_window(self, window: bytes) -> None:
        self._heard_samples += WINDOW
        samples = np.frombuffer(window, "<i2")
        change = self._tracker.step(self._detector.predict(samples))
        self._pause.step(_rms(samples), voiced=self._tracker.voiced)
        if self._open is None:
            self._recent += window
            if change is VoiceChange.START:
                self._start()
            else:
                # The voice that leads up to a start must fit in beside the pre-roll.
                del self._recent[: -2 * (_PRE_ROLL + WINDOW * self._tracker.run)]
            return
        utterance = self._open
        if change is VoiceChange.RESUME and utterance.silence_s >= self.options.cutting_pause_s(
            utterance.sound.duration_s
        ):
            utterance = self._cut_running_speech(
                self._heard_samples - WINDOW - int(utterance.silence_s / 2 * SAMPLE_RATE)
            )
        utterance.hear(
            window,
            voiced=self._tracker.voiced,
            sounding=self._pause.sounding,
            silence_s=self._tracker.silence_s,
            pause_s=self._pause.pause_windows * WINDOW_S,
            at=self._wall_clock(),
        )
        if change is VoiceChange.END:
            self._close()
        elif utterance.sound.duration_s > self.options.hard_limit_s:
            sound = utterance.sound
            end = sound.end_sample
            self._cut_running_speech(sound.quietest_near(end - SAMPLE_RATE, within=SAMPLE_RATE))

    def _start(self) -> None:
        start = self._heard_samples - len(self._recent) // 2
        utterance = self._begin(start, starts_speech=True)
        utterance.begin_with(bytes(self._recent), self._tracker.run)
        self._recent.clear()
        self._open = utterance
        self.utterances.append(utterance)

    def _cut_running_speech(self, at_sample: int) -> Utterance:
        before = self._open
        assert before is not None
        after = self._begin(at_sample, starts_speech=False)
        before.cut_at(at_sample, after)
        self._open = after
        self.utterances.append(after)
        return after

    def _begin(self, start_sample: int, *, starts_speech: bool) -> Utterance:
        confirming = self.options.confirming
        partials = PartialTranscript(
            anchor_s=start_sample / SAMPLE_RATE,
            tail_s=confirming.tail_s,
            runs=confirming.runs,
            min_probability=confirming.min_probability,
            max_window_s=self.options.max_segment_s,
        )
        voice_s = self._tracker.run * WINDOW / SAMPLE_RATE
        return Utterance(
            request_id=utils.shortuuid("stt_"),
            start_sample=start_sample,
            starts_speech=starts_speech,
            partials=partials,
            heard_at=self._wall_clock() - voice_s,
        )

    def _close(self) -> None:
        assert self._open is not None
        self._open.close()
        self._open = None
        self._recent.clear()


def _rms(samples: npt.NDArray[np.int16]) -> float:
    wide = samples.astype(np.float32)
    return float(np.sqrt(np.dot(wide, wide) / len(wide)))
