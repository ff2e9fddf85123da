"""The gateway benchmark: its figures, and its caller at a real WebSocket."""

from __future__ import annotations

import numpy as np
import pytest

from agent_worker.caller.client import CallerError
from bench import gateway, gateway_callers
from bench.gateway_callers import STAGES, SocketCaller, turn_ms, voiced

from .fake_voice_stack import FakeStack, tone
from .test_gateway import serving


def spoken() -> np.ndarray:
    """A tone of half a second, with silence around it."""
    voice = np.frombuffer(tone(0.5), np.int16)
    return np.concatenate([np.zeros(3200, np.int16), voice, np.zeros(4800, np.int16)])


def test_stages_count_from_the_end_of_the_voice_and_the_partial_from_its_beginning() -> None:
    heard = {"partial": 10.4, "final": 11.3, "first_audio": 11.5}
    assert turn_ms(heard, voice_started_at=10.0, voice_ended_at=11.0) == {
        "partial": 400.0,
        "final": 300.0,
        "first_audio": 500.0,
    }


def test_a_voice_begins_and_ends_where_it_is_heard() -> None:
    first, last = voiced(spoken())
    assert first == pytest.approx(3200, abs=5) and last == pytest.approx(11_200, abs=20)
    with pytest.raises(CallerError, match="no voice"):
        voiced(np.zeros(100, np.int16))


def test_a_stage_that_no_turn_passed_has_no_figure() -> None:
    result = gateway.figures([{"partial": 100.0}, {"partial": 300.0, "final": 50.0}])
    assert list(result) == ["partial_ms", "final_ms"]
    both = {"websocket": {**result, "errors": ["late"]}, "room": {"errors": []}}
    table = gateway.table(both)
    assert "websocket: late" in table and "50 / 50" in table


async def test_each_stage_of_a_turn_is_measured_in_its_order() -> None:
    async with serving(FakeStack(voice_s=0.5)) as server, SocketCaller(server.url) as caller:
        for _ in range(2):
            turn = await caller.turn(spoken())
            assert set(turn) == set(STAGES)
            assert 0 < turn["final"] <= turn["first_token"] <= turn["first_audio"]
            # The partial counts from the beginning, and comes before the voice has ended.
            assert 0 < turn["partial"] < turn["final"] + 500


async def test_an_agent_that_says_nothing_is_an_error_and_no_figure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gateway_callers, "ANSWER_S", 0.3)
    stack = FakeStack(think_s=60.0)
    async with serving(stack) as server:
        side = gateway.Side(lambda: SocketCaller(server.url))
        await side.ask(spoken())
        assert side.turns == [] and "no voice" in side.errors[0]
        await side.aclose()


async def test_a_gateway_that_is_not_there_is_named() -> None:
    with pytest.raises(CallerError, match=r"can.t connect to ws://127\.0\.0\.1:1/"):
        async with SocketCaller("ws://127.0.0.1:1/ws/s2s"):
            pass
