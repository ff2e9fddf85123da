"""Speech over the agent's: a "mhm", a cough, an echo, or the floor taken."""

from __future__ import annotations

import pytest

from agent_worker.hearing.backchannel import BargeInPolicy, Kind, Overlap, classify
from agent_worker.hearing.echo import EchoGuard
from bench.backchannel import measure
from tests.fake_clock import Clock


def overlapping(
    says: str = "The train leaves at ten from platform four.",
) -> tuple[BargeInPolicy, Clock]:
    clock = Clock(50.0)
    policy = BargeInPolicy(clock=clock)
    policy.agent_says(says)
    policy.speech_started()
    return policy, clock


@pytest.mark.parametrize(
    ("text", "language", "expected"),
    [
        ("mhm", "en", Kind.HUM),
        ("Mmm-hmm.", None, Kind.HUM),
        ("Uh huh.", "en", Kind.HUM),
        ("uhhh", "en", Kind.HUM),
        ("yeah", "en", Kind.AGREEMENT),
        ("Okay, right.", "en", Kind.AGREEMENT),
        ("yeah but", "en", Kind.STOP),
        ("Wait!", "en", Kind.STOP),
        ("no", None, Kind.STOP),
        ("No.", "en", Kind.STOP),
        ("no", "pl", Kind.HUM),
        ("what about tomorrow", "en", Kind.STOP),
        ("book a table", "en", Kind.OTHER),
        ("ham", "en", Kind.OTHER),
        ("genau", "de", Kind.AGREEMENT),
        ("ja genau", None, Kind.AGREEMENT),
        ("ja aber", "de", Kind.STOP),
        ("嗯", "zh", Kind.HUM),
        ("对对对", "zh", Kind.AGREEMENT),
        ("嗯，对。", None, Kind.AGREEMENT),
        ("不对", "zh", Kind.STOP),
        ("等一下", None, Kind.STOP),
        ("对，但是", "zh", Kind.STOP),
        ("なるほど", "ja", Kind.AGREEMENT),
        ("네 네", "ko", Kind.AGREEMENT),
        ("ага", "ru", Kind.HUM),
        ("sí claro", "es", Kind.AGREEMENT),
        ("नहीं", "hi", Kind.STOP),
        ("", None, Kind.HUM),
    ],
)
def test_short_utterances_are_told_apart(text: str, language: str | None, expected: Kind) -> None:
    assert classify(text, language=language) is expected


def test_a_partial_may_be_the_beginning_of_a_backchannel() -> None:
    assert classify("ye", language="en", is_final=False) is Kind.BEGINNING
    assert classify("ye", language="en") is Kind.OTHER
    assert classify("ye old", language="en", is_final=False) is Kind.OTHER


def test_a_backchannel_is_ignored_before_and_after_its_final() -> None:
    policy, clock = overlapping()
    clock.now_s += 0.25
    assert policy.decide() is Overlap.WAIT
    policy.heard("mhm")
    assert policy.decide() is Overlap.IGNORE
    clock.now_s += 5
    policy.heard("Mhm.", is_final=True)
    assert policy.decide() is Overlap.IGNORE
    assert policy.deadline is None


def test_an_agreement_that_goes_on_stops_the_agent() -> None:
    policy, clock = overlapping()
    clock.now_s += 0.25
    policy.heard("yeah")
    assert policy.decide() is Overlap.IGNORE
    clock.now_s += 0.25
    policy.heard("yeah but")
    assert policy.decide() is Overlap.STOP
    policy.heard("yeah")
    assert policy.decide() is Overlap.STOP, "a stop is not taken back"


def test_a_sound_without_words_holds_the_voice_then_lets_it_go_on() -> None:
    policy, clock = overlapping()
    assert policy.deadline == pytest.approx(50.3)
    clock.now_s = 50.3
    assert policy.decide() is Overlap.PAUSE
    policy.speech_ended(50.4)
    assert policy.decide() is Overlap.PAUSE
    assert policy.deadline == pytest.approx(51.0)
    clock.now_s = 51.0
    assert policy.decide() is Overlap.IGNORE


def test_a_cough_does_not_even_hold_the_voice() -> None:
    policy, clock = overlapping()
    clock.now_s += 0.28
    policy.speech_ended(50.15)
    assert policy.decide() is Overlap.WAIT
    clock.now_s += 0.1
    assert policy.decide() is Overlap.WAIT
    policy.heard("", is_final=True)
    assert policy.decide() is Overlap.IGNORE


def test_long_speech_without_words_takes_the_floor() -> None:
    policy, clock = overlapping()
    clock.now_s += 1.5
    assert policy.decide() is Overlap.STOP


