"""A fast voice is handed on only as fast as it is soon played."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing

import pytest

from agent_worker.speech.pacing import paced
from livekit import rtc

RATE = 16_000


class Playout:
    """An output whose playhead moves when told."""

    def __init__(self) -> None:
        self.played_s = 0.0

    def __call__(self) -> float:
        return self.played_s


class Voice:
    """Makes audio at once, in frames of 100 ms; counts what was taken."""

    def __init__(self, frames: int, *, fails_after: int | None = None) -> None:
        self.frames, self.fails_after = frames, fails_after
        self.made = 0
        self.closed = False

    async def speak(self) -> AsyncIterator[rtc.AudioFrame]:
        try:
            for number in range(self.frames):
                if number == self.fails_after:
                    raise ValueError("the voice broke")
                self.made += 1
                yield rtc.AudioFrame.create(RATE, 1, RATE // 10)
        finally:
            self.closed = True


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.005)


async def test_a_second_goes_ahead_and_the_rest_waits_for_the_playout() -> None:
    voice, playout, heard = Voice(50), Playout(), []

    async def listen() -> None:
        async with aclosing(paced(voice.speak(), played_s=playout)) as audio:
            async for frame in audio:
                heard.append(frame)

    listening = asyncio.create_task(listen())
    await until(lambda: len(heard) >= 10)
    assert voice.made == 50, "the voice itself works ahead"
    await asyncio.sleep(0.15)
    assert len(heard) <= 11
    playout.played_s = 2.0
    await until(lambda: len(heard) >= 30)
    await asyncio.sleep(0.15)
    assert len(heard) <= 31
    playout.played_s = 60.0
    await listening
    assert len(heard) == 50


async def test_the_voices_failure_comes_after_what_it_said() -> None:
    heard = []
    with pytest.raises(ValueError, match="the voice broke"):
        async for frame in paced(Voice(9, fails_after=4).speak(), played_s=Playout()):
            heard.append(frame)
    assert len(heard) == 4


async def test_a_listener_who_leaves_stops_the_voice() -> None:
    voice = Voice(10_000)
    async with aclosing(paced(voice.speak(), played_s=Playout())) as audio:
        async for _ in audio:
            break
    await until(lambda: voice.closed)
    assert len(asyncio.all_tasks()) == 1


async def test_silence_ends_at_once() -> None:
    assert [frame async for frame in paced(Voice(0).speak(), played_s=Playout())] == []
