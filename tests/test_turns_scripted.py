"""Whole conversations on a virtual clock: who speaks when, and what is decided when.

A script is a list of moments. The stage plays it against the real policies in steps of 10 ms, as
the session would: voice is noticed after 50 ms, silence after 150 ms, a partial follows a word
after 150 ms, and a final is there when the policy asks for it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from agent_worker.call.inactivity import InactivityPolicy, Next
from agent_worker.hearing.backchannel import BargeInPolicy, Overlap
from agent_worker.hearing.turns import EndOfTurnPolicy

STEP_S = 0.01
SILENCE_NOTICED_S = 0.15
PARTIAL_LAG_S = 0.15


@dataclass
class Speech:
    """The caller speaks: when, for how long, and what."""

    at: float
    for_s: float
    words: str


@dataclass
class Stage:
    """The clock, the policies, and what came of them."""

    now_s: float = 0.0
    turns: list[tuple[float, str]] = field(default_factory=list)
    """When each turn was taken as finished, and what was said."""
    stopped_at: list[float] = field(default_factory=list)
    """When the agent was stopped."""
    held: list[tuple[float, float]] = field(default_factory=list)
    """From when to when its voice was held."""
    goodbyes: list[float] = field(default_factory=list)
    left_at: float | None = None

    def __post_init__(self) -> None:
        self.end_of_turn = EndOfTurnPolicy(clock=self.clock)
        self.barge_in = BargeInPolicy(clock=self.clock)
        self.inactivity = InactivityPolicy(clock=self.clock)
        self._agent_until = -1.0
        self._speech: Speech | None = None
        self._ended_at: float | None = None
        self._held_since: float | None = None

    def clock(self) -> float:
        return self.now_s

    def agent_speaks(self, for_s: float, words: str) -> None:
        self._agent_until = self.now_s + for_s
        self.barge_in.agent_says(words)
        self.end_of_turn.agent_said(words)

    @property
    def agent_speaking(self) -> bool:
        return self.now_s < self._agent_until

    def play(self, until_s: float, *speeches: Speech) -> None:
        for speech in speeches:
            self._run_to(speech.at)
            self._begin(speech)
            words = speech.words.split()
            for count in range(1, len(words) + 1):
                said_at = speech.at + speech.for_s * count / len(words) + PARTIAL_LAG_S
                self._run_to(min(said_at, speech.at + speech.for_s))
                if said_at <= speech.at + speech.for_s:
                    self._hear(" ".join(words[:count]), is_final=False)
            self._run_to(speech.at + speech.for_s)
            self._ended_at = self.now_s
            self._run_to(self.now_s + SILENCE_NOTICED_S, quiet=True)
            self.end_of_turn.speech_ended(self._ended_at)
            self.barge_in.speech_ended(self._ended_at)
            self._hear(speech.words, is_final=True)
        self._run_to(until_s)

    def caller_leaves(self) -> None:
        """As `Presence` has it: silence, and nothing kept of a sentence that was not finished."""
        self._agent_until = self.now_s
        self.end_of_turn.dropped()
        self.barge_in.settled()
        self.inactivity.caller_left()

    def caller_returns(self) -> None:
        self.inactivity.caller_returned()

    def _begin(self, speech: Speech) -> None:
        self._speech, self._ended_at = speech, None
        self.inactivity.activity()
        self.end_of_turn.speech_started(speech.at)
        if self.agent_speaking:
            self.barge_in.speech_started(speech.at)
        else:
            self.barge_in.settled()

    def _hear(self, words: str, *, is_final: bool) -> None:
        if self.barge_in.active:
            self.barge_in.heard(words, is_final=is_final)
            decision = self._overlap()
            if decision is not Overlap.STOP:
                if is_final:
                    self.end_of_turn.dropped()
                    self.barge_in.settled()
                return
            words = self.barge_in.without_echo(words)
            if is_final:
                self.barge_in.settled()
        if words:
            self.end_of_turn.heard(words, is_final=is_final)

    def _overlap(self) -> Overlap:
        decision = self.barge_in.decide()
        if decision is Overlap.STOP and self.agent_speaking:
            self._agent_until = self.now_s
            self.stopped_at.append(round(self.now_s, 2))
        if decision is Overlap.PAUSE and self._held_since is None:
            self._held_since = self.now_s
        if decision in (Overlap.IGNORE, Overlap.STOP) and self._held_since is not None:
            self.held.append((round(self._held_since, 2), round(self.now_s, 2)))
            if decision is Overlap.IGNORE:
                # What was held is spoken after it.
                self._agent_until += self.now_s - self._held_since
            self._held_since = None
        return decision

    def _run_to(self, until_s: float, *, quiet: bool = False) -> None:
        while self.now_s < until_s - STEP_S / 2 and self.left_at is None:
            self.now_s = round(self.now_s + STEP_S, 2)
            if self.barge_in.active:
                self._overlap()
            if self.agent_speaking:
                self.inactivity.activity()
            due = self.end_of_turn.deadline
            if not quiet and due is not None and self.now_s >= due and self.end_of_turn.text:
                self.turns.append((round(self.now_s, 2), self.end_of_turn.text))
                self.end_of_turn.committed()
            self._live()

    def _live(self) -> None:
        match self.inactivity.decide():
            case Next.SAY_GOODBYE:
                self.goodbyes.append(round(self.now_s, 2))
            case Next.LEAVE:
                self.left_at = round(self.now_s, 2)
            case Next.GO_ON:
                pass

    def said(self) -> list[str]:
        return [text for _, text in self.turns]


def test_a_plain_question_is_taken_soon_after_its_end() -> None:
    stage = Stage()
    stage.play(5, Speech(1.0, 1.0, "what time is it"))
    assert stage.turns == [(2.16, "what time is it")], "at the first silence that is noticed"


def test_a_pause_after_and_does_not_end_the_turn() -> None:
    stage = Stage()
    stage.play(
        9, Speech(1.0, 1.0, "I want to go to Paris and"), Speech(3.0, 1.0, "I need a hotel there.")
    )
    assert stage.said() == ["I want to go to Paris and I need a hotel there."]


def test_a_telephone_number_is_dictated_in_groups() -> None:
    stage = Stage()
    stage.agent_speaks(1.0, "What is your phone number?")
    stage.play(
        15,
        Speech(2.0, 1.0, "five five five"),
        Speech(4.5, 1.0, "one two three"),
        Speech(7.0, 1.2, "four five six seven"),
    )
    assert stage.said() == ["five five five one two three four five six seven"]
    assert stage.turns[0][0] < 8.2 + 1.5, "a whole number needs less patience"


def test_an_address_is_spelled() -> None:
    stage = Stage()
    stage.agent_speaks(1.0, "Please spell your e-mail address.")
    stage.play(
        15,
        Speech(2.0, 1.0, "a l i"),
        Speech(4.2, 0.5, "c e"),
        Speech(6.0, 1.0, "at example"),
        Speech(8.2, 0.8, "dot com"),
    )
    assert stage.said() == ["a l i c e at example dot com"]


def test_a_restart_and_a_correction_stay_one_turn() -> None:
    stage = Stage()
    stage.play(
        12,
        Speech(1.0, 0.8, "book a table for um"),
        Speech(2.6, 0.8, "no wait for"),
        Speech(4.2, 1.0, "for three people tomorrow evening."),
    )
    assert stage.said() == ["book a table for um no wait for for three people tomorrow evening."]


def test_a_sentence_that_is_begun_anew_is_one_turn() -> None:
    stage = Stage()
    stage.play(
        9, Speech(1.0, 0.5, "I want"), Speech(2.1, 1.4, "no I'd like a table for two please.")
    )
    assert stage.said() == ["I want no I'd like a table for two please."]
    assert stage.turns[0][0] < 3.5 + 1.0, "what follows the restart is a whole sentence"


def test_a_hesitation_between_two_words_is_waited_out() -> None:
    stage = Stage()
    stage.play(
        12,
        Speech(1.0, 0.6, "I would like uh"),
        Speech(2.5, 0.4, "uh"),
        Speech(3.8, 1.2, "to know what time it is"),
    )
    assert stage.said() == ["I would like uh uh to know what time it is"]


def test_a_correction_over_the_answer_stops_it_and_is_the_next_turn() -> None:
    stage = Stage()
    stage.play(3, Speech(1.0, 1.2, "book a table for two people"))
    assert stage.said() == ["book a table for two people"]
    stage.agent_speaks(6.0, "I have booked a table at the window for you.")
    stage.play(9, Speech(4.0, 1.0, "no for three people"))
    assert len(stage.stopped_at) == 1
    assert 4.0 < stage.stopped_at[0] < 4.8
    assert stage.said()[1:] == ["no for three people"]


def test_a_correction_of_a_dictated_number_keeps_all_that_was_said() -> None:
    stage = Stage()
    stage.agent_speaks(1.0, "What is your phone number?")
    stage.play(
        15,
        Speech(2.0, 1.0, "five five five"),
        Speech(4.0, 1.2, "no sorry five five six"),
        Speech(6.2, 1.2, "one two three four"),
    )
    assert stage.said() == ["five five five no sorry five five six one two three four"]


def test_who_speaks_into_the_agents_last_word_is_heard_whole() -> None:
    stage = Stage()
    stage.play(1.0)
    stage.agent_speaks(1.3, "Which city do you live in?")
    stage.play(6, Speech(2.0, 1.4, "I live in Hamburg in Germany"))
    assert stage.said() == ["I live in Hamburg in Germany"]


def test_backchannels_leave_the_agent_speaking_and_are_no_turns() -> None:
    stage = Stage()
    stage.agent_speaks(8.0, "The museum opens at nine and closes at six.")
    stage.play(
        9, Speech(1.0, 0.25, "mhm"), Speech(3.0, 0.3, "yeah"), Speech(5.0, 0.4, "okay right")
    )
    assert stage.stopped_at == []
    assert stage.turns == []


def test_a_backchannel_that_goes_on_stops_the_agent_and_is_a_turn() -> None:
    stage = Stage()
    stage.agent_speaks(8.0, "The museum opens at nine and closes at six.")
    stage.play(9, Speech(2.0, 1.2, "yeah but what about sunday"))
    assert len(stage.stopped_at) == 1
    assert 2.0 < stage.stopped_at[0] < 2.8
    assert stage.said() == ["yeah but what about sunday"]


def test_a_cough_holds_the_voice_at_most_and_it_goes_on_afterwards() -> None:
    stage = Stage()
    stage.agent_speaks(4.0, "The museum opens at nine and closes at six.")
    stage.play(1.0)
    stage.play(2.4, Speech(1.0, 0.4, ""))
    assert stage.stopped_at == []
    assert len(stage.held) == 1
    held_s = stage.held[0][1] - stage.held[0][0]
    stage.play(4.0 + held_s - 0.05)
    assert stage.agent_speaking, "nothing was lost: it ends later by what it was held"
    stage.play(4.0 + held_s + 0.05)
    assert not stage.agent_speaking


def test_an_echo_of_the_agent_stops_nothing_and_a_caller_over_it_does() -> None:
    stage = Stage()
    stage.agent_speaks(9.0, "The museum opens at nine and closes at six every day of the week.")
    stage.play(4.0, Speech(0.5, 2.0, "the museum opens at nine and closes"))
    assert stage.stopped_at == []
    stage.play(8.0, Speech(4.0, 2.0, "every day of the week stop please"))
    assert len(stage.stopped_at) == 1
    assert stage.said() == ["stop please"]


def test_a_caller_who_is_cut_off_is_waited_for_longer_the_next_time() -> None:
    stage = Stage()
    stage.play(
        20,
        Speech(1.0, 1.0, "what time is it"),
        Speech(2.5, 1.0, "in new york"),
        Speech(9.0, 1.0, "what time is it"),
    )
    first, last = stage.turns[0], stage.turns[-1]
    assert first[1] == last[1] == "what time is it"
    assert last[0] - 10.0 > first[0] - 2.0


def test_silence_of_five_minutes_ends_with_a_goodbye() -> None:
    stage = Stage()
    stage.play(30, Speech(1.0, 1.0, "what time is it"))
    stage.play(400)
    assert stage.goodbyes == [301.0]
    assert stage.left_at == 311.0


def test_a_goodbye_heard_out_is_followed_by_leaving() -> None:
    stage = Stage()
    stage.play(300.5)
    assert stage.goodbyes == [300.0]
    stage.inactivity.goodbye_said()
    stage.play(301)
    assert stage.left_at == 300.51


def test_a_word_during_the_goodbye_keeps_the_call() -> None:
    stage = Stage()
    stage.play(303, Speech(301.0, 0.5, "wait"))
    assert stage.goodbyes == [300.0]
    stage.play(500)
    assert stage.left_at is None
    stage.play(700)
    assert stage.goodbyes == [300.0, 601.0]
    assert stage.left_at == 611.0


def test_speech_of_the_agent_is_no_silence() -> None:
    stage = Stage()
    stage.agent_speaks(290, "A very long story.")
    stage.play(500)
    assert stage.goodbyes == []


def test_a_caller_who_comes_back_in_time_finds_the_call_as_it_was() -> None:
    stage = Stage()
    stage.play(5, Speech(1.0, 1.0, "what time is it"))
    stage.inactivity.caller_left()
    stage.play(34)
    assert stage.left_at is None
    stage.inactivity.caller_returned()
    stage.play(100)
    assert stage.left_at is None
    assert stage.goodbyes == []


def test_a_caller_who_stays_away_is_not_waited_for_longer_than_half_a_minute() -> None:
    stage = Stage()
    stage.play(5)
    stage.inactivity.caller_left()
    stage.inactivity.caller_left()
    stage.play(100)
    assert stage.left_at == 35.0
    assert stage.goodbyes == []


def test_half_a_sentence_is_no_part_of_what_is_said_after_the_return() -> None:
    stage = Stage()
    stage.play(2.3, Speech(1.0, 1.0, "remember that my name is"))
    stage.caller_leaves()
    stage.play(12)
    stage.caller_returns()
    stage.play(16, Speech(13.0, 1.0, "what time is it"))
    assert stage.said() == ["what time is it"]


def test_an_agent_whose_caller_left_speaks_to_nobody_and_is_not_interrupted_later() -> None:
    stage = Stage()
    stage.agent_speaks(20.0, "A very long story.")
    stage.play(2.3, Speech(1.0, 1.0, "mhm"))
    stage.caller_leaves()
    assert not stage.agent_speaking
    stage.play(10)
    stage.caller_returns()
    stage.play(14, Speech(11.0, 1.0, "what time is it"))
    assert stage.stopped_at == []
    assert stage.said() == ["what time is it"]


def test_a_caller_who_leaves_during_the_goodbye_and_returns_keeps_the_call() -> None:
    stage = Stage()
    stage.play(301)
    assert stage.goodbyes == [300.0]
    stage.caller_leaves()
    stage.inactivity.goodbye_said()
    stage.play(320)
    stage.caller_returns()
    stage.play(600)
    assert stage.left_at is None
    stage.play(700)
    assert stage.goodbyes == [300.0, 620.0]


def test_a_caller_who_is_known_to_be_gone_is_not_waited_for() -> None:
    stage = Stage()
    stage.play(5)
    stage.caller_leaves()
    stage.inactivity.caller_gone()
    stage.play(6)
    assert stage.left_at == 5.01
