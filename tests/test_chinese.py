"""Chinese in two scripts: written in the one that was asked for, understood in both."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agent_worker.hearing.backchannel import Kind, classify
from agent_worker.hearing.completeness import Completeness, asks_for_dictation, judge, split_words
from agent_worker.hearing.echo import EchoGuard
from livekit.plugins.faster_whisper.chinese_scripts import in_script, script_of, words_in_script
from livekit.plugins.faster_whisper.transcript import in_asked_script
from livekit.plugins.faster_whisper.words import Word, text_of

from .fake_stt_decoder import decoded


@pytest.mark.parametrize(
    ("language", "script"),
    [
        ("zh", "simplified"),
        ("zh-CN", "simplified"),
        ("zh_SG", "simplified"),
        ("zh-Hans-HK", "simplified"),
        ("cmn", "simplified"),
        ("zh-TW", "taiwan"),
        ("zh-Hant-TW", "taiwan"),
        ("zh-HK", "hong kong"),
        ("zh-Hant", "traditional"),
        ("yue", "hong kong"),
        ("yue-Hans", "simplified"),
        ("auto", "simplified"),
        (None, "simplified"),
    ],
)
def test_the_script_follows_the_language_setting(language: str | None, script: str) -> None:
    assert script_of(language) == script


def test_a_character_is_chosen_by_its_neighbours() -> None:
    assert in_script("头发发展后面皇后", "taiwan") == "頭髮發展後面皇后"
    assert in_script("这里的软件看着很好", "taiwan") == "這裡的軟件看著很好"
    assert in_script("这里的软件看着很好", "hong kong") == "這裏的軟件看着很好"
    assert in_script("看著著名的樂隊，對對对", "simplified") == "看着著名的乐队，对对对"
    assert in_script("Piano, 10 %", "taiwan") == "Piano, 10 %"


def test_words_keep_their_times_over_a_conversion() -> None:
    words = [Word(char, at, at + 0.5, 0.9) for at, char in enumerate("我的头发太长")]
    converted = words_in_script(words, "taiwan")
    assert [w.text for w in converted] == list("我的頭髮太長")
    assert [(w.start, w.end, w.probability) for w in converted] == [
        (w.start, w.end, w.probability) for w in words
    ]


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("zh", "头发太长"),
        ("zh-TW", "頭髮太長"),
        ("zh-HK", "頭髮太長"),
        ("auto", "头发太长"),
        ("multi", "头发太长"),
    ],
)
def test_what_is_heard_comes_in_the_script_that_was_asked_for(language: str, text: str) -> None:
    for written in ("头发太长", "頭髮太長", "頭发太長"):
        heard = replace(decoded(written), language="zh")
        assert text_of(in_asked_script(heard, language).words) == text


def test_other_languages_are_left_alone() -> None:
    japanese = replace(decoded("東京の電話"), language="ja")
    assert in_asked_script(japanese, "zh-CN") is japanese


@pytest.mark.parametrize("language", ["zh", "zh-TW", None])
@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("對對對", Kind.AGREEMENT),
        ("对对对", Kind.AGREEMENT),
        ("沒錯", Kind.AGREEMENT),
        ("當然", Kind.AGREEMENT),
        ("等一下", Kind.STOP),
        ("等下，別說了", Kind.STOP),
        ("為什麼", Kind.STOP),
        ("喔", Kind.HUM),
        ("我想訂一張票", Kind.OTHER),
    ],
)
def test_overlaps_are_understood_in_both_scripts(
    text: str, kind: Kind, language: str | None
) -> None:
    assert classify(text, language=language) is kind


@pytest.mark.parametrize(
    ("traditional", "simplified"),
    [
        ("為什麼", "为什么"),
        ("請問現在幾點", "请问现在几点"),
        ("我想要", "我想要"),
        ("因為", "因为"),
        ("沒錯", "没错"),
        ("幫我", "帮我"),
        ("我的電話號碼是一三八", "我的电话号码是一三八"),
        ("這個軟體發展得很快嗎", "这个软体发展得很快吗"),
        ("兩張", "两张"),
    ],
)
def test_the_end_of_a_turn_is_judged_alike_in_both_scripts(
    traditional: str, simplified: str
) -> None:
    assert split_words(traditional) == split_words(simplified)
    assert judge(traditional, language="zh") is judge(simplified, language="zh")


def test_traditional_lists_do_not_all_come_out_the_same() -> None:
    assert judge("因為", language="zh") is Completeness.UNFINISHED
    assert judge("沒錯", language="zh") is Completeness.FINISHED
    assert judge("我的電話號碼是一三八", language="zh") is Completeness.DICTATING


def test_an_agent_may_ask_for_a_number_in_either_script() -> None:
    assert asks_for_dictation("請問您的電話號碼是多少？")
    assert asks_for_dictation("请问您的电话号码是多少？")


def test_the_agents_own_words_are_known_in_the_other_script() -> None:
    guard = EchoGuard()
    guard.agent_says("您好，請問有什麼可以幫您的嗎？")
    assert guard.without_echo("请问有什么可以帮您的吗") == ""


def test_japanese_is_not_rewritten() -> None:
    assert split_words("違います") == list("違います")
    assert classify("違います", language="ja") is Kind.STOP
