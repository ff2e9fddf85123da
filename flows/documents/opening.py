"""Opens the documents that settings name, with the best embedder that is there."""

import logging
from pathlib import Path
from typing import Protocol

from flows.documents.embedders import Embedder, WordEmbedder
from flows.documents.index import DocumentIndex
from flows.documents.onnx_embedder import FILES, MODELS, EmbeddingModel, OnnxEmbedder

logger = logging.getLogger("flows")

AUTO = "auto"
WORDS = "words"
_UNKNOWN = EmbeddingModel("", "mean", 0.5)


class HasDocuments(Protocol):
    """Settings with documents: the flow server's or the worker's."""

    @property
    def documents(self) -> Path | None: ...
    @property
    def documents_model(self) -> str: ...
    @property
    def documents_index(self) -> Path: ...


def open_documents(settings: HasDocuments, models_dir: Path) -> DocumentIndex | None:
    """Open and read the documents; None where the settings name none. Blocks.

    Args:
        settings: Name the folder and the embedding model.
        models_dir: Where models are downloaded to, each in a folder of its name.

    Raises:
        DocumentsError: The folder is not there, or its index can't be opened.
        EmbedderError: The embedding model can't be used.
    """
    if settings.documents is None:
        return None
    embedder = choose_embedder(settings.documents_model, models_dir)
    index = DocumentIndex(
        settings.documents.expanduser(), embedder, settings.documents_index.expanduser()
    )
    read = index.refresh()
    logger.info(
        "documents: %d passages, %d files read now, found by %s", len(index), read, embedder.name
    )
    return index


def choose_embedder(name: str, models_dir: Path) -> Embedder:
    """The embedder of a name, of a folder, or for "auto" the first model that was downloaded.

    Raises:
        EmbedderError: The named model can't be used.
    """
    if name == AUTO:
        there = [known for known in MODELS if _is_there(models_dir.expanduser() / known)]
        name = there[0] if there else WORDS
    if name == WORDS:
        return WordEmbedder()
    if name in MODELS:
        return OnnxEmbedder(models_dir.expanduser() / name, MODELS[name])
    folder = Path(name).expanduser()
    return OnnxEmbedder(folder, MODELS.get(folder.name, _UNKNOWN))


def _is_there(folder: Path) -> bool:
    return all((folder / file).is_file() for file in FILES)
