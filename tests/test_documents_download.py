"""The embedding model of the documents: fetched from a hub on loopback, checked, and used."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from agent_worker.commands.download import DownloadError, download_files
from agent_worker.settings import Settings, load_settings
from flows.documents.index import DocumentIndex
from flows.documents.onnx_embedder import EmbedderError
from flows.documents.opening import choose_embedder
from tests.fake_model_hub import ModelHub
from tests.tiny_embedder import write_tiny_embedder

E5 = "Xenova/multilingual-e5-small"
WEIGHTS = "model_quantized.onnx"


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[ModelHub]:
    made = write_tiny_embedder(tmp_path / "made")
    served = ModelHub(
        {
            f"{E5}/tokenizer.json": (made / "tokenizer.json").read_bytes(),
            f"{E5}/onnx/{WEIGHTS}": (made / "model.onnx").read_bytes(),
        }
    )
    yield served
    served.close()


@pytest.fixture
def settings(tmp_path: Path, hub: ModelHub) -> Settings:
    folder = tmp_path / "handbook"
    folder.mkdir()
    (folder / "returns.md").write_text("# Returns\n\nmoney")
    return load_settings(
        cache_dir=tmp_path / "cache",
        model_hub=hub.url,
        documents=folder,
        stt="bundled",
        llm="offline",
        tts="espeak",
    )


def downloaded(settings: Settings) -> list[str]:
    said: list[str] = []
    download_files(settings, say=said.append, told=lambda done, total, name: None)
    return [line for line in said if line.startswith("documents")]


def chosen(settings: Settings) -> str:
    return choose_embedder(settings.documents_model, settings.embeddings_dir()).name


def test_what_was_downloaded_finds_by_meaning_from_then_on(
    settings: Settings, hub: ModelHub
) -> None:
    assert chosen(settings) == "words-1"
    assert downloaded(settings) == ["documents: multilingual-e5-small …"]
    assert chosen(settings).startswith("multilingual-e5-small-")
    assert settings.documents is not None
    embedder = choose_embedder("auto", settings.embeddings_dir())
    index = DocumentIndex(settings.documents, embedder)
    assert [one.passage.title for one in index.search("refund")] == ["Returns"]
    index.close()
    hub.requests.clear()
    downloaded(settings)
    assert hub.ranges(WEIGHTS) == []


def test_weights_that_break_off_are_fetched_on_from_there(
    settings: Settings, hub: ModelHub
) -> None:
    hub.cut_after = [200]
    downloaded(settings)
    assert hub.ranges(WEIGHTS) == [None, "bytes=200-"]
    assert chosen(settings).startswith("multilingual-e5-small-")


def test_weights_of_the_wrong_sum_are_thrown_away(settings: Settings, hub: ModelHub) -> None:
    hub.content[WEIGHTS] = hub.files[f"{E5}/onnx/{WEIGHTS}"][::-1]
    with pytest.raises(DownloadError, match=r"multilingual-e5-small: .* wrong sum"):
        downloaded(settings)
    assert chosen(settings) == "words-1"


def test_without_a_hub_words_do_and_a_named_model_says_how_it_is_had(
    settings: Settings, hub: ModelHub
) -> None:
    hub.close()
    with pytest.raises(DownloadError, match=rf"^multilingual-e5-small: {hub.url} can't be reached"):
        downloaded(settings)
    assert chosen(settings) == "words-1"
    named = settings.model_copy(update={"documents_model": "bge-m3"})
    with pytest.raises(EmbedderError, match=r"'bge-m3' is not here: .*download-files.*words"):
        chosen(named)
