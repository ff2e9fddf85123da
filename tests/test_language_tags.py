"""Language tags, however they are written."""

from __future__ import annotations

import pytest

from agent_worker.hearing.backchannel import Kind, classify
from agent_worker.language_tags import primary, same_language
from agent_worker.speech.spoken_numbers import SpokenNumbers


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
