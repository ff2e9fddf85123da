"""Calls of the turn benchmark: ask, speak over the answer, feed the answer back as an echo."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from agent_worker.caller.client import SAMPLE_RATE, CallerError, Pcm, SimulatedCaller, Spoken
from agent_worker.caller.microphone import Line

from . import turn_figures as figures

JOIN_S = 20.0
ANSWER_S = 10.0
QUIET_S = 0.6
OVER_AFTER_S = 1.5
"""Seconds of an answer after which the caller speaks over it."""
ECHO_GAIN = 0.1
"""-20 dB."""

Token = Callable[[], str]


class BenchCaller(SimulatedCaller):
    """A caller whose loudspeaker can be too loud."""

    @property
    def voice(self) -> list[float]:
        """When the agent's voice was received; see `turn_figures`."""
        return self.audible_at

    async def echo(self, seconds: float) -> None:
        """Sends what is heard back through the microphone, -20 dB, for that long."""
        loop = _Loopback(seconds)
        self.on_heard = lambda samples: loop.samples.extend((samples * ECHO_GAIN).astype(np.int16))
        try:
            await self.play(loop)
        finally:
            self.on_heard = None


class _Loopback(Line):
    """A line that is not known beforehand: the loudspeaker as the microphone picks it up."""

    def __init__(self, seconds: float) -> None:
        super().__init__(np.full(1, 1000, np.int16))
        self.samples: deque[int] = deque()
        self._samples_left = int(seconds * SAMPLE_RATE)

    @property
    def exhausted(self) -> bool:
        return self._samples_left <= 0

    def next_frame(self, length: int, plays_at: float) -> Pcm:
        self._samples_left -= length
        count = min(length, len(self.samples))
        frame = np.fromiter((self.samples.popleft() for _ in range(count)), np.int16, count)
        return np.pad(frame, (0, length - count))


@asynccontextmanager
async def call(url: str, token: Token) -> AsyncIterator[BenchCaller]:
    """A call in a room of its own, with the agent there and listening."""
    caller = BenchCaller(url, token())
    async with caller:
        await caller.wait_for_agent_state("listening", timeout_s=JOIN_S)
        yield caller


@dataclass
class Side:
    """One pipeline and the turns that it was asked."""

    url: str
    token: Token
    turns: list[figures.Turn] = field(default_factory=list)
    spoken: list[Spoken] = field(default_factory=list)
    records: list[dict[str, Any]] = field(default_factory=list)
    """The worker's own account of its turns, where it gives one; complete when all is closed."""
    _call: Any = None
    _caller: BenchCaller | None = None

    async def ask(self, said: str, pcm: Pcm, *, paused: bool) -> figures.Turn:
        """One turn, up to the first sound of the answer. A call that fails is left for a new one.

        Raises:
            CallerError: the agent does not come to the call.
        """
        caller = await self._ready()
        spoken = await caller.speak(pcm)
        received_at: float | None = None
        try:
            received_at = await caller.audible_after(
                spoken.ended_at + figures.TOO_EARLY_S, timeout_s=ANSWER_S
            )
        except CallerError:
            await self.aclose()
        turn = figures.Turn(
            said=said,
            paused=paused,
            cut_off=figures.cut_off(caller.voice, spoken.started_at, spoken.ended_at),
            end_to_end_ms=(received_at - spoken.ended_at) * 1000 if received_at else None,
            heard=caller.heard(spoken.started_at),
        )
        self.turns.append(turn)
        self.spoken.append(spoken)
        return turn

    async def _ready(self) -> BenchCaller:
        if self._caller is not None:
            try:
                await caller_is_free(self._caller)
                return self._caller
            except CallerError:
                await self.aclose()
        self._call = call(self.url, self.token)
        self._caller = await self._call.__aenter__()
        return self._caller

    async def aclose(self) -> None:
        """Hangs up. Safe to call twice."""
        if self._caller is not None:
            self.records += self._caller.latency_records
        running, self._call, self._caller = self._call, None, None
        if running is not None:
            await running.__aexit__(None, None, None)


async def caller_is_free(caller: SimulatedCaller) -> None:
    """Waits until the last answer has been spoken."""
    await caller.silent(for_s=QUIET_S, timeout_s=ANSWER_S)
    await caller.wait_for_agent_state("listening", timeout_s=ANSWER_S)


async def _story(caller: BenchCaller, question: Pcm) -> float:
    """Asks for a long answer. Returns when it could be heard for a while."""
    spoken = await caller.speak(question)
    began_at = await caller.audible_after(spoken.ended_at, timeout_s=ANSWER_S)
    await asyncio.sleep(max(0.0, began_at + OVER_AFTER_S - time.time()))
    return began_at


@dataclass(frozen=True)
class Over:
    """Something said over the agent's answer."""

    said: str
    silent_ms: float | None
    """From 200 ms after the caller's first voiced sample to the agent's last; None = it went on."""


async def barge_in(url: str, token: Token, question: Pcm, said: str, pcm: Pcm) -> Over:
    """Interrupts a long answer, in a call of its own."""
    async with call(url, token) as caller:
        await _story(caller, question)
        over = await caller.speak(pcm)
        await asyncio.sleep(max(0.0, over.started_at + 2.0 - time.time()))
        silent_at = figures.silent_until_reply(
            caller.voice, over.started_at, time.time(), caller.latency_record(over.started_at)
        )
        if silent_at is None:
            return Over(said, None)
        # never less than nothing: it may have been between two words
        return Over(said, max(0.0, silent_at - over.started_at - figures.VOICED_S) * 1000)


async def backchannels(
    url: str, token: Token, question: Pcm, lines: Sequence[tuple[str, Pcm]]
) -> list[Over]:
    """Says each of these over one long answer. Ends with the first that stops it."""
    out: list[Over] = []
    async with call(url, token) as caller:
        await _story(caller, question)
        for said, pcm in lines:
            spoken: Spoken = await caller.speak(pcm)
            end = spoken.ended_at + 2.0
            await asyncio.sleep(max(0.0, end - time.time()))
            stopped_at = figures.silent_from(
                caller.voice, spoken.started_at, end, silence_s=figures.STOPPED_S
            )
            silent_ms = None if stopped_at is None else (stopped_at - spoken.started_at) * 1000
            out.append(Over(said, silent_ms))
            if stopped_at is not None:
                break
    return out


@dataclass(frozen=True)
class Echo:
    """A long answer heard by the agent itself."""

    seconds: float
    stops: int
    longest_gap_ms: float
    heard: str
    """What the agent took for the caller's words."""


async def echo(url: str, token: Token, question: Pcm, seconds: float) -> Echo:
    """Feeds a long answer back into the microphone, from its first sound."""
    async with call(url, token) as caller:
        spoken = await caller.speak(question)
        loop = asyncio.create_task(caller.echo(ANSWER_S + seconds))
        try:
            began_at = await caller.audible_after(spoken.ended_at, timeout_s=ANSWER_S)
            await asyncio.sleep(max(0.0, began_at + seconds - time.time()))
        finally:
            loop.cancel()
        now = time.time()
        return Echo(
            seconds,
            figures.stops(caller.voice, began_at, now),
            figures.longest_gap_ms(caller.voice, began_at, now),
            caller.heard(began_at),
        )
