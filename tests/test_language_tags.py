"""Language tags, however they are written."""

from __future__ import annotations

import pytest

from agent_worker.hearing.backchannel import Kind, classify
from agent_worker.language_tags import primary, same_language
from agent_worker.speech.spoken_numbers import SpokenNumbers
from livekit.plugins.faster_whisper.chinese_scripts import script_of
from livekit.plugins.faster_whisper.language import parse_language
from livekit.plugins.kokoro.languages import language_of
from livekit.plugins.xtts.languages import language_code


@pytest.mark.parametrize(
    ("tag", "expected"),
    [
        ("en", "en"),
        ("en-GB", "en"),
        ("pt_BR", "pt"),
        (" DE ", "de"),
        ("zh-Hant-TW", "zh"),
        ("cmn-Hans", "zh"),
        ("nb-NO", "no"),
        ("iw", "he"),
    ],
)
def test_the_language_of_a_tag_is_its_first_part_by_the_name_that_the_word_lists_have(
    tag: str, expected: str
) -> None:
    assert primary(tag) == expected


def test_regions_and_older_names_are_one_language() -> None:
    assert same_language("zh_TW", "cmn")
    assert not same_language("pt-BR", "es")


def test_numbers_and_backchannels_know_a_language_by_its_other_name() -> None:
    assert SpokenNumbers("nb")("3 hus") == "tre hus"
    assert classify("嗯", language="cmn-Hans") is Kind.HUM


@pytest.mark.parametrize(
    ("tag", "whisper", "xtts", "kokoro"),
    [
        ("en_gb", "en", "en", "en-GB"),
        (" PT ", "pt", "pt", "pt-BR"),
        ("en-NZ", "en", "en", "en-US"),
        ("spa", "es", "es", "es"),
        ("cmn-Hant", "zh", "zh-cn", None),
        ("nb", "no", None, None),
    ],
)
def test_the_plugins_read_a_tag_alike_each_by_the_names_of_its_model(
    tag: str, whisper: str, xtts: str | None, kokoro: str | None
) -> None:
    assert parse_language(tag) == ("fixed", whisper)
    if xtts is None:
        with pytest.raises(ValueError, match="XTTS does not speak"):
            language_code(tag)
    else:
        assert language_code(tag) == xtts
    if kokoro is None:
        with pytest.raises(ValueError, match="Kokoro does not speak"):
            language_of(tag)
    else:
        assert language_of(tag).tag == kokoro


@pytest.mark.parametrize(
    ("tag", "script"),
    [
        ("zh_hant", "traditional"),
        ("zh-TW", "taiwan"),
        ("cmn-Hans-TW", "simplified"),
        ("yue", "hong kong"),
        (None, "simplified"),
    ],
)
def test_the_script_of_chinese_is_read_from_the_tag(tag: str | None, script: str) -> None:
    assert script_of(tag) == script
