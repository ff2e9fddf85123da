"""The waterfall of a turn: when the caller stopped, and what then happened when.

All times are Unix seconds of the machine that runs the worker, so that a caller on the same
machine (the demo, the benchmarks) can lay its own times beside them.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Mapping, Sequence
from typing import Any

import numpy as np

from agent_worker.steady_time import steady_time

from .cost import CallCost, CallSummary, Cost, Prices, Tokens

TOPIC = "agent.latency"
"""LiveKit text topic on which each turn's record goes out to the clients in the room."""

STAGES = (
    "preflight",
    "final",
    "committed",
    "first_token",
    "first_speakable",
    "first_phrase",
    "first_audio",
    "first_audio_out",
)
"""In the order in which a turn that is not speculated on passes them. A speculative answer begins
with the preflight transcript: its stages may lie before ``final`` and ``committed``."""

Clock = Callable[[], float]


@dataclasses.dataclass
class Generation:
    """One attempt at an answer. A speculative one may be dropped for the next."""

    at: dict[str, float] = dataclasses.field(default_factory=dict)
    reported: bool = False
    tokens: Tokens | None = None
    cost: Cost | None = None
    failure: str = ""
    """Why it came to nothing."""

    def mark(self, stage: str, now: float) -> None:
        """Notes a stage the first time that it is passed."""
        self.at.setdefault(stage, now)


@dataclasses.dataclass(frozen=True)
class HeardUntil:
    """How much of an answer was out when the caller cut it off. Holds no word of it."""

    seconds: float
    """Of playout."""
    characters: int
    """Of the text that was spoken by then."""


@dataclasses.dataclass(frozen=True)
class TurnRecord:
    """One turn, from the end of the caller's speech to the agent's first audio.

    A turn that got no voice (the caller went on at once, or the answer was empty) has no stages
    after ``committed``.
    """

    turn: int
    speech_ended_at: float
    """Unix seconds; as the voice activity detector saw it."""
    at: Mapping[str, float]
    """Unix seconds of each stage that was passed, and ``asked``: when the model was asked."""
    interrupted_at: float | None = None
    heard_until: HeardUntil | None = None
    """Set where the answer was interrupted."""
    tokens: Tokens | None = None
    """Set once the answer has ended; None where its server tells no figures."""
    cost: Cost | None = None
    """Beside `tokens`, where a price is set."""
    failure: str = ""
    """Why there was no answer but an apology; empty where there was one."""
    typed: bool = False
    """Whether the caller wrote: then the times count from the message's arrival."""

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

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON. It holds no word that was said."""
        heard = self.heard_until
        return {
            "turn": self.turn,
            "speech_ended_at": self.speech_ended_at,
            "at": dict(self.at),
            "stages_ms": self.stages_ms,
            "end_to_end_ms": self.end_to_end_ms,
            "interrupted_at": self.interrupted_at,
            "heard_until": None if heard is None else dataclasses.asdict(heard),
            "tokens": None if self.tokens is None else dataclasses.asdict(self.tokens),
            **({} if self.cost is None else {"cost": dataclasses.asdict(self.cost)}),
            **({"failure": self.failure} if self.failure else {}),
            **({"typed": True} if self.typed else {}),
        }

    def to_json(self) -> str:
        """The record as it is sent to clients."""
        return json.dumps(self.to_dict())


@dataclasses.dataclass(frozen=True)
class _Taken:
    """A turn that was committed and waits for its answer's voice."""

    speech_ended_at: float | None
    heard: Mapping[str, float]
    typed: bool = False


