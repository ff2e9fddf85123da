from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from livekit.plugins.piper.durations import phoneme_starts
from livekit.plugins.piper.engine import Engine
from livekit.plugins.piper.voices import find_voice
from local_tts.word_alignment import align_words, split_words
from tests import tiny_piper


@pytest.fixture(scope="module")
def engines(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Engine]:
    folder = tmp_path_factory.mktemp("voices")
    made: dict[str, Engine] = {}
    for language in ("en-us", "cmn", "de"):
        path = tiny_piper.build(folder / f"{language}.onnx", language=language)
        made[language] = Engine(find_voice(path), 1)
        made[language].load()
    return made


def aligned(engine: Engine, text: str) -> list[tuple[str, str]]:
    sentences = [sentence.phonemes for sentence in engine.phonemize(text)]
    flat = [phoneme for phonemes in sentences for phoneme in phonemes]
    spans = align_words(text, sentences, engine.spoken_alone)
    assert [span.first for span in spans] == [0, *(span.last for span in spans)][: len(spans)]
    assert spans[-1].last == len(flat)
    return [(span.text, "".join(flat[span.first : span.last]).strip()) for span in spans]


def test_words_and_phonemes_that_agree_are_paired_one_by_one(engines: dict[str, Engine]) -> None:
    assert aligned(engines["en-us"], "Hello there, my friend.") == [
        ("Hello ", "həlˈoʊ"),
        ("there, ", "ðˈɛɹ,"),
        ("my ", "maɪ"),
        ("friend.", "fɹˈɛnd."),
    ]


def test_a_number_takes_all_the_words_that_it_is_spoken_as(engines: dict[str, Engine]) -> None:
    pairs = dict(aligned(engines["en-us"], "It costs $3.14 — or 1,234 euros — on 5 days. Really."))
    assert pairs["$3.14 "].count(" ") == 4
    assert pairs["1,234 "].startswith("wˈʌn")
    assert pairs["days. "] == "dˈeɪz."
    assert pairs["Really."] == "ɹˈiəli."
    assert pairs["— "] == ""


def test_words_that_are_spoken_as_one_share_it(engines: dict[str, Engine]) -> None:
    pairs = aligned(engines["en-us"], "It is one of the best in the world.")
    assert [word for word, _ in pairs] == [
        "It ", "is ", "one ", "of ", "the ", "best ", "in ", "the ", "world.",
    ]  # fmt: skip
    assert pairs[5] == ("best ", "bˈɛst")
    assert pairs[8] == ("world.", "wˈɜːld.")
    assert pairs[6][1] and pairs[7][1]


def test_chinese_is_aligned_by_the_character(engines: dict[str, Engine]) -> None:
    pairs = aligned(engines["cmn"], "你好，我很高兴。今天是5月。")
    assert [word for word, _ in pairs][:4] == ["你", "好，", "我", "很"]
    assert all(phonemes for word, phonemes in pairs)
    assert dict(pairs)["今"].startswith("tɕ")


@settings(max_examples=60, deadline=None)
@given(text=st.text(st.sampled_from("ab c,.—5你。\n\u0301'😀"), max_size=40))
def test_words_joined_are_the_text_whatever_it_is(engines: dict[str, Engine], text: str) -> None:
    assert "".join(split_words(text)) == text
    assert "".join(word for word, _ in aligned(engines["en-us"], text)) == text


def test_a_phoneme_begins_where_its_ids_do() -> None:
    counts = {"a": 1, "b": 2, "?": 0}
    #         ^  _  a  _  b  b  _  $
    frames = [1, 1, 5, 1, 2, 2, 1, 3]
    assert phoneme_starts(["a", "b"], counts.__getitem__, frames) == [0, 8, 16]
    assert phoneme_starts(["a", "?", "b"], counts.__getitem__, frames) == [0, 8, 8, 16]
    assert phoneme_starts(["a"], counts.__getitem__, frames) is None


def test_the_text_of_no_phonemes_is_one_word_of_no_length() -> None:
    def refuse(word: str) -> Any:
        raise AssertionError(word)

    (span,) = align_words("...", [], refuse)
    assert (span.text, span.first, span.last) == ("...", 0, 0)
