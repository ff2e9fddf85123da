from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest

from agent_worker.telemetry.cost import Cost, Prices, Tokens
from agent_worker.telemetry.latency import (
    HeardUntil,
    TurnLatency,
    TurnRecord,
    noticing_speakable,
    percentile,
    summary,
)
from tests.fake_clock import Clock


class Call:
    """A call's stages, played against a clock that only the test moves."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.latency = TurnLatency(clock=self.clock)

    def wait(self, seconds: float) -> None:
        self.clock.now_s += seconds

    def asked(self) -> None:
        """The caller speaks a second, falls silent, and the turn is taken 0.2 s later."""
        self.latency.speech_started()
        self.wait(1.0)
        self.latency.speech_ended(self.clock.now_s)
        for stage in ("final", "committed"):
            self.wait(0.1)
            self.latency.heard(stage)

    def answered(self) -> TurnRecord:
        """The answer's first audio goes out 0.1 s later."""
        self.latency.begin_generation()
        self.wait(0.1)
        record = self.latency.speaking()
        assert record is not None
        return record


def test_a_turn_is_counted_from_the_end_of_speech() -> None:
    clock = Clock()
    latency = TurnLatency(clock=clock)
    latency.speech_started()
    latency.speech_ended(1000.0)
    for stage in ("preflight", "final", "committed"):
        clock.now_s += 0.1
        latency.heard(stage)
    generation = latency.begin_generation()
    for stage in ("first_token", "first_speakable", "first_phrase", "first_audio"):
        clock.now_s += 0.1
        latency.mark(generation, stage)
    clock.now_s += 0.1
    record = latency.speaking()
    assert record is not None
    assert record.stages_ms == {
        "preflight": 100.0,
        "final": 200.0,
        "committed": 300.0,
        "first_token": 400.0,
        "first_speakable": 500.0,
        "first_phrase": 600.0,
        "first_audio": 700.0,
        "first_audio_out": 800.0,
    }
    assert record.at["asked"] == pytest.approx(1000.3)
    assert json.loads(record.to_json())["end_to_end_ms"] == 800.0


def test_an_answer_begun_before_the_turn_was_taken_keeps_its_own_times() -> None:
    clock = Clock()
    latency = TurnLatency(clock=clock)
    latency.speech_started()
    latency.speech_ended(1000.0)
    clock.now_s += 0.1
    latency.heard("preflight")
    generation = latency.begin_generation()
    clock.now_s += 0.1
    latency.mark(generation, "first_token")
    clock.now_s += 0.1
    latency.heard("committed")
    record = latency.speaking()
    assert record is not None
    assert record.stages_ms["first_token"] == 200.0
    assert record.stages_ms["committed"] == 300.0


def test_a_dropped_speculative_answer_leaves_no_trace() -> None:
    clock = Clock()
    latency = TurnLatency(clock=clock)
    latency.speech_ended(1000.0)
    dropped = latency.begin_generation()
    latency.mark(dropped, "first_token")
    clock.now_s = 1001.0
    latency.heard("committed")
    kept = latency.begin_generation()
    latency.mark(kept, "first_token")
    latency.mark(dropped, "first_phrase")
    record = latency.speaking()
    assert record is not None
    assert record.stages_ms == {
        "committed": 1000.0,
        "first_token": 1000.0,
        "first_audio_out": 1000.0,
    }


def test_a_typed_turn_is_counted_from_its_arrival_and_says_that_it_was_typed() -> None:
    call = Call()
    call.asked()
    spoken = call.answered()
    call.wait(5.0)
    call.latency.typed()
    call.wait(0.3)
    typed = call.answered()
    assert typed.stages_ms == {"committed": 0.0, "first_audio_out": 400.0}
    assert typed.to_dict()["typed"] is True
    assert "typed" not in spoken.to_dict()
    call.latency.typed()
    call.latency.call_ended()
    assert [(record.turn, record.typed) for record in call.latency.ended()] == [
        (1, False),
        (2, True),
        (3, True),
    ]


def test_a_greeting_is_no_turn() -> None:
    latency = TurnLatency()
    latency.mark(None, "first_audio")
    assert latency.speaking() is None
    latency.call_ended()
    assert latency.ended() == []


def test_a_turn_is_reported_once_and_again_when_interrupted() -> None:
    call = Call()
    call.asked()
    first = call.answered()
    assert call.latency.speaking() is None
    assert (first.interrupted_at, first.heard_until) == (None, None)
    call.wait(2.0)
    call.latency.played(1.5, interrupted=True)
    cut_at = call.clock.now_s
    call.wait(0.1)
    cut = call.latency.interrupted(23)
    assert cut is not None
    assert (cut.turn, cut.interrupted_at) == (first.turn, cut_at)
    assert cut.heard_until == HeardUntil(seconds=1.5, characters=23)
    assert json.loads(cut.to_json())["heard_until"] == {"seconds": 1.5, "characters": 23}
    assert call.latency.interrupted(23) is None


def test_what_was_heard_of_an_answer_in_two_parts_is_their_sum() -> None:
    call = Call()
    call.latency.played(9.0, interrupted=False)  # the greeting
    call.asked()
    call.answered()
    call.latency.played(1.0, interrupted=False)
    call.latency.played(0.5, interrupted=True)
    cut = call.latency.interrupted(10)
    assert cut is not None and cut.heard_until is not None
    assert cut.heard_until.seconds == 1.5


def test_words_that_come_late_are_a_turn_with_the_same_end_of_speech() -> None:
    call = Call()
    call.asked()
    call.wait(0.1)
    call.latency.heard("committed")
    assert call.answered().stages_ms == {
        "final": 100.0,
        "committed": 300.0,
        "first_audio_out": 400.0,
    }
    call.latency.call_ended()
    assert [record.end_to_end_ms for record in call.latency.ended()] == [None, 400.0]


