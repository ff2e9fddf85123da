"""From text to what Kokoro's graph takes: clauses, phonemes, phrases."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from livekit.plugins.kokoro.languages import language_of
from livekit.plugins.kokoro.phonemes import VOCABULARY, Phonemizer, cut_clauses
from livekit.plugins.kokoro.phrases import MOST, plan_phrases


@pytest.fixture(scope="module")
def phonemizer() -> Phonemizer:
    return Phonemizer()


# what misaki gives for the same words
@pytest.mark.parametrize(
    ("tag", "text", "expected"),
    [
        ("en-US", "Hello, Mr. Smith: go now!", ["həlˈO,", "mˈɪstəɹ smˈɪθ:", "ɡˌO nˈW!"]),
        ("en-GB", "No boat.", ["nˈQ bˈQt."]),
        ("en-US", "chain judge boy day my", ["ʧˈAn ʤˈʌʤ bˈY dˈA mˈI"]),
        ("es", "¿Qué tal? Bien.", ["kˈe tˈal?", "bjˈen."]),
        ("fr", "Bonjour.", ["bɔ̃ʒˈuʁ."]),
        ("it", "Ciao, che bello", ["ʧˈao,", "ke bˈɛllo"]),
        ("pt-BR", "Olá!", ["olˈa!"]),
    ],
)
def test_phonemes_are_those_that_kokoro_learnt(
    phonemizer: Phonemizer, tag: str, text: str, expected: list[str]
) -> None:
    assert phonemizer.clauses(text, language_of(tag)) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It costs 3.14, or 10,000.", [("It costs 3.14", ","), (" or 10,000", ".")]),
        ("Dr. No met the U.S. team", [("Dr. No met the U.S. team", "")]),
        ("Wait… what?!", [("Wait", "…"), (" what", "?")]),
        ('"Yes," she said', [('"Yes', ","), (" she said", "")]),
        ("one\ntwo — three", [("one", ","), ("two ", "—"), (" three", "")]),
        ("  ", []),
    ],
)
def test_clauses_end_where_one_pauses(text: str, expected: list[tuple[str, str]]) -> None:
    assert cut_clauses(text) == expected


def test_the_first_phrase_is_a_clause_and_later_ones_are_joined() -> None:
    clause = "a" * 30 + ","
    assert plan_phrases([clause] * 4) == [clause, f"{clause} {clause} {clause}"]
    assert plan_phrases(["nˈO,", clause, clause]) == [f"nˈO, {clause}", clause]
    ended = "b" * 30 + "."
    assert plan_phrases([ended, ended, ended]) == [ended, ended, ended]
    assert plan_phrases([ended, "jˈɛs."]) == [f"{ended} jˈɛs."]


@settings(deadline=None)
@given(st.lists(st.text("ab ˈ,.", min_size=1, max_size=900).map(str.strip).filter(bool)))
def test_no_phoneme_is_lost_and_no_phrase_is_too_long(clauses: list[str]) -> None:
    phrases = plan_phrases(clauses)
    assert "".join(phrases).replace(" ", "") == "".join(clauses).replace(" ", "")
    assert all(0 < len(phrase) <= MOST for phrase in phrases)


@settings(deadline=None)
@given(st.text(max_size=80))
def test_any_text_becomes_phonemes_of_the_vocabulary(text: str) -> None:
    for clause in Phonemizer().clauses(text, language_of("en")):
        assert set(clause) <= VOCABULARY.keys()
