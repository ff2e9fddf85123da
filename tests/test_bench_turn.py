"""The turn benchmark: its figures from scripted moments, and one small run over the real server."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from agent_worker.caller.client import SAMPLE_RATE
from bench import part_process, turn, turn_model, turn_set
from bench import turn_figures as figures
from bench.turn_stock import WholeUtterances, build_session
from models.training.grammar import ENGLISH_WORDS

REPOSITORY = Path(__file__).parent.parent


def voice(*spans: tuple[float, float]) -> list[float]:
    """Moments every 10 ms within these spans of seconds."""
    return [round(at, 2) for start, end in spans for at in np.arange(start, end, 0.01)]


def asked(ms: float | None, *, paused: bool = False, cut_off: bool = False) -> figures.Turn:
    return figures.Turn("hello", paused, cut_off, ms, "hello")


def test_an_answer_heard_within_the_sentence_or_right_after_it_cuts_it_off() -> None:
    assert figures.cut_off(voice((11.0, 11.5)), 10.0, 12.0)
    assert figures.cut_off(voice((12.05, 13.0)), 10.0, 12.0)


def test_an_answer_after_the_sentence_and_the_one_before_it_cut_nothing_off() -> None:
    assert not figures.cut_off(voice((8.0, 9.9), (12.4, 14.0)), 10.0, 12.0)


def test_a_breath_is_no_silence() -> None:
    heard = voice((0.0, 2.0), (2.2, 3.0))
    assert figures.silent_from(heard, 1.0, 5.0) == pytest.approx(2.99)


def test_an_agent_that_goes_on_is_never_silent() -> None:
    assert figures.silent_from(voice((0.0, 5.0)), 1.0, 5.0) is None


def test_an_agent_that_was_silent_already_is_silent_at_once() -> None:
    assert figures.silent_from(voice((0.0, 0.9), (4.0, 5.0)), 1.0, 5.0) == 1.0


def test_silence_needs_its_whole_length_before_the_end_of_the_window() -> None:
    assert figures.silent_from(voice((0.0, 4.9)), 1.0, 5.0) is None


ANSWERED: dict[str, Any] = {"at": {"first_audio_out": 1.6}}
"""An interruption at 1.0, whose answer left the worker at 1.6."""


def test_an_answer_to_the_interruption_does_not_hide_the_silence_before_it() -> None:
    heard = voice((0.0, 1.42), (1.66, 3.0))
    assert figures.silent_until_reply(heard, 1.0, 3.0, ANSWERED) == pytest.approx(1.41)
    assert figures.silent_until_reply(heard, 1.0, 3.0, None) is None


def test_a_breath_before_the_answer_is_not_its_silence() -> None:
    heard = voice((0.0, 1.1), (1.3, 1.5), (1.66, 3.0))
    assert figures.silent_until_reply(heard, 1.0, 3.0, ANSWERED) == pytest.approx(1.49)


def test_an_agent_that_talks_on_into_its_answer_was_never_silent() -> None:
    heard = voice((0.0, 3.0))
    assert figures.silent_until_reply(heard, 1.0, 3.0, ANSWERED) is None


def test_without_an_answer_the_whole_silence_counts() -> None:
    heard = voice((0.0, 1.4))
    assert figures.silent_until_reply(heard, 1.0, 3.0, {"at": {}}) == pytest.approx(1.39)


def test_only_a_second_without_voice_is_a_stop() -> None:
    heard = voice((0.0, 2.0), (2.6, 4.0), (5.5, 7.0))
    assert figures.stops(heard, 0.0, 7.0) == 1
    assert figures.longest_gap_ms(heard, 0.0, 7.0) == pytest.approx(1510, abs=11)


def test_answers_to_half_a_sentence_have_no_delay_but_count_as_cut_off() -> None:
    turns = [asked(400), asked(500), asked(90, paused=True, cut_off=True), asked(700, paused=True)]
    assert figures.of_turns(turns) == {
        "end_to_end_ms_p50": 500,
        "end_to_end_ms_p95": 700,
        "cut_off_rate": 0.5,
        "word_error_rate": 0.0,
    }


def test_without_interruptions_the_report_and_its_table_are_of_the_turns_alone() -> None:
    misheard = dataclasses.replace(asked(400), heard="yellow")
    sides: dict[str, tuple[list[figures.Turn], dict[str, float]]] = {
        "ours": ([misheard, asked(600)], {}),
        "stock": ([asked(1000), asked(1200)], {}),
    }
    result = turn.report(sides, {})
    assert result["ratio_p50"] == 0.4
    assert result["ours"]["word_error_rate"] == 0.5
    assert result["detail"]["ours"]["misheard"] == {"hello": "yellow"}
    lines = turn.table(result).splitlines()
    assert len(lines) == 4 and lines[1].endswith("50.0%")


def test_unanswered_turns_are_told_and_not_timed() -> None:
    turns = [asked(400), asked(None)]
    assert figures.of_turns(turns)["end_to_end_ms_p95"] == 400
    assert figures.detail(turns)["unanswered"] == ["hello"]


def test_stages_count_from_the_end_of_the_sentence_that_they_belong_to() -> None:
    records = [
        {"speech_ended_at": 12.2, "at": {"first_token": 12.35, "committed": 12.3}},
        {"speech_ended_at": 22.2, "at": {"committed": 22.5}},
    ]
    spans = [(10.0, 12.0), (20.0, 22.0), (30.0, 31.0)]
    medians = figures.stages_ms_p50(spans, records)
    assert medians == {"committed": pytest.approx(300), "first_token": pytest.approx(350)}
    assert list(medians) == ["committed", "first_token"]


def test_nothing_measured_is_null_not_zero() -> None:
    assert figures.of_turns([])["cut_off_rate"] is None
    assert figures.ratio(None, 800) is None
    assert figures.rate(0, 0) is None


def test_every_third_sentence_has_pauses_of_a_speakers_length() -> None:
    sentences = turn_set.sentences(30)
    assert [s.paused for s in sentences[:6]] == [False, False, True] * 2
    pauses = [pause for s in sentences for pause in s.pauses_s]
    assert len(sentences) == 30
    assert min(pauses) >= 0.3
    assert max(pauses) <= 0.9
    assert len({s.text for s in sentences}) == 30


def test_the_caller_says_only_what_the_bundled_model_knows() -> None:
    said = [part for s in (*turn_set.PLAIN, *turn_set.PAUSED) for part in s.parts]
    said += [turn_set.ASK_FOR_STORY, turn_set.ASK_FOR_KNOWN_WORDS]
    said += [*turn_set.BARGE_INS, *turn_set.BACKCHANNELS, turn_model.KNOWN_WORDS]
    words = {word.strip(".,?").lower() for text in said for word in text.split()}
    assert words - {word.lower() for word in ENGLISH_WORDS} == set()


async def test_a_pause_in_a_rendered_sentence_is_exactly_as_long_as_written() -> None:
    pcm = await turn_set.rendered(turn_set.Sentence(("hello", "who are you"), (0.6,)))
    audible = np.flatnonzero(np.abs(pcm.astype(np.int32)) >= 80)
    assert np.diff(audible).max() == int(0.6 * SAMPLE_RATE) + 1


def test_the_model_tells_a_story_only_to_who_asks_for_one() -> None:
    def answer(text: str) -> str:
        return "".join(turn_model.script({"messages": [{"role": "user", "content": text}]}).pieces)

    assert answer("Tell me a story.") == turn_model.STORY
    assert answer("Tell me a joke.") == turn_model.KNOWN_WORDS
    assert answer("Hello.") == turn_model.REPLY


async def test_a_part_that_does_not_start_is_named(tmp_path: Path) -> None:
    with pytest.raises(part_process.BenchError, match=r"bench\.no_such_module ended"):
        async with part_process.module("bench.no_such_module", {}, tmp_path / "log", ready="x"):
            pytest.fail("it started")


async def test_the_stock_pipeline_is_livekits_own(tmp_path: Path) -> None:
    from agent_worker.engines.found import choose_engines
    from agent_worker.settings import load_settings

    settings = load_settings(
        stt="bundled", tts="espeak", llm="assistant", llm_url="http://127.0.0.1:9/v1", llm_model="m"
    )
    session = build_session(settings, await choose_engines(settings))
    assert session.llm is not None
    assert session.llm.label.startswith("livekit.plugins.langchain")
    assert session.turn_detection == "vad"
    assert session.options.endpointing["min_delay"] == 0.5
    heard = session.stt
    assert heard is not None
    assert heard.label == "livekit.agents.stt.stream_adapter.StreamAdapter"
    assert isinstance(heard.wrapped_stt, WholeUtterances)  # type: ignore[attr-defined]
    assert not heard.wrapped_stt.capabilities.streaming  # type: ignore[attr-defined]


@pytest.fixture
def no_orphans() -> Iterator[None]:
    """Nothing that the benchmark started may outlive it."""

    def running() -> set[int]:
        out = set()
        for process in psutil.process_iter():
            # others' processes may end, or be none of our business
            with suppress(psutil.Error):
                name = process.environ().get("AGENT_WORKER_AGENT_NAME", "")
                command = " ".join(process.cmdline())
                if name in (turn.OURS, turn.STOCK) or "bench.turn" in command:
                    out.add(process.pid)
        return out

    before = running()
    yield
    assert running() <= before


@pytest.mark.timeout(240)
async def test_one_turn_each_through_the_real_server(no_orphans: None) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "bench.turn", "--json", "--turns", "1"),
        cwd=REPOSITORY,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, log = await process.communicate()
    assert process.returncode == 0, log.decode()
    result = json.loads(out)
    assert {"ours", "stock", "ratio_p50", "backchannel", "echo", "machine", "models", "date"} <= (
        result.keys()
    )
    assert result["turns"] == 1
    for name in ("ours", "stock"):
        assert result["detail"][name]["unanswered"] == []
        assert result[name]["end_to_end_ms_p50"] > 0
    assert len(result["detail"]["barge_ins"]) == 1
