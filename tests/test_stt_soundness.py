"""Which texts are doubted: the words' times and the voice tell, without a model."""

from __future__ import annotations

from dataclasses import replace

import pytest

from livekit.plugins.faster_whisper import Word
from livekit.plugins.faster_whisper.job import FULL_FRAMES, Decoded
from livekit.plugins.faster_whisper.second_look import better_of, looked
from livekit.plugins.faster_whisper.soundness import (
    Doubt,
    Trust,
    reason_to_doubt,
    without_timeless_copies,
)
from livekit.plugins.faster_whisper.words import text_of

VOICE = ((0.2, 2.0),)


def words(*parts: tuple[str, float, float], probability: float = 0.9) -> tuple[Word, ...]:
    return tuple(Word(f" {text}", start, end, probability) for text, start, end in parts)


def spoken(text: str, *, start: float = 0.2, word_s: float = 0.3) -> tuple[Word, ...]:
    return words(
        *(
            (word, start + i * word_s, start + (i + 1) * word_s)
            for i, word in enumerate(text.split())
        )
    )


def test_a_text_that_covers_its_voice_is_believed() -> None:
    assert reason_to_doubt(spoken("where is my order today please"), voice=VOICE) is None


@pytest.mark.parametrize(
    ("text", "voice", "doubt"),
    [
        ("where is my", ((0.2, 2.0),), Doubt.LOST_WORDS),
        ("where is my order", ((0.2, 1.5), (2.5, 3.2)), Doubt.LOST_WORDS),
        ("seven seven", ((0.2, 0.8),), Doubt.COPY),
        ("the end of it the end of it", ((0.2, 2.7),), Doubt.COPY),
        ("a few words more", ((0.2, 0.5),), Doubt.NO_VOICE),
        ("so " * 14, ((0.2, 4.5),), Doubt.LOOP),
    ],
)
def test_what_speaks_against_a_text_is_told(
    text: str, voice: tuple[tuple[float, float], ...], doubt: Doubt
) -> None:
    assert reason_to_doubt(spoken(text), voice=voice) is doubt


def test_voice_before_the_first_word_means_a_lost_word() -> None:
    late = spoken("mister john", start=1.2)
    assert reason_to_doubt(late, voice=((0.2, 1.8),)) is Doubt.LOST_WORDS


def test_no_words_over_much_voice_is_doubted_and_over_none_is_not() -> None:
    assert reason_to_doubt((), voice=((0.0, 1.0),)) is Doubt.LOST_WORDS
    assert reason_to_doubt((), voice=()) is None


def test_one_improbable_word_is_enough() -> None:
    sure = spoken("press one to")
    guess = words(("cancel", 1.1, 1.4), probability=0.35)
    assert reason_to_doubt((*sure, *guess), voice=((0.2, 1.4),)) is Doubt.WEAK


def test_so_is_a_text_that_is_improbable_as_a_whole() -> None:
    text = spoken("that's it")
    assert reason_to_doubt(text, voice=None, mean_log_probability=-1.1) is Doubt.WEAK
    assert reason_to_doubt(text, voice=None, mean_log_probability=-0.9) is None
    assert reason_to_doubt((), voice=None, mean_log_probability=-1.1) is None


def test_an_unsure_language_is_doubted_only_where_it_was_detected() -> None:
    text = spoken("oui merci")
    assert reason_to_doubt(text, voice=None, language_probability=0.5) is Doubt.LANGUAGE
    assert reason_to_doubt(text, voice=None) is None


def test_without_limits_only_a_loop_is_doubted() -> None:
    guess = words(("cancel", 1.1, 1.4), probability=0.1)
    assert reason_to_doubt(guess, voice=((0.2, 5.0),), trust=None) is None
    assert reason_to_doubt(guess, voice=None, hit_limit=True, trust=None) is Doubt.LOOP


def test_a_decoder_that_was_stopped_has_looped() -> None:
    assert reason_to_doubt(spoken("three"), voice=None, hit_limit=True) is Doubt.LOOP


@pytest.mark.parametrize(
    ("given", "left"),
    [
        (words(("Lima", 0.16, 0.64), ("Lima", 0.64, 0.66)), "Lima"),
        (words(("Lima", 0.16, 0.64), ("Lima.", 0.64, 0.66)), "Lima."),
        (words(("no", 0.1, 0.4), ("no", 0.5, 0.8)), "no no"),
        (
            words(
                ("ugly", 0.2, 0.6), ("ones.", 0.6, 1.0), ("Ugly", 1.0, 1.02), ("ones.", 1.02, 1.04)
            ),
            "ugly ones.",
        ),
        (words(("7th", 0.1, 0.5), ("7th", 0.5, 0.5), ("7th", 0.5, 0.5)), "7th"),
        (words(("five", 0.1, 0.4), ("five", 0.4, 0.6), ("six", 0.6, 0.9)), "five five six"),
    ],
)
def test_a_copy_without_time_goes_and_one_that_was_said_stays(
    given: tuple[Word, ...], left: str
) -> None:
    assert text_of(without_timeless_copies(given, Trust())) == left


