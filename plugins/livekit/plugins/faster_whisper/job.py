"""What an engine is asked and what it answers; nothing here knows how a model is run."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from .gates import Evidence
from .soundness import Doubt
from .words import Word, text_of

Samples = npt.NDArray[np.float32]
AudioContext = Literal["auto", "wide", "full"]
"""A window that fits with some slack, one with 12 s of it, or the whole of Whisper's."""

SAMPLE_RATE = 16000
"""Hertz; the only rate that Whisper knows."""
FULL_FRAMES = 3000
"""Mel frames in Whisper's whole window of 30 s, 10 ms each."""
MAX_SAMPLES = FULL_FRAMES * 160


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """One window of audio to decode."""

    samples: Samples
    """Mono at 16 kHz, 30 s at most."""
    language: str | None = "en"
    """Whisper's code, or None to detect it."""
    may_switch: bool = False
    """Take another language than that where the model is sure of it: callers mix two."""
    prompt: str = ""
    """Text that came before, or that sets the style."""
    keyterms: tuple[str, ...] = ()
    """Words to expect."""
    beam_size: int | None = None
    """None is what suits the model; partials are greedy."""
    audio_ctx: AudioContext = "auto"
    is_final: bool = True
    """Partials are made in haste: greedy, and no doubt is raised."""
    voice: tuple[tuple[float, float], ...] | None = None
    """Where a voice was heard, as (start, end) in seconds from the first sample; None: unknown."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """What the model heard; times are seconds from the start of the job's samples."""

    words: tuple[Word, ...]
    language: str
    language_probability: float
    mean_log_probability: float
    no_speech_probability: float
    frames: int
    """Mel frames encoded, padding included."""
    is_wide: bool = False
    """Whether they hold as much silence as the window for a text in doubt."""
    tokens: int = 0
    """Text tokens written."""
    profits_from_whole: bool = True
    """Whether the model was trained on whole windows; the bundled one learnt on short ones."""
    doubt: Doubt | None = None
    """What speaks against a final's text. Over the whole window nothing better is to be had."""

    @property
    def text(self) -> str:
        """The words as running text."""
        return text_of(self.words)

    @property
    def repeated(self) -> bool:
        """Whether the decoder looped."""
        return self.doubt is Doubt.LOOP

    def evidence(self, voiced_s: float) -> Evidence:
        """Returns what speaks for the text, with the seconds in which a voice was heard."""
        return Evidence(
            text=self.text,
            word_count=len(self.words),
            voiced_s=voiced_s,
            no_speech_probability=self.no_speech_probability,
            mean_log_probability=self.mean_log_probability,
            repeated=self.repeated,
        )

    @property
    def has_wider(self) -> bool:
        """Whether a larger window is to be had."""
        return self.frames < FULL_FRAMES


@dataclass(frozen=True, slots=True)
class Plan:
    """How a job will be run. Jobs with equal plans may share a batch."""

    frames: int
    language: str | None
    prompt_tokens: int
    beam_size: int
    is_final: bool = True
    may_switch: bool = False


class Decoder(Protocol):
    """What an engine runs; stand-ins for tests are written against this."""

    def plan(self, job: Job) -> Plan:
        """Returns how the job would be run."""
        ...

    def decode(self, jobs: Sequence[Job]) -> list[Decoded]:
        """Runs jobs with one and the same plan, and returns as many results in their order."""
        ...


def settle(future: Future[Decoded], outcome: Decoded | Exception) -> None:
    """Gives a job's answer, unless nobody waits for it any more.

    A batch that was given up as hung may come back after all, and a cancel may come between the
    question and the answer.
    """
    with contextlib.suppress(InvalidStateError):
        if isinstance(outcome, Exception):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)
