"""How well the flows find what answers a question in a folder of documents.

    uv run python -m bench.documents [--model words] [--folder docs] [--json FILE]

The questions are `data/document_questions.toml`, over this repository's docs/. A question counts as
found at k where one of the first k passages holds the answer; the threshold under which nothing
is found is the product's. `--model` takes what `documents_model` takes; `words` needs no download.
"""

from __future__ import annotations

import argparse
import datetime
import json
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent_worker.settings import load_settings
from flows.documents.index import DocumentIndex
from flows.documents.opening import choose_embedder

from .machine import machine

QUESTIONS = Path(__file__).parent / "data/document_questions.toml"
FOLDER = Path(__file__).parents[1] / "docs"
_FIRST = 3
"""Passages that a flow is given."""


@dataclass(frozen=True)
class Question:
    """A question, and by what its answer is known."""

    text: str
    answer: str
    file: str


def questions() -> tuple[dict[str, list[Question]], list[str]]:
    """Those with an answer, by how near their words are to the document's; and those without."""
    data = tomllib.loads(QUESTIONS.read_text(encoding="utf-8"))
    kinds = {
        kind: [Question(one["question"], one["answer"], one["file"]) for one in data[kind]]
        for kind in ("close", "far")
    }
    return kinds, data["none"]


def plain(text: str) -> str:
    """Without what white space and markup differ in."""
    return " ".join(text.replace("`", "").replace("*", "").split()).casefold()


def rank(passages: Sequence[str], answer: str) -> int | None:
    """The place of the first passage that holds the answer, from 1; None where none does."""
    wanted = plain(answer)
    places = (at for at, passage in enumerate(passages, 1) if wanted in plain(passage))
    return next(places, None)


def measure(index: DocumentIndex) -> dict[str, Any]:
    """Asks every question."""
    kinds, unanswerable = questions()
    found: dict[str, Any] = {}
    for kind, asked in kinds.items():
        ranks = [rank(_passages(index, one.text), one.answer) for one in asked]
        found[kind] = {
            "questions": len(asked),
            "found_at_1": sum(place == 1 for place in ranks),
            "found_at_3": sum(place is not None for place in ranks),
            "missed": [one.text for one, at in zip(asked, ranks, strict=True) if at is None],
        }
    told = [text for text in unanswerable if _passages(index, text)]
    found["none"] = {"questions": len(unanswerable), "something_found": len(told), "for": told}
    return found


def _passages(index: DocumentIndex, question: str) -> list[str]:
    found = index.search(question, _FIRST)
    return [f"{one.passage.title}. {one.passage.text}" for one in found]


def main() -> None:
    """Prints a table, and the whole as JSON where a file is named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="words")
    parser.add_argument("--folder", type=Path, default=FOLDER)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    embedder = choose_embedder(options.model, load_settings().embeddings_dir())
    index = DocumentIndex(options.folder, embedder)
    try:
        read = index.refresh()
        figures = measure(index)
        result = {
            "date": datetime.date.today().isoformat(),
            **machine(),
            "embedder": embedder.name,
            "documents": read,
            "passages": len(index),
            **figures,
        }
    finally:
        index.close()
    print(f"{embedder.name}: {read} documents, {result['passages']} passages")
    for kind in ("close", "far"):
        row = figures[kind]
        first, third, asked = row["found_at_1"], row["found_at_3"], row["questions"]
        print(f"{kind:6} first {first} of {asked}, first three {third} of {asked}")
    none = figures["none"]
    print(f"none   something found for {none['something_found']} of {none['questions']}")
    if options.json is not None:
        options.json.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