def test_a_cough_between_the_commit_and_the_voice_changes_nothing() -> None:
    call = Call()
    call.asked()
    call.latency.begin_generation()
    call.latency.speech_started()
    call.wait(0.1)
    call.latency.speech_ended(call.clock.now_s)
    record = call.latency.speaking()
    assert record is not None
    assert record.stages_ms == {"final": 100.0, "committed": 200.0, "first_audio_out": 300.0}


def test_a_key_that_commits_before_the_silence_is_noticed_has_a_record_too() -> None:
    call = Call()
    call.latency.speech_started()
    call.latency.speech_ended(990.0)  # said over the agent, and no turn
    call.latency.speech_started()
    call.latency.heard("committed")
    call.latency.speech_ended(999.9)
    assert call.answered().stages_ms == {"committed": 100.0, "first_audio_out": 200.0}


def test_a_record_is_complete_when_its_answer_has_ended_and_is_handed_out_once() -> None:
    call = Call()
    call.asked()
    record = call.answered()
    assert call.latency.ended() == []
    call.latency.answer_ended()
    assert call.latency.ended() == [record]
    call.latency.call_ended()
    assert call.latency.ended() == []


def test_a_turn_that_gets_no_voice_is_recorded_as_far_as_it_went() -> None:
    call = Call()
    call.asked()
    call.asked()
    call.answered()
    call.latency.call_ended()
    unanswered, answered = call.latency.ended()
    assert (unanswered.turn, answered.turn) == (1, 2)
    assert unanswered.stages_ms == {"final": 100.0, "committed": 200.0}
    assert unanswered.end_to_end_ms is None
    call.asked()
    call.latency.call_ended()
    assert [record.turn for record in call.latency.ended()] == [3]


async def test_the_first_piece_with_something_to_say_is_noticed_and_all_pass() -> None:
    async def pieces() -> AsyncIterator[str]:
        for piece in ("  ", "— ", "So", ", what"):
            yield piece

    seen: list[str] = []
    passed: list[str] = []
    async for piece in noticing_speakable(pieces(), lambda: seen.append("".join(passed))):
        passed.append(piece)
    assert passed == ["  ", "— ", "So", ", what"]
    assert seen == ["  — "]


def test_only_the_first_passing_of_a_stage_counts() -> None:
    clock = Clock()
    latency = TurnLatency(clock=clock)
    generation = latency.begin_generation()
    latency.mark(generation, "first_token")
    clock.now_s += 5
    latency.mark(generation, "first_token")
    assert generation.at == {"asked": 1000.0, "first_token": 1000.0}


@pytest.mark.parametrize(
    ("share", "expected"), [(0.5, 50), (0.95, 95), (0.99, 99), (1.0, 100), (0.0, 1)]
)
def test_percentile_is_the_nearest_rank(share: float, expected: int) -> None:
    assert percentile(list(range(100, 0, -1)), share) == expected


def test_summary_of_nothing_says_so() -> None:
    assert summary([]) == {"p50": None, "p95": None}
    with pytest.raises(ValueError, match="no values"):
        percentile([], 0.5)


def test_a_record_that_is_complete_tells_the_tokens_of_its_answer_and_of_the_call() -> None:
    latency = TurnLatency(clock=iter(range(1000)).__next__)
    latency.speech_ended(0.5)
    dropped = latency.begin_generation()
    latency.count(dropped, 100, 0, 5)
    latency.heard("committed")
    spoken = latency.begin_generation()
    told = latency.speaking()
    assert told is not None and told.tokens is None
    latency.count(spoken, 110, 90, 20)
    latency.answer_ended()
    (record,) = latency.ended()
    assert record.tokens == Tokens(prompt=110, cached=90, completion=20, call=235)
    assert record.to_dict()["tokens"]["call"] == 235
    latency.speech_ended(9.5)
    latency.heard("committed")
    latency.begin_generation()
    latency.speaking()
    latency.answer_ended()
    assert [one.tokens for one in latency.ended()] == [None]
    assert "cost" not in record.to_dict()
    assert latency.summary().to_dict() == {
        "turns": 2,
        "tokens": {"prompt": 210, "cached": 90, "completion": 25},
        "uncounted": 1,
    }


def test_where_a_price_is_set_the_record_and_the_call_tell_what_they_cost() -> None:
    prices = Prices(prompt=2.0, cached=0.5, completion=10.0, currency="EUR")
    latency = TurnLatency(clock=iter(range(1000)).__next__, prices=prices)
    latency.speech_ended(0.5)
    dropped = latency.begin_generation()
    latency.count(dropped, 1000, 0, 50)
    latency.heard("committed")
    spoken = latency.begin_generation()
    latency.speaking()
    latency.count(spoken, 1000, 900, 100)
    latency.answer_ended()
    (record,) = latency.ended()
    # 100 read at 2, 900 out of the cache at 0.5, 100 written at 10, for a million
    assert record.cost == Cost(answer=0.00165, call=0.00415, currency="EUR")
    assert record.to_dict()["cost"] == {"answer": 0.00165, "call": 0.00415, "currency": "EUR"}
    assert latency.summary().to_dict()["cost"] == {"call": 0.00415, "currency": "EUR"}


def test_without_a_price_of_its_own_what_is_cached_costs_as_what_is_read() -> None:
    assert Prices(prompt=3.0, completion=0.0).of(1_000_000, 400_000, 0) == 3.0
    # a server that counts more out of its cache than it read must not make the answer cheaper
    assert Prices(prompt=3.0, completion=0.0, cached=0.0).of(100, 200, 0) == 0.0
