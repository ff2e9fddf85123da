"""The waterfall of a turn: when the caller stopped, and what then happened when.

All times are ``time.time()`` of the machine that runs the worker, so that a caller on the same
machine (the demo, the benchmarks) can lay its own times beside them.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

TOPIC = "agent.latency"
"""LiveKit text topic on which each turn's record goes out to the clients in the room."""

STAGES = ("final", "committed", "first_token", "first_phrase", "first_audio", "first_audio_out")
"""In the order in which a turn that is not speculated on passes them."""

Clock = Callable[[], float]


@dataclasses.dataclass
class Generation:
    """One attempt at an answer. A speculative one may be dropped for the next."""

    at: dict[str, float] = dataclasses.field(default_factory=dict)
    reported: bool = False

    def mark(self, stage: str, now: float) -> None:
        """Notes a stage the first time that it is passed."""
        self.at.setdefault(stage, now)


@dataclasses.dataclass(frozen=True)
class TurnRecord:
    """One turn, from the end of the caller's speech to the agent's first audio."""

    turn: int
    speech_ended_at: float
    """Unix seconds; as the voice activity detector saw it."""
    at: Mapping[str, float]
    """Unix seconds of each stage that was passed."""
    interrupted_at: float | None = None

    @property
    def stages_ms(self) -> dict[str, float]:
        """Milliseconds from the end of speech to each stage."""
        return {
            stage: round((self.at[stage] - self.speech_ended_at) * 1000, 1)
            for stage in STAGES
            if stage in self.at
        }

    @property
    def end_to_end_ms(self) -> float | None:
        """Milliseconds from the end of speech to the first audio that left the worker."""
        return self.stages_ms.get("first_audio_out")

    def to_json(self) -> str:
        """The record as it is logged and sent to clients. It holds no word that was said."""
        return json.dumps(
            {
                "turn": self.turn,
                "speech_ended_at": self.speech_ended_at,
                "at": dict(self.at),
                "stages_ms": self.stages_ms,
                "end_to_end_ms": self.end_to_end_ms,
                "interrupted_at": self.interrupted_at,
            }
        )


class TurnLatency:
    """Collects the stages of the turn under way; one for each call. No I/O.

    The generation that speaks is the last one begun: a speculative attempt that was dropped leaves
    no trace in the record.
    """

    def __init__(self, *, clock: Clock = time.time) -> None:
        self._clock = clock
        self._turn = 0
        self._speech_ended_at: float | None = None
        self._heard: dict[str, float] = {}
        self._generation: Generation | None = None
        self._last: TurnRecord | None = None

    def speech_started(self) -> None:
        """The caller speaks: what was heard before belongs to an earlier utterance."""
        self._heard = {}

    def speech_ended(self, at: float) -> None:
        """The caller fell silent at `at`, which lies a little before now."""
        self._speech_ended_at = at

    def heard(self, stage: str) -> None:
        """A stage of hearing: ``final`` or ``committed``. The last one counts."""
        self._heard[stage] = self._clock()

    def begin_generation(self) -> Generation:
        """A new attempt at an answer."""
        self._generation = Generation()
        return self._generation

    def mark(self, generation: Generation | None, stage: str, *, at: float | None = None) -> None:
        """A stage of answering, passed now or at a time that is known."""
        if generation is not None:
            generation.mark(stage, self._clock() if at is None else at)

    def speaking(self) -> TurnRecord | None:
        """The agent's audio goes out. Returns the turn's record, once; None for a greeting."""
        generation, ended_at = self._generation, self._speech_ended_at
        if generation is None or ended_at is None or generation.reported:
            return None
        generation.reported = True
        generation.mark("first_audio_out", self._clock())
        self._turn += 1
        self._last = TurnRecord(self._turn, ended_at, {**self._heard, **generation.at})
        self._speech_ended_at = None
        return self._last

    def interrupted(self) -> TurnRecord | None:
        """The caller cut the answer off. Returns the turn's record again, with the time of it."""
        if self._last is None or self._last.interrupted_at is not None:
            return None
        self._last = dataclasses.replace(self._last, interrupted_at=self._clock())
        return self._last


def percentile(values: Sequence[float], share: float) -> float:
    """Nearest-rank percentile.

    Args:
        values: at least one.
        share: 0 to 1.

    Raises:
        ValueError: there are no values.
    """
    if not values:
        raise ValueError("no values")
    ordered = sorted(values)
    rank = max(1, -(-len(ordered) * share // 1))
    return ordered[int(min(rank, len(ordered))) - 1]


def summary(values: Sequence[float]) -> dict[str, Any]:
    """``{"p50": …, "p95": …}`` in the unit of the values; both None where there are none."""
    if not values:
        return {"p50": None, "p95": None}
    return {"p50": round(percentile(values, 0.5), 1), "p95": round(percentile(values, 0.95), 1)}