def test_only_grave_doubts_keep_a_text_from_being_acted_on() -> None:
    assert {doubt for doubt in Doubt if doubt.spoils} == {
        Doubt.LOOP,
        Doubt.COPY,
        Doubt.LOST_WORDS,
        Doubt.LANGUAGE,
    }


def look(
    text: str, probability: float, *, frames: int, doubt: Doubt | None, mean: float = -0.3
) -> Decoded:
    return Decoded(
        words=words((text, 0.2, 0.6), probability=probability),
        language="en",
        language_probability=1.0,
        mean_log_probability=mean,
        no_speech_probability=0.1,
        frames=frames,
        doubt=doubt,
    )


def test_of_two_looks_at_a_weak_word_the_more_probable_stands() -> None:
    short = look("Conceal", 0.3, frames=600, doubt=Doubt.WEAK, mean=-0.9)
    wider = look("Console", 0.2, frames=FULL_FRAMES, doubt=None, mean=-0.7)
    assert better_of(short, wider).text == "Console"
    less_probable = look("Control", 0.35, frames=FULL_FRAMES, doubt=Doubt.WEAK, mean=-1.1)
    kept = better_of(short, less_probable)
    assert kept.text == "Conceal" and kept.mean_log_probability == -1.1


def test_a_text_with_graver_faults_gives_way_however_sure_its_words_are() -> None:
    for doubt in (Doubt.LOOP, Doubt.COPY, Doubt.LOST_WORDS, Doubt.NO_VOICE, Doubt.LANGUAGE):
        short = look("Lima Lima", 0.9, frames=600, doubt=doubt)
        whole = look("Lima", 0.5, frames=FULL_FRAMES, doubt=None)
        assert better_of(short, whole).text == "Lima", doubt


def test_where_the_whole_window_holds_no_words_nothing_was_said() -> None:
    short = look("Hmm", 0.4, frames=600, doubt=Doubt.WEAK)
    whole = Decoded((), "en", 1.0, -1.5, 0.9, FULL_FRAMES)
    assert better_of(short, whole).text == ""


def test_an_invention_has_to_pass_both_looks() -> None:
    short = look("Bye", 0.4, frames=600, doubt=Doubt.WEAK, mean=-0.9)
    whole = look("Good", 0.2, frames=FULL_FRAMES, doubt=Doubt.WEAK, mean=-1.6)
    kept = better_of(short, whole)
    assert kept.text == "Bye" and kept.mean_log_probability == -1.6


def said(decoded: Decoded) -> bool:
    return True


def test_a_text_in_doubt_is_looked_at_over_a_wider_window_and_stands_if_that_is_sound() -> None:
    first = looked(look("Conceal", 0.3, frames=600, doubt=Doubt.WEAK), None, stands=said)
    assert first.wider == "wide" and first.may_be_acted_on
    second = looked(look("Console", 0.6, frames=1500, doubt=None), first, stands=said)
    assert second.is_sure and second.decoded.text == "Console"


@pytest.mark.parametrize("doubt", Doubt)
def test_what_two_windows_agree_on_was_said_where_both_can_know(doubt: Doubt) -> None:
    twice = look("five, five", 0.6, frames=600, doubt=doubt)
    first = looked(twice, None, stands=said)
    again = look("Five, five.", 0.9, frames=1500, doubt=doubt)
    second = looked(again, first, stands=said)
    can_know = doubt in (Doubt.COPY, Doubt.WEAK, Doubt.LANGUAGE)
    assert second.is_sure == can_know
    # no new text, so that nothing begins anew that was begun on the first
    assert (second.decoded is twice) == can_know
    if doubt is not Doubt.WEAK:
        other = look("five", 0.6, frames=1500, doubt=doubt)
        assert not looked(other, first, stands=said).is_sure
    nobody_said_it = looked(again, first, stands=lambda _: False)
    assert nobody_said_it.is_sure == (doubt is not Doubt.LOOP)


