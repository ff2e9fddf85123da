"""Languages: fixed, detected once and kept, detected each time; English and Mandarin for real."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest
from livekit.agents.stt import SpeechEventType as Kind

from livekit.plugins import faster_whisper
from livekit.plugins.faster_whisper.decode import WhisperDecoder
from livekit.plugins.faster_whisper.job import Job
from livekit.plugins.faster_whisper.language import LanguageLock, parse_language
from livekit.plugins.faster_whisper.models import ModelSpec

from .speech import speak
from .stt_probe import Heard, frames, silence, transcribe

TIME_ZH = ("现在几点", "cmn")
HELLO_ZH = ("你好", "cmn")
TIME_EN = ("what time is it", "en-us")
NAME_EN = ("remember that my name is alice", "en-us")


def said(*parts: tuple[str, str]) -> np.typing.NDArray[np.float32]:
    pieces = [silence(0.4)]
    for text, voice in parts:
        pieces += [speak(text, voice), silence(0.8)]
    return np.concatenate(pieces)


def languages(heard: Heard) -> list[str]:
    return [str(e.alternatives[0].language) for e in heard.of(Kind.FINAL_TRANSCRIPT)]


def letters(texts: Iterable[str]) -> list[str]:
    return ["".join(c for c in text.lower() if c.isalnum()) for text in texts]


async def test_mandarin_is_transcribed_live_without_spaces() -> None:
    async with faster_whisper.STT(language="zh") as stt:
        heard = await transcribe(stt.stream(), said(TIME_ZH))
    assert letters(heard.finals) == ["现在几点"]
    assert languages(heard) == ["zh"]
    words = heard.of(Kind.FINAL_TRANSCRIPT)[0].alternatives[0].words
    assert words is not None
    assert letters(words) == ["现", "在", "几", "点"]
    assert heard.texts(Kind.PREFLIGHT_TRANSCRIPT)[-1:] == heard.finals


async def test_a_language_detected_over_a_second_of_voice_is_kept() -> None:
    async with faster_whisper.STT(language="auto") as stt:
        stream = stt.stream()
        heard = await transcribe(stream, said(NAME_EN, TIME_EN))
        assert languages(heard) == ["en", "en"]
        assert stream._lock.code == "en"


async def test_with_multi_the_caller_may_switch_between_languages() -> None:
    async with faster_whisper.STT(language="multi") as stt:
        heard = await transcribe(stt.stream(), said(NAME_EN, TIME_ZH, TIME_EN, HELLO_ZH))
    assert languages(heard) == ["en", "zh", "en", "zh"]
    assert letters(heard.finals) == [
        "remember that my name is alice".replace(" ", ""),
        "现在几点",
        "whattimeisit",
        "你好",
    ]


async def test_a_stream_may_have_a_language_of_its_own() -> None:
    async with faster_whisper.STT(language="en") as stt:
        stream = stt.stream(language="zh")
        stt.update_options(min_silence=0.4)
        assert stream.language_setting == "zh"
        assert letters((await transcribe(stream, said(HELLO_ZH))).finals) == ["你好"]


async def test_a_recording_is_recognised_in_a_detected_language() -> None:
    async with faster_whisper.STT() as stt:
        event = await stt.recognize([*frames(said(TIME_ZH))], language="auto")
    assert event.alternatives[0].language == "zh"
    assert letters([event.alternatives[0].text]) == ["现在几点"]


def test_a_detection_counts_only_when_it_is_sure_and_over_enough_voice() -> None:
    lock = LanguageLock(*parse_language("auto"))
    lock.observe("zh", 0.99, voiced_s=0.5)
    lock.observe("zh", 0.6, voiced_s=3.0)
    assert lock.code is None
    lock.observe("en", 0.71, voiced_s=1.0)
    assert lock.code == "en"
    lock.next_utterance()
    assert lock.code == "en"


def test_a_partial_has_to_be_surer_of_a_language_than_a_final() -> None:
    lock = LanguageLock(*parse_language("auto"))
    lock.observe("hi", 0.75, voiced_s=1.5, is_final=False)
    assert lock.code is None
    lock.observe("en", 0.95, voiced_s=1.5, is_final=False)
    assert lock.code == "en"


def test_a_kept_language_gives_way_to_one_that_is_surely_another() -> None:
    lock = LanguageLock(*parse_language("auto"))
    assert not lock.may_switch, "nothing is kept yet"
    lock.observe("fr", 0.9, voiced_s=2.0)
    assert lock.may_switch
    lock.observe("en", 0.75, voiced_s=2.0)
    lock.observe("en", 0.99, voiced_s=0.5)
    assert lock.code == "fr"
    lock.observe("en", 0.9, voiced_s=2.0)
    assert lock.code == "en"
    assert not LanguageLock(*parse_language("fr")).may_switch


def test_with_multi_a_detection_holds_for_one_utterance() -> None:
    lock = LanguageLock(*parse_language("multi"))
    lock.observe("zh", 0.9, voiced_s=1.2)
    assert lock.code == "zh"
    lock.next_utterance()
    assert lock.code is None


@pytest.mark.parametrize("mode", ["en", "zh"])
def test_a_fixed_language_is_never_replaced(mode: str) -> None:
    lock = LanguageLock(*parse_language(mode))
    lock.observe("fr", 1.0, voiced_s=5.0)
    lock.next_utterance()
    assert lock.code == mode


def test_callers_whose_requests_share_a_batch_are_heard_each_in_their_own_language() -> None:
    decoder = WhisperDecoder(ModelSpec("bundled"))
    jobs = [Job(speak(text, voice), language=None) for text, voice in (NAME_EN, TIME_ZH)]
    assert [decoded.language for decoded in decoder.decode(jobs)] == ["en", "zh"]
