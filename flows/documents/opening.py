"""Opens the documents that settings name, with the best embedder that is there."""

import logging
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from pydantic import SecretStr

from flows.documents.embedders import Embedder, WordEmbedder
from flows.documents.index import DocumentIndex
from flows.documents.onnx_embedder import (
    FILES,
    MODELS,
    EmbedderError,
    EmbeddingModel,
    OnnxEmbedder,
)
from flows.documents.sqlite_store import SqliteStore
from flows.documents.stores import DocumentsError, PassageStore

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
    def documents_index(self) -> str: ...
    @property
    def documents_index_key(self) -> SecretStr | None: ...


def open_documents(settings: HasDocuments, models_dir: Path) -> DocumentIndex | None:
    """Open and read the documents; None where the settings name none. Blocks.

    Args:
        settings: Name the folder and the embedding model.
        models_dir: Where models are downloaded to, each in a folder of its name.

    Raises:
        DocumentsError: The folder is not there, or its index can't be opened or reached.
        EmbedderError: The embedding model can't be used.
    """
    if settings.documents is None:
        return None
    embedder = choose_embedder(settings.documents_model, models_dir)
    folder = settings.documents.expanduser()
    key = settings.documents_index_key
    store = open_store(
        settings.documents_index,
        folder=str(folder.resolve()),
        embedder=embedder,
        key=key.get_secret_value() if key else None,
    )
    try:
        index = DocumentIndex(folder, embedder, store)
    except DocumentsError:
        store.close()
        raise
    try:
        read = index.refresh()
        passages = len(index)
    except Exception as fault:
        index.close()
        if isinstance(fault, DocumentsError):
            raise
        # A full disk, a server that went away: what keeps them raises many kinds.
        reason = (str(fault).strip().splitlines() or [type(fault).__name__])[0]
        raise DocumentsError(f"The documents can't be read into their index: {reason}") from fault
    logger.info(
        "documents: %d passages, %d files read now, found by %s", passages, read, embedder.name
    )
    return index


def open_store(
    place: str, *, folder: str, embedder: Embedder, key: str | None = None
) -> PassageStore:
    """Where passages are kept: a SQLite file, or a Qdrant server by its URL. Blocks.

    Args:
        place: A path, or http(s)://HOST:PORT.
        folder: That the passages are of.
        embedder: That makes the vectors.
        key: Of the server.

    Raises:
        DocumentsError: It can't be opened or reached, or an extra is missing.
    """
    if not place.startswith(("http://", "https://")):
        return SqliteStore(folder, embedder.name, Path(place).expanduser())
    qdrant = _import_qdrant()
    size = embedder.question("how long is it").shape[0]
    client = qdrant.connect(place, key)
    store: PassageStore = qdrant.QdrantStore(client, folder, embedder.name, size, place=place)
    return store


def _import_qdrant() -> Any:
    # An extra: the module imports it.
    if find_spec("qdrant_client") is None:
        raise DocumentsError('Qdrant needs an extra: pip install "livekit-agent-worker[qdrant]"')
    return import_module("flows.documents.qdrant_store")


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
        if not _is_there(models_dir.expanduser() / name):
            raise EmbedderError(
                f"The embedding model {name!r} is not here: `agent-worker download-files` fetches "
                'it where the documents are set, documents_model = "words" needs none'
            )
        return OnnxEmbedder(models_dir.expanduser() / name, MODELS[name])
    folder = Path(name).expanduser()
    return OnnxEmbedder(folder, MODELS.get(folder.name, _UNKNOWN))


def _is_there(folder: Path) -> bool:
    return all((folder / file).is_file() for file in FILES)
