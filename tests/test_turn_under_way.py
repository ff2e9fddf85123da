"""A turn as its policies see it together: what follows, and when, on a clock that is told."""

from __future__ import annotations

import math

import pytest

from agent_worker.hearing.backchannel import Overlap
from agent_worker.hearing.turn_under_way import Heard, TurnUnderWay
from tests.fake_clock import Clock

ANSWER = "The train leaves at ten from platform four."


class Told:
    """A turn, and the clock that it goes by."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.turn = TurnUnderWay(clock=self.clock)

    def after(self, seconds: float) -> TurnUnderWay:
        self.clock.now_s += seconds
        return self.turn

    def caller_says(self, text: str, *, for_s: float = 1.0) -> None:
        """A voice of this length, and its final transcript."""
        self.turn.caller_spoke(self.clock())
        self.after(for_s).caller_fell_silent(self.clock())
        self.turn.heard(text, is_final=True, language="en")

    def agent_answers(self) -> None:
        """The turn is taken, and the answer is heard half a second later."""
        self.turn.taken()
        self.turn.agent_says(ANSWER)
        self.after(0.5).agent_spoke()


@pytest.fixture
def told() -> Told:
    return Told()


def test_a_turn_is_over_when_its_wait_has_passed(told: Told) -> None:
    told.caller_says("what time is it")
    wait_s = told.turn.over_in_s(1)
    assert 0 < wait_s < 1
    assert told.after(wait_s).over_in_s(1) == pytest.approx(0)


def test_while_the_caller_speaks_no_time_tells_that_the_turn_is_over(told: Told) -> None:
    told.turn.caller_spoke(told.clock())
    told.turn.heard("what time", is_final=False)
    assert told.turn.over_in_s(0) == math.inf


def test_a_text_without_a_voice_is_over_at_once(told: Told) -> None:
    told.turn.typed("what time is it")
    assert told.turn.text == "what time is it"
    assert told.turn.over_in_s(0) == 0


def test_a_turn_waits_for_the_final_that_is_owed_but_not_for_ever(told: Told) -> None:
    told.turn.caller_spoke(told.clock())
    told.turn.heard("what time is it", is_final=False)
    told.after(1.0).caller_fell_silent(told.clock())
    assert told.turn.over_in_s(0) == pytest.approx(1.5)
    assert told.after(1.5).over_in_s(0) == pytest.approx(0)


def test_whoever_asks_without_the_newest_final_is_to_ask_again(told: Told) -> None:
    told.caller_says("what time is it")
    told.turn.caller_spoke(told.clock())
    assert told.turn.over_in_s(0) == pytest.approx(1.0), "it has heard of no final yet"
    assert told.turn.over_in_s(1) == math.inf


def test_the_recogniser_is_asked_for_the_end_once_when_the_turn_seems_over(told: Told) -> None:
    told.turn.caller_spoke(told.clock())
    told.turn.heard("what time is it", is_final=False)
    assert not told.turn.wants_final(), "the caller speaks"
    told.after(1.0).caller_fell_silent(told.clock())
    assert not told.turn.wants_final()
    due = told.turn.due()
    assert due is not None
    assert told.turn.due(asks_for_finals=False) is None
    told.clock.now_s = due
    assert told.turn.wants_final()
    assert not told.turn.wants_final()
    assert told.turn.due() is None


def test_a_recogniser_without_a_word_is_asked_a_quarter_of_a_second_into_the_silence(
    told: Told,
) -> None:
    told.turn.caller_spoke(told.clock())
    told.after(1.0).caller_fell_silent(told.clock())
    assert told.turn.due() == pytest.approx(told.clock() + 0.25)
    assert told.after(0.26).wants_final()


def test_a_final_that_came_by_itself_is_not_asked_for(told: Told) -> None:
    told.caller_says("what time is it")
    assert not told.after(5).wants_final()


def test_a_backchannel_leaves_the_voice_alone_and_nothing_in_the_turn(told: Told) -> None:
    told.caller_says("when does it leave")
    told.agent_answers()
    assert told.after(1.0).caller_spoke(told.clock()) is Overlap.WAIT
    assert told.turn.overlaps
    assert told.after(0.2).heard("mhm", is_final=False) == Heard(None, Overlap.IGNORE)
    told.turn.caller_fell_silent(told.clock())
    assert told.turn.heard("mhm", is_final=True) == Heard(None, Overlap.IGNORE)
    assert not told.turn.overlaps
    assert told.turn.text == ""
    assert told.turn.finals == 1, "the question's"


def test_words_over_the_agent_stop_it_and_are_kept(told: Told) -> None:
    told.caller_says("when does it leave")
    told.agent_answers()
    told.after(2.0).caller_spoke(told.clock())
    heard = told.after(0.4).heard("and the next one", is_final=False)
    assert heard == Heard("and the next one", Overlap.STOP)
    assert told.turn.text == "and the next one"
    assert not told.turn.resumes


def test_a_voice_without_words_is_held_for_and_let_go_when_it_was_noise(told: Told) -> None:
    told.caller_says("when does it leave")
    told.agent_answers()
    told.after(1.0).caller_spoke(told.clock())
    held_at = told.turn.due()
    assert held_at is not None
    told.clock.now_s = held_at
    assert told.turn.overlap() is Overlap.PAUSE
    told.turn.caller_fell_silent(told.clock())
    assert told.turn.heard("", is_final=True) == Heard(None, Overlap.IGNORE)


def test_the_agents_own_words_are_taken_out_of_what_was_said_over_it(told: Told) -> None:
    told.caller_says("when does it leave")
    told.agent_answers()
    told.after(2.0).caller_spoke(told.clock())
    told.after(1.0).caller_fell_silent(told.clock())
    heard = told.turn.heard("The train leaves at ten and the next one?", is_final=True)
    assert heard == Heard("and the next one?", Overlap.STOP)


def test_what_follows_the_first_final_of_a_long_echo_is_over_the_agent_too(told: Told) -> None:
    told.caller_says("when does it leave")
    told.agent_answers()
    told.turn.caller_spoke(told.clock())
    assert told.after(1.0).heard("the train leaves at ten", is_final=True).kept is None
    assert told.turn.overlaps


def test_who_goes_on_before_the_answer_sounds_is_not_taken_for_its_echo(told: Told) -> None:
    told.caller_says("when does the train leave")
    told.agent_answers()
    told.turn.caller_spoke(told.clock())
    told.after(1.0).heard("the train leaves at ten", is_final=True)
    told.turn.caller_fell_silent(told.clock())
    told.after(1.0).agent_fell_silent()
    told.after(1.0)
    told.caller_says("and the next one")
    told.turn.taken()
    told.turn.agent_says("At eleven.")
    told.after(0.2).caller_spoke(told.clock())
    told.after(0.1).agent_spoke()
    assert told.turn.overlaps
    assert told.turn.resumes
    assert told.after(0.25).overlap() is Overlap.PAUSE, "a sound is enough, echo or not before"


def test_a_new_turn_lets_go_of_a_voice_that_was_held(told: Told) -> None:
    told.caller_says("when does it leave")
    told.agent_answers()
    told.after(3.0).agent_fell_silent()
    assert told.after(1.0).caller_spoke(told.clock()) is Overlap.IGNORE
    assert not told.turn.overlaps


def test_a_forgotten_turn_leaves_nothing_and_is_gone_on_with_by_nobody(told: Told) -> None:
    told.caller_says("what is the")
    told.turn.taken()
    told.after(0.2).caller_spoke(told.clock())
    told.turn.heard("weather", is_final=False)
    told.turn.forgotten()
    assert told.turn.text == ""
    assert not told.turn.resumes
    assert not told.turn.wants_final()
    told.turn.caller_fell_silent(told.clock())
    told.turn.caller_spoke(told.clock())
    assert not told.turn.resumes


def test_a_number_that_the_agent_asked_for_is_waited_for_longer(told: Told) -> None:
    told.caller_says("book a table please")
    told.turn.taken()
    told.turn.agent_says("What is your phone number?")
    told.after(0.5).agent_spoke()
    told.after(2.0).agent_fell_silent()
    told.after(1.0)
    told.caller_says("five")
    asked_s = told.turn.over_in_s(2)

    other = Told()
    other.caller_says("five")
    assert asked_s > other.turn.over_in_s(1)
