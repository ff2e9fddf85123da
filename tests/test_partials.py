"""What a live transcript may confirm, and that it never takes it back."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from livekit.plugins.faster_whisper import PartialTranscript, Word


def run(text: str, *, step: float = 0.3, start: float = 0.0) -> list[Word]:
    """Words of one hypothesis, one after the other, each as long as `step`."""
    return [
        Word(" " + word, start + i * step, start + (i + 1) * step)
        for i, word in enumerate(text.split())
    ]


def confirmed_after(*observations: tuple[str, float]) -> list[str]:
    partials = PartialTranscript()
    return [partials.observe(run(text), end).confirmed_text for text, end in observations]


def test_one_run_confirms_nothing() -> None:
    assert confirmed_after(("set a timer for ten", 5.0)) == [""]


def test_two_runs_confirm_what_they_agree_on_but_for_the_last_word() -> None:
    assert confirmed_after(("set a timer", 5.0), ("set a timer for", 5.0))[-1] == "set a"


def test_disagreement_confirms_only_the_words_before_it() -> None:
    assert confirmed_after(("set a dinner for", 5.0), ("set a timer for ten", 5.0))[-1] == "set a"


def test_words_near_the_end_of_the_audio_are_not_confirmed() -> None:
    # The third word ends at 0.9 s; with audio up to 1.1 s it is within the tail of 0.3 s.
    assert confirmed_after(("set a timer for", 1.1), ("set a timer for", 1.1))[-1] == "set a"


def test_a_word_without_any_duration_is_not_confirmed() -> None:
    words = [Word(" set", 0.0, 0.3), Word(" a", 0.3, 0.3), Word(" timer", 0.3, 0.6)]
    partials = PartialTranscript()
    partials.observe(words, 5.0)
    assert partials.observe(words, 5.0).confirmed_text == "set"


def test_letter_case_does_not_stop_agreement_but_punctuation_does() -> None:
    assert confirmed_after(("What time is it", 5.0), ("what time is it", 5.0))[-1] == "what time is"
    assert confirmed_after(("stop. now please", 5.0), ("stop now please", 5.0))[-1] == ""


def test_a_later_run_that_changes_its_mind_leaves_confirmed_words_alone() -> None:
    partials = PartialTranscript()
    partials.observe(run("call alice at nine today"), 5.0)
    assert partials.observe(run("call alice at nine today"), 5.0).confirmed_text == (
        "call alice at nine"
    )
    seen = partials.observe(run("fall alice at nine tomorrow please"), 5.0)
    assert seen.confirmed_text == "call alice at nine"
    assert seen.text == "call alice at nine tomorrow please"


def test_a_later_run_that_drops_a_confirmed_word_goes_on_at_the_right_place() -> None:
    partials = PartialTranscript()
    for _ in range(2):
        partials.observe(run("well call alice at nine now"), 5.0)
    # "well" is gone; the others keep their places in time.
    seen = partials.observe(run("call alice at nine now please", start=0.3), 5.0)
    assert seen.text == "well call alice at nine now please"


def test_words_at_the_very_end_are_held_back_from_the_display() -> None:
    partials = PartialTranscript()
    seen = partials.observe([Word(" yes", 0.0, 0.4), Word(" who", 0.95, 1.0)], 1.0)
    assert seen.text == "yes"


def test_finalize_keeps_the_confirmed_words_and_takes_the_rest_from_the_last_run() -> None:
    partials = PartialTranscript()
    for _ in range(2):
        partials.observe(run("What time is it"), 5.0)
    final = partials.finalize(run("What time was it? Today"))
    assert "".join(word.text for word in final).strip() == "What time is it? Today"


def test_a_long_window_proposes_a_cut_after_a_confirmed_sentence() -> None:
    partials = PartialTranscript(max_window_s=4.0)
    text = "one two three four five six. seven eight nine ten eleven twelve thirteen fourteen"
    partials.observe(run(text), 4.5)
    seen = partials.observe(run(text), 4.5)
    assert seen.cut_at_s is not None
    gone = partials.cut(seen.cut_at_s)
    assert gone[-1].text == " six."
    assert partials.anchor_s == seen.cut_at_s
    assert partials.confirmed[0].text == " seven"


def test_a_long_window_without_a_sentence_end_is_cut_at_a_confirmed_word() -> None:
    partials = PartialTranscript(max_window_s=3.0)
    text = "one two three four five six seven eight nine ten eleven twelve"
    partials.observe(run(text), 3.6)
    seen = partials.observe(run(text), 3.6)
    assert seen.cut_at_s is not None
    assert [w.text for w in partials.cut(seen.cut_at_s)] == [
        " " + w for w in ["one", "two", "three", "four", "five", "six", "seven", "eight"]
    ]


def test_a_name_that_every_run_spells_anew_does_not_keep_speech_from_being_cut() -> None:
    partials = PartialTranscript(max_window_s=3.0)
    for name in ("Asterisk", "Asterrisk", "Astéristque"):
        seen = partials.observe(run(f"welcome to {name} enter the first letters please now"), 3.6)
    assert seen.confirmed_text == "welcome to"
    assert seen.cut_at_s is not None
    after = partials.split_off(seen.cut_at_s)
    assert seen.cut_at_s > 1.5, "not at the last confirmed word, with the name behind it"
    assert [word.text for word in partials.confirmed] == [" welcome", " to"]
    assert after.anchor_s == seen.cut_at_s and after.confirmed == ()


def test_what_was_confirmed_behind_a_cut_stays_confirmed_there() -> None:
    partials = PartialTranscript(max_window_s=4.0)
    text = "one two three four five six. seven eight nine ten eleven twelve thirteen fourteen"
    partials.observe(run(text), 4.5)
    seen = partials.observe(run(text), 4.5)
    assert seen.cut_at_s is not None
    after = partials.split_off(seen.cut_at_s)
    assert partials.confirmed[-1].text == " six."
    assert after.confirmed[0].text == " seven"
    assert partials.confirmed + after.confirmed == seen.confirmed


def test_nothing_is_cut_while_nothing_is_confirmed() -> None:
    partials = PartialTranscript(max_window_s=1.0)
    assert partials.observe(run("one two three"), 9.0).cut_at_s is None


def test_words_of_a_language_without_spaces_are_joined_without_spaces() -> None:
    partials = PartialTranscript()
    words = [Word(c, i * 0.3, (i + 1) * 0.3) for i, c in enumerate("现在几点了")]
    partials.observe(words, 5.0)
    assert partials.observe(words, 5.0).confirmed_text == "现在几点"


_VOCABULARY = st.sampled_from(["no", "now", "two", "to", "ten.", "Ten", "a"])
_RUN = st.lists(st.tuples(_VOCABULARY, st.floats(0.05, 0.6)), max_size=8)


@settings(max_examples=300, deadline=None)
@given(runs=st.lists(_RUN, max_size=8), last=_RUN)
def test_confirmed_words_only_ever_grow_whatever_the_model_writes(
    runs: list[list[tuple[str, float]]], last: list[tuple[str, float]]
) -> None:
    def words(hypothesis: list[tuple[str, float]]) -> list[Word]:
        out, at = [], 0.0
        for text, length in hypothesis:
            out.append(Word(" " + text, at, at + length))
            at += length
        return out

    partials = PartialTranscript()
    before: tuple[Word, ...] = ()
    for index, hypothesis in enumerate(runs):
        seen = partials.observe(words(hypothesis), 0.8 * (index + 1))
        assert seen.confirmed[: len(before)] == before
        before = seen.confirmed
    assert partials.finalize(words(last))[: len(before)] == before