class TurnLatency:
    """Collects the stages of the turn under way; one for each call. No I/O.

    The generation that speaks is the last one begun: a speculative attempt that was dropped leaves
    no trace in the record. What the caller utters between the commit and the voice (a cough, a
    "please") belongs to no record either, unless it is taken for a turn.
    """

    def __init__(self, *, clock: Clock = steady_time, prices: Prices | None = None) -> None:
        self._clock = clock
        self._turn = 0
        self._speech_ended_at: float | None = None
        self._heard: dict[str, float] = {}
        self._taken: _Taken | None = None
        self._generation: Generation | None = None
        self._answered: TurnRecord | None = None
        self._answering: Generation | None = None
        self._spent = CallCost(prices)
        self._uncounted = 0
        self._played_s = 0.0
        self._cut_at: float | None = None
        self._ended: list[TurnRecord] = []

    def speech_started(self) -> None:
        """The caller speaks: what was heard before belongs to an earlier utterance."""
        self._heard = {}
        self._speech_ended_at = None

    def speech_ended(self, at: float) -> None:
        """The caller fell silent at `at`, which lies a little before now."""
        if self._taken is not None and self._taken.speech_ended_at is None:
            # a push-to-talk key commits before the silence is noticed
            self._taken = dataclasses.replace(self._taken, speech_ended_at=at)
        else:
            self._speech_ended_at = at

    def heard(self, stage: str) -> None:
        """A stage of hearing: ``preflight``, ``final`` or ``committed``. The last one counts."""
        self._heard[stage] = self._clock()
        if stage == "committed":
            self._end_unanswered()
            self._taken = _Taken(self._speech_ended_at, dict(self._heard))

    def typed(self) -> None:
        """The caller has written: a turn that stands as it comes, and has nothing to hear."""
        self._end_unanswered()
        now = self._clock()
        self._taken = _Taken(now, {"committed": now}, typed=True)

    def begin_generation(self) -> Generation:
        """A new attempt at an answer."""
        self._generation = Generation()
        self._uncounted += 1
        self._generation.mark("asked", self._clock())
        return self._generation

    def mark(self, generation: Generation | None, stage: str, *, at: float | None = None) -> None:
        """A stage of answering, passed now or at a time that is known."""
        if generation is not None:
            generation.mark(stage, self._clock() if at is None else at)

    def count(self, generation: Generation, prompt: int, cached: int, completion: int) -> None:
        """The model's server has told what an attempt cost."""
        self._uncounted -= generation.tokens is None
        generation.tokens, generation.cost = self._spent.add(prompt, cached, completion)

    def failed(self, cause: str) -> None:
        """The answer under way came to nothing."""
        if self._generation is not None:
            self._generation.failure = cause

    def speaking(self) -> TurnRecord | None:
        """The agent's audio goes out. Returns the turn's record, once; None for a greeting."""
        generation, taken = self._generation, self._taken
        if generation is None or generation.reported or taken is None:
            return None
        if taken.speech_ended_at is None:
            return None
        generation.reported = True
        generation.mark("first_audio_out", self._clock())
        self.answer_ended()
        self._turn += 1
        at = {**taken.heard, **generation.at}
        self._answered = TurnRecord(
            self._turn,
            taken.speech_ended_at,
            at,
            failure=generation.failure,
            typed=taken.typed,
        )
        self._answering = generation
        self._taken = None
        self._played_s, self._cut_at = 0.0, None
        return self._answered

    def played(self, seconds: float, *, interrupted: bool) -> None:
        """A stretch of the answer's audio has ended: so many seconds of it were heard."""
        self._played_s += seconds
        if interrupted:
            self._cut_at = self._clock()

    def interrupted(self, characters: int) -> TurnRecord | None:
        """The caller cut the answer off. Returns the turn's record again, with the time of it.

        Args:
            characters: of the text that was spoken by then.
        """
        if self._answered is None or self._answered.interrupted_at is not None:
            return None
        self._answered = dataclasses.replace(
            self._answered,
            interrupted_at=self._clock() if self._cut_at is None else self._cut_at,
            heard_until=HeardUntil(round(self._played_s, 3), characters),
        )
        return self._answered

    def answer_ended(self) -> None:
        """Nothing more of the answer is to come."""
        if self._answered is not None:
            # known only when the last token was written, which is after the record was first told
            answered = self._answered
            if (generation := self._answering) is not None:
                answered = dataclasses.replace(
                    answered,
                    tokens=generation.tokens,
                    cost=generation.cost,
                    failure=generation.failure,
                )
            self._ended.append(answered)
            self._answered = None

    def call_ended(self) -> None:
        """Nothing more of any turn is to come."""
        self.answer_ended()
        self._end_unanswered()

    def summary(self) -> CallSummary:
        """What the call has come to so far."""
        return self._spent.summary(turns=self._turn, uncounted=self._uncounted)

    def ended(self) -> list[TurnRecord]:
        """The records that are complete, each handed out once."""
        ended, self._ended = self._ended, []
        return ended

    def _end_unanswered(self) -> None:
        taken, self._taken = self._taken, None
        if taken is not None and taken.speech_ended_at is not None:
            self._turn += 1
            generation = self._generation
            failure = "" if generation is None or generation.reported else generation.failure
            self._ended.append(
                TurnRecord(
                    self._turn,
                    taken.speech_ended_at,
                    taken.heard,
                    failure=failure,
                    typed=taken.typed,
                )
            )


async def noticing_speakable(
    pieces: AsyncIterable[str], on_first: Callable[[], None]
) -> AsyncGenerator[str, None]:
    """The pieces of a reply as they are; tells of the first one with a letter or digit in it."""
    noticed = False
    async for piece in pieces:
        if not noticed and any(character.isalnum() for character in piece):
            noticed = True
            on_first()
        yield piece


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
    return float(np.percentile(values, 100 * share, method="inverted_cdf"))


def summary(values: Sequence[float]) -> dict[str, Any]:
    """``{"p50": …, "p95": …}`` in the unit of the values; both None where there are none."""
    if not values:
        return {"p50": None, "p95": None}
    return {"p50": round(percentile(values, 0.5), 1), "p95": round(percentile(values, 0.95), 1)}
