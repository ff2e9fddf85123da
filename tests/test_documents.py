"""Answers from a folder of documents."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from langchain_core.messages import HumanMessage
from livekit.agents import llm
from qdrant_client import QdrantClient

from agent_worker.commands.checks.documents import try_documents
from agent_worker.engines.build import EngineError, build_engines
from agent_worker.engines.call_flow import flow_for_call
from agent_worker.engines.choice import choose
from agent_worker.engines.closing import close_shared
from agent_worker.engines.inventory import Found
from agent_worker.engines.languages import languages
from agent_worker.settings import Settings, load_settings
from flows.documents.embedders import Embedder, WordEmbedder
from flows.documents.index import DocumentIndex
from flows.documents.onnx_embedder import EmbedderError, EmbeddingModel, OnnxEmbedder
from flows.documents.opening import choose_embedder, open_documents, open_store
from flows.documents.qdrant_store import QdrantStore
from flows.documents.reading import PASSAGE_LENGTH, Passage, best_sentence, files_in, passages_of
from flows.documents.stores import DocumentsError, PassageStore
from flows.documents.tool import document_tools
from flows.model import ModelOptions, chat_model
from tests.fake_openai_server import FakeOpenAIServer, Reply, ToolCall
from tests.fake_qdrant_server import FakeQdrantServer
from tests.tiny_embedder import write_tiny_embedder
from tests.voices_at_hand import ESPEAK

# Qdrant says so of its local mode, which these tests run on; a server has them.
pytestmark = pytest.mark.filterwarnings("ignore:Payload indexes have no effect:UserWarning")

RETURNS = """# Returns and refunds

You may return any item within thirty days. The refund comes in five working days.

## Exceptions

- Opened food is not taken back.
- Gift cards are final.
"""
PARKING = """<html><head><title>Getting here &amp; parking</title><style>p{}</style></head>
<body><p>Parking is free after six in the evening.</p><script>alert("no")</script>
<p>Bus line nine stops at the door.</p></body></html>"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two documents."""
    docs = tmp_path / "docs"
    (docs / "visit").mkdir(parents=True)
    (docs / "returns.md").write_text(RETURNS)
    (docs / "visit" / "parking.html").write_text(PARKING)
    return docs


OpenStore = Callable[[Path, Embedder], PassageStore]
"""Opens the store of a test again and again: what is in it stays."""


