from __future__ import annotations

import pytest

from agent_worker.hearing.backchannel import Overlap
from agent_worker.hearing.overlap_watch import WatchedBargeIn


class Agent:
    """Speaks, is spoken over, and remembers what it was told to have ignored."""

    def __init__(self) -> None:
        self.now = 100.0
        self.ignored: list[tuple[bool, bool]] = []
        self.policy = WatchedBargeIn(
            lambda had_words, was_held: self.ignored.append((had_words, was_held)),
            pause_after_s=0.15,
            clock=lambda: self.now,
        )
        self.policy.agent_says("The lighthouse stood at the end of a long road.")

    def overlap(self, words: str, *, voiced_s: float) -> Overlap:
        """A sound of this length, its words if it had any, and the silence after it."""
        self.policy.speech_started(self.now)
        self.now += voiced_s
        decision = self.policy.decide()
        self.policy.speech_ended(self.now)
        if words:
            self.policy.heard(words, is_final=True, language="en")
        self.now += 1.0
        decision = self.policy.decide()
        self.policy.settled()
        return decision


def test_a_backchannel_is_told_of_once() -> None:
    agent = Agent()
    assert agent.overlap("mhm", voiced_s=0.1) is Overlap.IGNORE
    agent.policy.settled()
    assert agent.ignored == [(True, False)]


def test_a_sound_that_held_the_voice_for_a_while_is_a_false_interruption() -> None:
    agent = Agent()
    assert agent.overlap("", voiced_s=0.4) is Overlap.IGNORE
    assert agent.ignored == [(False, True)]


def test_the_agents_own_echo_has_no_words() -> None:
    agent = Agent()
    assert agent.overlap("the lighthouse stood at", voiced_s=0.1) is Overlap.IGNORE
    assert agent.ignored == [(False, False)]


@pytest.mark.parametrize("voiced_s", [0.1, 0.4])
def test_what_stops_the_agent_was_not_ignored(voiced_s: float) -> None:
    agent = Agent()
    assert agent.overlap("no wait", voiced_s=voiced_s) is Overlap.STOP
    assert agent.ignored == []


def test_a_hum_that_goes_on_as_an_objection_was_not_ignored() -> None:
    agent = Agent()
    agent.policy.speech_started(agent.now)
    agent.policy.heard("mhm", language="en")
    assert agent.policy.decide() is Overlap.IGNORE
    agent.policy.heard("mhm no wait", is_final=True, language="en")
    assert agent.policy.decide() is Overlap.STOP
    agent.policy.settled()
    assert agent.ignored == []


def test_an_overlap_that_another_one_follows_is_told_of_too() -> None:
    agent = Agent()
    agent.policy.speech_started(agent.now)
    agent.policy.heard("mhm", is_final=True, language="en")
    agent.policy.decide()
    agent.policy.speech_started(agent.now + 1)
    assert agent.ignored == [(True, False)]
