"""A machine's clock that is set back by an hour leaves no turn unanswered."""

from __future__ import annotations

import subprocess
import sys

import pytest

from agent_worker.steady_time import SteadyTime

CALL_AND_STEP = """
import asyncio, time

real, step_s = time.time, 0.0
time.time = lambda: real() + step_s

from agent_worker.steady_time import hold_time_steady
from tests.test_turn_taking import conversation

async def main():
    global step_s
    hold_time_steady()
    async with conversation(speech_s=0.3) as call:
        for number, question in enumerate(["one one one", "two two two", "three three three"]):
            call.says(question)
            speaking = asyncio.create_task(call.microphone.speak(0.4))
            await asyncio.sleep(0.2)
            if number:
                step_s -= 3600.0
            await speaking
            async with asyncio.timeout(8):
                await call.until(lambda: len(call.history()) == 2 * (number + 1))
        print([text for role, text in call.history() if role == "user"])
        print(call.requests == ["one one one", "two two two", "three three three"])

asyncio.run(main())
"""


class Clocks:
    def __init__(self) -> None:
        self.wall = 1_000_000.0
        self.monotonic = 50.0

    def steady(self) -> SteadyTime:
        return SteadyTime(wall=lambda: self.wall, monotonic=lambda: self.monotonic)

    def passes(self, seconds: float) -> None:
        self.wall += seconds
        self.monotonic += seconds


def test_it_goes_with_the_wall() -> None:
    clocks = Clocks()
    now = clocks.steady()
    clocks.passes(90)
    assert now() == pytest.approx(1_000_090.0)


@pytest.mark.parametrize("step_s", [-3600.0, 3600.0])
def test_it_does_not_jump_with_the_wall(step_s: float) -> None:
    clocks = Clocks()
    now = clocks.steady()
    clocks.wall += step_s
    clocks.passes(2)
    assert now() == pytest.approx(1_000_002.0)


def test_it_follows_a_wall_that_is_corrected_slowly() -> None:
    clocks = Clocks()
    now = clocks.steady()
    clocks.wall += 0.2
    times = []
    for _ in range(600):
        clocks.passes(1)
        times.append(now())
    assert times[-1] == pytest.approx(clocks.wall)
    assert times == sorted(times)


def test_three_turns_are_answered_though_the_clock_is_set_back_twice_between_them() -> None:
    # in a process of its own, whose clock may be set
    done = subprocess.run(
        [sys.executable, "-c", CALL_AND_STEP], capture_output=True, text=True, timeout=55
    )
    assert done.stdout.splitlines() == [
        "['one one one', 'two two two', 'three three three']",
        "True",
    ], done.stderr[-2000:]