def test_yes_answers_a_question_and_is_a_backchannel_otherwise() -> None:
    policy, _ = overlapping("Shall I book it?")
    policy.heard("yes")
    assert policy.decide() is Overlap.WAIT
    policy.heard("Yes.", is_final=True)
    assert policy.decide() is Overlap.STOP
    policy, _ = overlapping("I have booked it.")
    policy.heard("Yes.", is_final=True)
    assert policy.decide() is Overlap.IGNORE


def test_the_agents_own_words_are_an_echo() -> None:
    policy, clock = overlapping("The train leaves at ten from platform four.")
    policy.heard("the")
    assert policy.decide() is Overlap.WAIT, "it may become an echo"
    policy.heard("the train leaves")
    assert policy.decide() is Overlap.IGNORE
    policy.heard("the rain leaves at ten from plat")
    assert policy.decide() is Overlap.IGNORE, "misheard and cut off, and still an echo"
    clock.now_s += 3
    policy.heard("The train leaves at ten. Stop!", is_final=True)
    assert policy.decide() is Overlap.STOP


def test_sound_alone_stops_nothing_once_an_echo_was_heard() -> None:
    policy, clock = overlapping()
    policy.heard("the train leaves at ten", is_final=True)
    policy.settled()
    policy.speech_started()
    clock.now_s += 10
    assert policy.decide() is Overlap.WAIT
    policy.heard("wait")
    assert policy.decide() is Overlap.STOP


def test_one_word_of_the_agents_is_the_callers_until_an_echo_was_heard() -> None:
    guard = EchoGuard()
    guard.agent_says("Would you like red or blue?")
    assert guard.without_echo("blue") == "blue"
    assert guard.without_echo("would you like red") == ""
    assert guard.without_echo("blue") == ""
    assert guard.without_echo("green") == "green"
    assert guard.without_echo("you like red or blue, green please") == "green please"


def test_an_echo_in_cjk_text_is_stripped_too() -> None:
    guard = EchoGuard()
    guard.agent_says("今天天气很好，最高二十度。")
    assert guard.without_echo("今天天气很好") == ""
    assert guard.without_echo("今天天气等一下") == "等一下"
    assert guard.without_echo("明年") == "明年"


def test_what_is_said_to_nobody_is_ignored() -> None:
    policy = BargeInPolicy(clock=Clock(50.0))
    assert not policy.active
    assert policy.decide() is Overlap.IGNORE
    assert policy.deadline is None


def test_the_labelled_set_is_judged_better_than_by_a_stock_rule() -> None:
    result = measure()
    assert result["false_stop_rate"] <= 0.05
    assert result["missed_stop_rate"] == 0
    assert result["stock_half_a_second"]["false_stop_rate"] > result["false_stop_rate"]
    assert result["stock_two_words"]["missed_stop_rate"] > result["missed_stop_rate"]


def test_a_faint_voice_holds_nothing_and_only_a_plain_stop_stops() -> None:
    policy, clock = overlapping()
    policy.loudness(12.0)
    clock.now_s += 3
    assert policy.decide() is Overlap.WAIT, "nothing by sound alone"
    policy.heard("one zero where so")
    assert policy.decide() is Overlap.WAIT
    policy.heard("One zero where so. No.", is_final=True)
    assert policy.decide() is Overlap.IGNORE
    policy.heard("Wait, stop!")
    assert policy.decide() is Overlap.STOP


def test_the_callers_usual_loudness_leaves_every_word_its_weight() -> None:
    policy, clock = overlapping()
    policy.loudness(9.0)
    clock.now_s += 0.3
    assert policy.decide() is Overlap.PAUSE
    policy.heard("one zero where so")
    assert policy.decide() is Overlap.STOP


def test_each_overlap_is_measured_anew() -> None:
    policy, _ = overlapping()
    policy.loudness(12.0)
    policy.settled()
    policy.speech_started()
    policy.heard("tell me more")
    assert policy.decide() is Overlap.STOP


def test_a_voice_that_was_there_before_the_agents_is_not_its_echo_however_faint() -> None:
    clock = Clock(50.0)
    policy = BargeInPolicy(clock=clock)
    policy.speech_started(before_agent=True)
    policy.loudness(12.0)
    clock.now_s += 0.3
    assert policy.decide() is Overlap.PAUSE
    policy.heard("ask not what", is_final=True)
    assert policy.decide() is Overlap.STOP
    assert not policy.only_stops
    policy.heard("stop, stop!")
    assert policy.only_stops
