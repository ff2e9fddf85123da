from __future__ import annotations

import json

import pytest

from agent_worker.latency import TurnLatency, percentile, summary


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_turn_is_counted_from_the_end_of_speech() -> None:
    clock = Clock()
    latency = TurnLatency(clock=clock)
    latency.speech_started()
    latency.speech_ended(1000.0)
    for stage in ("final", "committed"):
        clock.now += 0.1
        latency.heard(stage)
    generation = latency.begin_generation()
    for stage in ("first_token", "first_phrase", "first_audio"):
        clock.now += 0.1
        latency.mark(generation, stage)
    clock.now += 0.1
    record = latency.speaking()
    assert record is not None
    assert record.stages_ms == {
        "final": 100.0,
        "committed": 200.0,
        "first_token": 300.0,
        "first_phrase": 400.0,
        "first_audio": 500.0,
        "first_audio_out": 600.0,
    }
    assert json.loads(record.to_json())["end_to_end_ms"] == 600.0


def test_a_dropped_speculative_answer_leaves_no_trace() -> None:
    clock = Clock()
    latency = TurnLatency(clock=clock)
    latency.speech_ended(1000.0)
    dropped = latency.begin_generation()
    latency.mark(dropped, "first_token")
    clock.now = 1001.0
    kept = latency.begin_generation()
    latency.mark(kept, "first_token")
    latency.mark(dropped, "first_phrase")
    record = latency.speaking()
    assert record is not None
    assert record.stages_ms == {"first_token": 1000.0, "first_audio_out": 1000.0}


def test_a_greeting_is_no_turn() -> None:
    latency = TurnLatency()
    latency.mark(None, "first_audio")
    assert latency.speaking() is None


def test_a_turn_is_reported_once_and_again_when_interrupted() -> None:
    clock = Clock()
    latency = TurnLatency(clock=clock)
    latency.speech_ended(1000.0)
    latency.begin_generation()
    first = latency.speaking()
    assert first is not None
    assert latency.speaking() is None
    clock.now = 1002.0
    cut = latency.interrupted()
    assert cut is not None
    assert (cut.turn, cut.interrupted_at) == (first.turn, 1002.0)
    assert latency.interrupted() is None


def test_only_the_first_passing_of_a_stage_counts() -> None:
    clock = Clock()
    latency = TurnLatency(clock=clock)
    generation = latency.begin_generation()
    latency.mark(generation, "first_token")
    clock.now += 5
    latency.mark(generation, "first_token")
    assert generation.at == {"first_token": 1000.0}


@pytest.mark.parametrize(
    ("share", "expected"), [(0.5, 50), (0.95, 95), (0.99, 99), (1.0, 100), (0.0, 1)]
)
def test_percentile_is_the_nearest_rank(share: float, expected: int) -> None:
    assert percentile(list(range(100, 0, -1)), share) == expected


def test_summary_of_nothing_says_so() -> None:
    assert summary([]) == {"p50": None, "p95": None}
    with pytest.raises(ValueError, match="no values"):
        percentile([], 0.5)
