"""What an utterance asks for next, without a model, a clock or a stream."""

from __future__ import annotations

import ast
import graphlib
from pathlib import Path

import pytest

from livekit.plugins import faster_whisper
from livekit.plugins.faster_whisper import Word
from livekit.plugins.faster_whisper.options import Options
from livekit.plugins.faster_whisper.partials import PartialTranscript
from livekit.plugins.faster_whisper.second_look import Look
from livekit.plugins.faster_whisper.utterance import NextStep, Speculation, Utterance
from livekit.plugins.faster_whisper.voice import WINDOW, WINDOW_S

from .fake_stt_decoder import decoded

OPTIONS = Options(interim_interval_s=0.25, speculative_silence_s=0.18)
ENOUGH = 8
"""Windows that are as long as an interval between partials, or a little longer."""


@pytest.fixture
def utterance() -> Utterance:
    return Utterance(
        request_id="test",
        start_sample=0,
        starts_speech=True,
        partials=PartialTranscript(),
        heard_at=0.0,
    )


def speak(utterance: Utterance, windows: int) -> None:
    for _ in range(windows):
        utterance.hear(
            bytes(2 * WINDOW), voiced=True, sounding=True, silence_s=0.0, pause_s=0.0, at=0.0
        )


def pause(utterance: Utterance, windows: int) -> None:
    for count in range(1, windows + 1):
        passed = count * WINDOW_S
        utterance.hear(
            bytes(2 * WINDOW),
            voiced=False,
            sounding=False,
            silence_s=passed,
            pause_s=passed,
            at=0.0,
        )


def prepared(utterance: Utterance, text: str, *, is_sure: bool = True) -> bool:
    windows = utterance.speculation_begins()
    look = Look(decoded(text), None if is_sure else "wide")
    made = Speculation((Word(text, 0.0, 0.2),), windows, look)
    return utterance.prepare(made)


def test_a_partial_is_due_once_there_is_enough_new_speech_and_not_before(
    utterance: Utterance,
) -> None:
    speak(utterance, ENOUGH - 1)
    assert utterance.next_step(OPTIONS) is NextStep.WAIT
    speak(utterance, 1)
    assert utterance.next_step(OPTIONS) is NextStep.PARTIAL
    utterance.partial_begins()
    assert utterance.next_step(OPTIONS) is NextStep.WAIT
    speak(utterance, ENOUGH)
    assert utterance.next_step(OPTIONS) is NextStep.PARTIAL


def test_who_wants_no_partials_gets_none(utterance: Utterance) -> None:
    speak(utterance, 3 * ENOUGH)
    assert utterance.next_step(Options(interim_results=False)) is NextStep.WAIT


def test_the_pre_roll_is_no_news(utterance: Utterance) -> None:
    utterance.begin_with(bytes(2 * WINDOW * 20), voiced_windows=3)
    assert utterance.next_step(OPTIONS) is NextStep.WAIT
    assert utterance.onset_s == pytest.approx(17 * WINDOW_S)


def test_no_partial_begins_in_a_pause_where_it_would_hold_the_final_up(
    utterance: Utterance,
) -> None:
    speak(utterance, ENOUGH)
    pause(utterance, 1)
    assert utterance.next_step(OPTIONS) is NextStep.WAIT


def test_a_pause_asks_for_one_final_ahead_of_time_and_further_speech_for_another(
    utterance: Utterance,
) -> None:
    speak(utterance, ENOUGH)
    pause(utterance, 6)
    assert utterance.next_step(OPTIONS) is NextStep.SPECULATE
    assert prepared(utterance, "yes")
    pause(utterance, 4)
    assert utterance.next_step(OPTIONS) is NextStep.WAIT
    speak(utterance, 1)
    pause(utterance, 6)
    assert utterance.next_step(OPTIONS) is NextStep.SPECULATE


def test_the_end_comes_before_all_else(utterance: Utterance) -> None:
    speak(utterance, ENOUGH)
    pause(utterance, 6)
    utterance.close()
    assert utterance.next_step(OPTIONS) is NextStep.FINAL


def test_a_prepared_final_that_is_sure_needs_no_further_look(utterance: Utterance) -> None:
    speak(utterance, ENOUGH)
    prepared(utterance, "yes")
    utterance.close()
    made = utterance.prepared
    assert made is not None and made.look.is_sure
    assert [word.text for word in made.words] == ["yes"]


def test_a_prepared_final_in_doubt_is_looked_at_again(utterance: Utterance) -> None:
    speak(utterance, ENOUGH)
    prepared(utterance, "yes", is_sure=False)
    utterance.close()
    assert utterance.prepared is not None and not utterance.prepared.look.is_sure


def test_speech_after_a_prepared_final_makes_it_void(utterance: Utterance) -> None:
    speak(utterance, ENOUGH)
    prepared(utterance, "yes")
    speak(utterance, 1)
    utterance.close()
    assert utterance.prepared is None and utterance.voiced_windows


def test_nothing_is_decoded_where_nothing_was_said(utterance: Utterance) -> None:
    utterance.ask_for_an_answer()
    utterance.close(ends_speech=False)
    assert utterance.next_step(OPTIONS) is NextStep.FINAL
    assert utterance.prepared is None and not utterance.voiced_windows


def test_the_same_text_twice_is_no_news(utterance: Utterance) -> None:
    speak(utterance, ENOUGH)
    assert prepared(utterance, "yes", is_sure=False)
    assert not prepared(utterance, "yes")
    assert prepared(utterance, "guess")
    speak(utterance, 1)
    assert prepared(utterance, "guess"), "of more speech it is news"


def test_a_cut_hands_over_the_sound_and_its_voice(utterance: Utterance) -> None:
    speak(utterance, 10)
    after = Utterance(
        request_id="next",
        start_sample=4 * WINDOW,
        starts_speech=False,
        partials=PartialTranscript(),
        heard_at=0.0,
    )
    utterance.cut_at(4 * WINDOW, after)
    assert utterance.closed and not utterance.ends_speech
    assert utterance.sound.end_sample == after.sound.start_sample == 4 * WINDOW
    assert after.voiced_windows == after.sounded_windows == 6
    assert after.sound.voice() == ((0.0, 6 * WINDOW_S),)
    assert utterance.sound.voice() == ((0.0, 4 * WINDOW_S),)


def test_no_file_of_the_plugin_imports_in_a_circle_not_even_for_a_type() -> None:
    folder = Path(str(faster_whisper.__file__)).parent
    imports: dict[str, set[str]] = {}
    for file in folder.glob("*.py"):
        found = imports.setdefault(file.stem, set())
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom) and node.level == 1 and node.module:
                found.add(node.module.partition(".")[0])
    # engine_process is the outermost room: the engines of a process may be elsewhere.
    order = list(graphlib.TopologicalSorter(imports).static_order())
    for first, then in (("job", "utterance"), ("options", "utterance"), ("utterance", "stream")):
        assert order.index(first) < order.index(then) < order.index("stt")
    heavy = {"decode", "device_fallback", "engines"}
    reached, todo = set[str](), ["utterance", "listener", "transcript"]
    while todo:
        name = todo.pop()
        if name not in reached:
            reached.add(name)
            todo += imports.get(name, ())
    assert not reached & heavy, "policies don't know how a model is run"
