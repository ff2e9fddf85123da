"""A decoder that follows a script, for what a real model can't be made to do: hang, fail, be slow.

It stands where `WhisperDecoder` stands, under a real engine.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from livekit.plugins.faster_whisper import Word
from livekit.plugins.faster_whisper.job import Decoded, Job, Plan


def job(text: str = "", *, seconds: float = 1.0, is_final: bool = True) -> Job:
    """A job whose answer is its own prompt."""
    return Job(np.zeros(int(16000 * seconds), np.float32), prompt=text, is_final=is_final)


def decoded(text: str) -> Decoded:
    """An answer with words of a quarter of a second each."""
    words = tuple(
        Word(" " + word, i * 0.25, (i + 1) * 0.25, 0.9) for i, word in enumerate(text.split())
    )
    return Decoded(
        words=words,
        language="en",
        language_probability=1.0,
        mean_log_probability=-0.1,
        no_speech_probability=0.0,
        frames=600,
    )


def echo(job: Job) -> Decoded:
    """Answers with the job's prompt."""
    return decoded(job.prompt)


@dataclass
class FakeDecoder:
    """Answers each job through `answer`; holds every batch while `gate` is closed."""

    answer: Callable[[Job], Decoded] = echo
    batches: list[list[Job]] = field(default_factory=list)
    """What was run so far."""
    gate: threading.Event = field(default_factory=threading.Event)
    entered: threading.Event = field(default_factory=threading.Event)
    """Set when a batch has reached the gate."""

    def __post_init__(self) -> None:
        self.gate.set()

    def load(self) -> FakeDecoder:
        """What an engine calls to load its model."""
        return self

    def plan(self, job: Job) -> Plan:
        return Plan(600, job.language, 0, job.beam_size or 1)

    def decode(self, jobs: Sequence[Job]) -> list[Decoded]:
        self.batches.append(list(jobs))
        self.entered.set()
        # A hung thread must not outlive the test run.
        self.gate.wait(30)
        return [self.answer(job) for job in jobs]