@pytest.fixture(params=["sqlite", "qdrant in a file", "qdrant by url"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[OpenStore]:
    """Each place that passages are kept in."""

    def key(folder: Path) -> str:
        return str(folder.resolve())

    match request.param:
        case "sqlite":
            file = str(tmp_path / "index" / "documents.sqlite3")
            yield lambda folder, made: open_store(file, folder=key(folder), embedder=made)
        case "qdrant in a file":
            path = str(tmp_path / "qdrant")
            yield lambda folder, made: QdrantStore(
                QdrantClient(path=path),
                key(folder),
                made.name,
                made.question("x").shape[0],
                place=path,
            )
        case _:
            with FakeQdrantServer(api_key="key") as server:
                yield lambda folder, made: open_store(
                    server.url, folder=key(folder), embedder=made, key="key"
                )


def found(index: DocumentIndex, question: str) -> list[str]:
    return [one.passage.title for one in index.search(question)]


def test_a_document_has_a_title_that_can_be_said(folder: Path, tmp_path: Path) -> None:
    passages = passages_of(folder / "returns.md")
    assert [passage.title for passage in passages] == ["Returns and refunds"] * 2
    assert passages[1].text == ("Exceptions: Opened food is not taken back. Gift cards are final.")
    (page,) = passages_of(folder / "visit" / "parking.html")
    assert page.title == "Getting here & parking"
    assert page.text == "Parking is free after six in the evening. Bus line nine stops at the door."
    plain = tmp_path / "opening_hours-2026.txt"
    plain.write_text("We open at nine.")
    assert passages_of(plain)[0].title == "Opening hours 2026"


def test_a_long_document_is_cut_between_sentences_and_nothing_is_lost(tmp_path: Path) -> None:
    words = [f"word{number}" for number in range(2000)]
    sentences = [" ".join(words[i : i + 9]) + "." for i in range(0, len(words), 9)]
    file = tmp_path / "long.txt"
    file.write_text(" ".join(sentences) + "\n\n" + "x" * (3 * PASSAGE_LENGTH))
    passages = passages_of(file)
    assert all(len(passage.text) <= PASSAGE_LENGTH for passage in passages)
    assert "".join(passage.text for passage in passages).count("x") == 3 * PASSAGE_LENGTH
    text = " ".join(passage.text for passage in passages)
    assert all(word in text for word in words)
    assert all(passage.text.endswith((".", "x")) for passage in passages)


def test_hidden_files_and_links_out_of_the_folder_are_left_out(
    folder: Path, tmp_path: Path
) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("The code is xyzzy.")
    (folder / "link.txt").symlink_to(secret)
    (folder / ".hidden.txt").write_text("no")
    (folder / "picture.png").write_bytes(b"no")
    assert [path.name for path in files_in(folder)] == ["returns.md", "parking.html"]


def test_the_passage_that_answers_is_found_and_nothing_where_none_does(
    folder: Path, store: OpenStore
) -> None:
    index = DocumentIndex(folder, WordEmbedder(), store(folder, WordEmbedder()))
    assert found(index, "When is parking free?") == ["Getting here & parking"]
    assert found(index, "within how many days can I return an item")[0] == "Returns and refunds"
    assert found(index, "who won the world cup") == []
    assert found(index, "") == []
    assert len(index) == 3
    index.close()


def test_what_changes_in_the_folder_is_read_again_and_only_that(
    folder: Path, store: OpenStore
) -> None:
    now = [0.0]
    (folder / "empty.txt").write_text("")
    index = DocumentIndex(
        folder, WordEmbedder(), store(folder, WordEmbedder()), clock=lambda: now[0]
    )
    assert index.refresh() == 3
    (folder / "returns.md").write_text("# Lost keys\n\nLost keys are at the desk.")
    assert found(index, "lost keys") == []
    now[0] = 31.0
    assert found(index, "lost keys") == ["Lost keys"]
    assert found(index, "gift cards") == []
    (folder / "visit" / "parking.html").unlink()
    now[0] = 62.0
    assert found(index, "free parking") == []
    assert len(index) == 1
    index.close()
    # saved again, as a copy to another machine is: nothing of it has changed
    (folder / "returns.md").touch()
    again = DocumentIndex(folder, WordEmbedder(), store(folder, WordEmbedder()))
    assert again.refresh() == 0
    assert found(again, "lost keys") == ["Lost keys"]
    again.close()


def test_two_folders_in_one_place_do_not_answer_for_each_other(
    folder: Path, tmp_path: Path, store: OpenStore
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "returns.md").write_text("# Dogs\n\nDogs are welcome.")
    words = WordEmbedder()
    for place, title in ((folder, "Returns and refunds"), (other, "Dogs"), (folder, None)):
        index = DocumentIndex(place, words, store(place, words))
        assert index.refresh() == (0 if title is None else len(list(files_in(place))))
        assert (found(index, "are dogs welcome") == ["Dogs"]) == (place == other)
        assert (found(index, "gift cards") == []) == (place == other)
        index.close()


def test_more_documents_than_a_page_are_all_known_again(
    folder: Path, store: OpenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.documents.qdrant_store._PAGE", 3)
    monkeypatch.setattr("flows.documents.qdrant_store._UPLOAD", 2)
    for number in range(8):
        (folder / f"{number}.txt").write_text(f"Room{number} is on floor{number}.")
    (folder / "9.txt").write_text("\n\n".join(f"room9{place} " * 90 for place in range(7)))
    words = WordEmbedder()
    for read in (11, 0):
        index = DocumentIndex(folder, words, store(folder, words))
        assert index.refresh() == read
        assert found(index, "where is room7") == ["7"]
        assert all(found(index, f"where is room9{place}") == ["9"] for place in range(7))
        index.close()


def test_a_document_that_can_no_longer_be_read_is_kept_as_it_was(
    folder: Path, store: OpenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = WordEmbedder()
    index = DocumentIndex(folder, words, store(folder, words))
    assert index.refresh() == 2
    (folder / "returns.md").write_text("# New\n\nNew.")

    def refused(path: Path) -> list[Passage]:
        raise PermissionError(path)

    monkeypatch.setattr("flows.documents.index.passages_of", refused)
    assert index.refresh() == 0
    assert found(index, "gift cards") == ["Returns and refunds"]
    index.close()


def test_a_qdrant_server_that_is_away_or_refuses_is_told_with_what_to_do(
    folder: Path, tmp_path: Path
) -> None:
    with FakeQdrantServer(api_key="right") as server:
        url = server.url
        settings = settings_in(tmp_path, folder, documents_index=url, documents_index_key="wrong")
        with pytest.raises(DocumentsError, match="refuses the key: set documents_index_key"):
            open_documents(settings, tmp_path)
        settings = settings_in(tmp_path, folder, documents_index=url, documents_index_key="right")
        index = open_documents(settings, tmp_path)
        assert index is not None
        assert found(index, "gift cards") == ["Returns and refunds"]
        index.close()
    with pytest.raises(DocumentsError, match=r"does not answer: start it, or set documents_index"):
        open_documents(settings, tmp_path)
    for url in ("http://", "http://qdrant:port"):
        settings = settings_in(tmp_path, folder, documents_index=url)
        with pytest.raises(DocumentsError, match="is no address of a Qdrant server"):
            open_documents(settings, tmp_path)


async def test_doctor_opens_the_documents_as_a_call_would(folder: Path, tmp_path: Path) -> None:
    settings = settings_in(tmp_path, folder)
    (good,) = await try_documents(settings)
    assert (good.state, good.text) == ("ok", "3 passages, found by words-1")
    (away,) = await try_documents(
        settings_in(tmp_path, folder, documents_index="http://127.0.0.1:1")
    )
    assert away.state == "broken"
    assert "does not answer" in away.text
    (tmp_path / "bare").mkdir()
    (bare,) = await try_documents(settings_in(tmp_path, tmp_path / "bare"))
    assert bare.state == "doubtful"


def test_qdrant_without_its_extra_names_the_command(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "qdrant_client", None)
    settings = settings_in(tmp_path, folder, documents_index="http://127.0.0.1:6333")
    with pytest.raises(DocumentsError, match=r"pip install \"livekit-agent-worker\[qdrant\]\""):
        open_documents(settings, tmp_path)


async def test_a_qdrant_that_goes_away_in_a_call_costs_one_answer(
    folder: Path, tmp_path: Path
) -> None:
    with FakeQdrantServer() as server:
        settings = settings_in(tmp_path, folder, documents_index=server.url)
        index = open_documents(settings, tmp_path)
        assert index is not None
        (tool,) = document_tools(index)
        assert json.loads(await tool.ainvoke({"question": "gift cards"}))["found"]
        server.stop()
        said = json.loads(await tool.ainvoke({"question": "gift cards"}))
        index.close()
    assert said == {"error": "I can't look into the documents right now."}


def test_a_model_finds_by_meaning_what_words_do_not(folder: Path, tmp_path: Path) -> None:
    (folder / "returns.md").write_text("# Returns\n\nmoney")
    (folder / "visit" / "parking.html").write_text("<title>Visit</title><p>parking</p>")
    model = EmbeddingModel("", "mean", 0.5)
    embedder = OnnxEmbedder(write_tiny_embedder(tmp_path / "tiny"), model)
    index = DocumentIndex(folder, embedder)
    assert found(index, "refund") == ["Returns"]
    assert found(index, "parking") == ["Visit"]
    rows = embedder.passages(["refund", "money money", "parking unheard"])
    assert np.allclose(np.linalg.norm(rows, axis=1), 1.0)
    assert rows[0] @ rows[1] == pytest.approx(1.0)
    assert rows[0] @ rows[2] == pytest.approx(0.0)
    index.close()
    words = DocumentIndex(folder, WordEmbedder())
    assert found(words, "refund") == []
    words.close()


def folder_of_nothing(tmp_path: Path) -> Path:
    (tmp_path / "nothing").mkdir()
    return tmp_path / "nothing"


def test_the_best_embedder_that_is_there_is_chosen(tmp_path: Path) -> None:
    assert choose_embedder("auto", tmp_path).name == "words-1"
    write_tiny_embedder(tmp_path / "bge-m3")
    # a model without its weights was not downloaded whole
    assert choose_embedder("auto", tmp_path).name == "words-1"
    (tmp_path / "bge-m3" / "onnx").mkdir()
    (tmp_path / "bge-m3" / "model.onnx").rename(
        tmp_path / "bge-m3" / "onnx" / "model_quantized.onnx"
    )
    assert choose_embedder("auto", tmp_path).name.startswith("bge-m3-")
    with pytest.raises(EmbedderError, match=r"'multilingual-e5-small' is not here: .*download-fi"):
        choose_embedder("multilingual-e5-small", tmp_path)
    with pytest.raises(EmbedderError, match="can't be used"):
        choose_embedder(str(folder_of_nothing(tmp_path)), tmp_path)


def settings_in(tmp_path: Path, folder: Path, **more: object) -> Settings:
    return load_settings(
        **{
            "documents": folder,
            "documents_model": "words",
            "documents_index": str(tmp_path / "documents.sqlite3"),
            "database_url": "memory",
            **more,
        }
    )


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        ("when is parking free", "Getting here & parking says: Parking is free after six in the "
         "evening. Bus line nine stops at the door."),
        ("what about gift cards", "Returns and refunds says: Gift cards are final."),
        ("who won the world cup", "I don't know: the documents do not say."),
        ("what is one plus one", "One plus one is two."),
    ],
)  # fmt: skip
async def test_a_call_without_a_model_answers_from_the_documents_and_names_them(
    folder: Path, tmp_path: Path, said: str, answer: str
) -> None:
    flow = flow_for_call(settings_in(tmp_path, folder), "offline")
    try:
        state = await flow.graph.ainvoke(
            {"messages": [HumanMessage(said)]}, {"configurable": {"thread_id": "t"}}
        )
        assert state["messages"][-1].text == answer
    finally:
        await flow.aclose()
        close_shared()


async def test_a_model_gets_the_passages_with_their_titles_or_is_told_that_there_are_none(
    folder: Path, tmp_path: Path
) -> None:
    calls = [
        Reply(tool_calls=[ToolCall("search_documents", {"question": "When is parking free?"})]),
        Reply("As Getting here and parking says, after six."),
        Reply(tool_calls=[ToolCall("search_documents", {"question": "Who won the cup?"})]),
        Reply("I don't know."),
    ]
    async with FakeOpenAIServer(*calls) as server:
        model = chat_model(ModelOptions(server.base_url, server.model))
        flow = flow_for_call(settings_in(tmp_path, folder), "assistant", model=model)
        results = []
        for thread in ("a", "b"):
            state = await flow.graph.ainvoke(
                {"messages": [HumanMessage("?")]}, {"configurable": {"thread_id": thread}}
            )
            results.append(json.loads(state["messages"][2].text))
        await flow.aclose()
        await model.aclose()
        close_shared()
    assert results[0]["found"][0]["title"] == "Getting here & parking"
    assert "title" in results[0]["advice"]
    assert results[1]["found"] == []
    assert "do not know" in results[1]["advice"]


async def test_a_caller_hears_a_filler_while_the_documents_are_searched(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard_filler = threading.Event()
    quick = WordEmbedder.question

    def slow(self: WordEmbedder, text: str) -> Any:
        assert heard_filler.wait(30), "nothing was said while the search took its time"
        return quick(self, text)

    monkeypatch.setattr(WordEmbedder, "question", slow)
    settings = settings_in(tmp_path, folder, llm="offline", tts="espeak", stt="bundled")
    engines = build_engines(settings, choose(settings, Found(voices=ESPEAK)))
    asked = llm.ChatContext.empty()
    asked.add_message(role="user", content="when is parking free")
    said: list[str] = []
    try:
        async with engines.llm.chat(chat_ctx=asked) as answer:
            async for chunk in answer:
                if chunk.delta is not None and chunk.delta.content:
                    said.append(chunk.delta.content)
                    heard_filler.set()
    finally:
        heard_filler.set()
        await engines.aclose()
        close_shared()
    text = "".join(said)
    assert said[0].strip() in languages()["en"].fillers
    assert text.endswith(
        "Parking is free after six in the evening. Bus line nine stops at the door."
    )


async def test_an_index_that_breaks_costs_one_answer_and_not_the_turn(folder: Path) -> None:
    index = DocumentIndex(folder, WordEmbedder())
    index.close()
    (tool,) = document_tools(index)
    said = json.loads(await tool.ainvoke({"question": "parking"}))
    assert said == {"error": "I can't look into the documents right now."}


def test_a_folder_that_is_not_there_is_named_before_the_first_call(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, tmp_path / "none", llm="offline", tts="espeak", stt="bundled")
    with pytest.raises(EngineError, match=r"thinking: The documents' folder .*none is not there"):
        build_engines(settings, choose(settings, Found(voices=ESPEAK)))


def test_a_sentence_is_chosen_by_the_words_of_the_question() -> None:
    hours = "We open at nine in the morning on every working day of the week."
    text = f"{hours} Dogs are welcome. Cats too."
    assert best_sentence(text, "may I bring my dog") == "Dogs are welcome. Cats too."
    assert (
        best_sentence("猫可以进来。我们九点开门，欢迎光临。", "几点开门")
        == "我们九点开门，欢迎光临。"
    )
    assert best_sentence("", "x") == ""
