"""The labelled ends of turns, and what the benchmark makes of them."""

from __future__ import annotations

import pytest

from bench.end_of_turn import area_under_curve, lines, wait_s, words

WORDS = words()


def test_the_labelled_set_holds_five_languages_and_no_text_with_two_labels() -> None:
    every = list(lines())
    assert {line.language for line in every} == {"en", "de", "fr", "es", "zh"}
    labels = {(line.language, line.text): line.over for line in every}
    assert all(labels[line.language, line.text] == line.over for line in every)
    assert len(every) > 350


def test_on_sentences_that_the_lists_were_not_made_on_the_words_tell_most_ends() -> None:
    held = WORDS["held_out"]
    assert held["whole"]["finished"] >= 0.7
    assert held["whole"]["unfinished"] + held["whole"]["dictating"] <= 0.03
    assert held["before_a_pause"]["finished"] <= 0.08
    assert held["before_a_pause_in_dictation"]["dictating"] == 1.0
    # a full stop is believed only where the words allow it
    assert WORDS["held_out_with_full_stops"]["before_a_pause"]["finished"] <= 0.2


@pytest.mark.parametrize("language", ["en", "de", "fr", "es", "zh"])
def test_no_language_is_left_behind(language: str) -> None:
    rates = WORDS["languages"][language]
    assert rates["whole"]["finished"] >= 0.6
    assert rates["before_a_pause"]["finished"] <= 0.15
    assert rates["before_a_pause_in_dictation"]["dictating"] == 1.0


def test_the_area_under_the_curve_is_one_for_a_model_that_knows_and_half_for_chance() -> None:
    assert area_under_curve([0.8, 0.9], [0.1, 0.2]) == 1.0
    assert area_under_curve([0.5, 0.5], [0.5]) == 0.5
    assert area_under_curve([0.1], [0.9]) == 0.0


def test_the_model_moves_the_wait_where_the_words_leave_doubt() -> None:
    assert (
        wait_s("my name is alice", 0.1)
        > wait_s("my name is alice")
        > wait_s("my name is alice", 0.9)
    )