def test_a_weak_word_in_a_long_text_is_no_reason_to_wait_for_a_wider_window() -> None:
    long = look("Bienvenue", 0.3, frames=1500, doubt=Doubt.WEAK)
    assert looked(long, None, stands=said).is_sure
    assert looked(replace(long, doubt=Doubt.LOOP), None, stands=said).wider == "wide"


def test_a_text_too_improbable_to_stand_gives_way_to_a_wider_one_that_does() -> None:
    def probable(decoded: Decoded) -> bool:
        return decoded.mean_log_probability > -1.4

    weak = look("canso", 0.38, frames=400, doubt=Doubt.WEAK, mean=-1.43)
    first = looked(weak, None, stands=probable)
    second = looked(
        look("Console", 0.33, frames=1500, doubt=Doubt.WEAK, mean=-0.9), first, stands=probable
    )
    assert second.is_sure and second.decoded.text == "Console" and probable(second.decoded)


def test_a_first_look_that_was_wide_is_followed_by_one_over_the_whole_and_only_in_grave_doubt() -> (
    None
):
    wide = replace(look("Lima", 0.3, frames=1500, doubt=Doubt.WEAK), is_wide=True)
    assert looked(wide, None, stands=said).is_sure
    assert looked(replace(wide, doubt=Doubt.LOST_WORDS), None, stands=said).wider == "full"
    assert looked(wide, None, stands=lambda _: False).wider == "full"


def test_only_what_is_in_grave_doubt_there_too_is_looked_at_over_the_whole() -> None:
    first = looked(look("Lima Lima", 0.3, frames=600, doubt=Doubt.LOOP), None, stands=said)
    assert first.wider == "wide" and not first.may_be_acted_on
    merely_weak = look("Lima", 0.3, frames=1500, doubt=Doubt.WEAK, mean=-1.2)
    assert looked(merely_weak, first, stands=said).is_sure
    for doubt in set(Doubt) - {Doubt.WEAK}:
        second = looked(look("Lima", 0.3, frames=1500, doubt=doubt), first, stands=said)
        assert second.wider == "full", doubt
        whole = look("Lima.", 0.2, frames=FULL_FRAMES, doubt=Doubt.LOOP)
        assert looked(whole, second, stands=said).is_sure, "nothing better is to be had"


def test_what_is_about_to_be_dropped_is_looked_at_once_more() -> None:
    def probable(decoded: Decoded) -> bool:
        return decoded.mean_log_probability > -1.0

    weak = look("Bye.", 0.9, frames=600, doubt=None, mean=-1.2)
    first = looked(weak, None, stands=probable)
    assert first.wider == "wide"
    wider = replace(weak, frames=1500)
    assert looked(wider, first, stands=probable).is_sure, "two say that nobody spoke"
    looped = looked(replace(wider, doubt=Doubt.LOOP), first, stands=probable)
    assert looped.wider == "full", "a loop says nothing about the sound"
    mark = look("$", 0.9, frames=1500, doubt=Doubt.WEAK, mean=-1.2)
    assert looked(mark, first, stands=probable).wider == "full", "nor does a mark for a word"
    assert looked(replace(weak, frames=FULL_FRAMES), looped, stands=probable).is_sure
    stood = looked(replace(weak, mean_log_probability=-0.5, doubt=Doubt.WEAK), None, stands=said)
    assert looked(wider, stood, stands=probable).wider == "full", "they contradict each other"


@pytest.mark.parametrize("fell", ["first", "second", "neither"])
def test_of_two_weak_looks_none_stands_where_the_model_hears_silence_too(fell: str) -> None:
    weak = look("Yankee.", 0.9, frames=600, doubt=Doubt.WEAK, mean=-1.1)
    wider = look("Thanks.", 0.9, frames=1500, doubt=None, mean=-1.05)

    def stands(decoded: Decoded) -> bool:
        return decoded.text != {"first": "Yankee.", "second": "Thanks."}.get(fell)

    first = looked(weak, None, stands=stands)
    silent = replace(wider, no_speech_probability=0.5)
    assert looked(silent, first, stands=stands).decoded.text == ""
    # a voice was heard; or the second is sure of what it stands by
    heard = looked(wider, first, stands=stands)
    assert heard.wider == ("full" if fell == "second" else None)
    if fell != "second":
        sure = looked(replace(silent, mean_log_probability=-0.9), first, stands=stands)
        assert heard.decoded.text and sure.decoded.text


def test_a_model_that_learnt_on_short_windows_is_not_asked_again_for_what_is_dropped() -> None:
    short = replace(look("Bye.", 0.9, frames=200, doubt=None), profits_from_whole=False)
    assert looked(short, None, stands=lambda _: False).is_sure
