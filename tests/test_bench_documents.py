"""The questions by which it is measured how well documents are found."""

from __future__ import annotations

import pytest

from bench.documents import FOLDER, measure, plain, questions, rank
from flows.documents.embedders import WordEmbedder
from flows.documents.index import DocumentIndex
from flows.documents.reading import passages_of


def test_each_answer_stands_in_one_passage_of_its_document() -> None:
    kinds, _ = questions()
    for one in (*kinds["close"], *kinds["far"]):
        passages = [passage.text for passage in passages_of(FOLDER / one.file)]
        assert rank(passages, one.answer) is not None, one


@pytest.mark.parametrize(
    ("passages", "place"),
    [
        (["It costs two.", "It is **free** after\nsix."], 2),
        (["`It is free after six`", "It is free after six"], 1),
        (["It is free."], None),
        ([], None),
    ],
)
def test_a_question_is_found_where_its_answer_stands(
    passages: list[str], place: int | None
) -> None:
    assert rank(passages, plain("It is free after six")) == place


def test_words_find_what_is_asked_in_the_documents_own_and_nothing_for_what_is_not_there() -> None:
    index = DocumentIndex(FOLDER, WordEmbedder())
    try:
        figures = measure(index)
    finally:
        index.close()
    close = figures["close"]
    assert close["found_at_1"] <= close["found_at_3"] <= close["questions"]
    assert close["found_at_3"] > close["questions"] / 2
    assert figures["none"]["something_found"] < figures["none"]["questions"] / 2
