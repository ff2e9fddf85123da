"""The passages of a folder with their vectors: kept in SQLite, searched in memory.

Every vector is compared with the question's: for the thousands of passages of a company's handbook
that takes about a millisecond, and no index can miss the right one.
"""

import logging
import sqlite3
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from flows.documents.embedders import Embedder, Vectors
from flows.documents.reading import Passage, files_in, passages_of

logger = logging.getLogger("flows")

_SCHEMA = """
CREATE TABLE IF NOT EXISTS files (folder TEXT, embedder TEXT, path TEXT, stamp TEXT,
    PRIMARY KEY (folder, embedder, path));
CREATE TABLE IF NOT EXISTS passages (folder TEXT, embedder TEXT, path TEXT, place INTEGER,
    title TEXT, text TEXT, vector BLOB, PRIMARY KEY (folder, embedder, path, place));
"""
_LOOK_EVERY_S = 30.0


class DocumentsError(RuntimeError):
    """The documents can't be used; the message is one line of advice."""


@dataclass(frozen=True)
class Found:
    """A passage that may answer a question."""

    passage: Passage
    match: float
    """The dot product of its vector with the question's."""


class DocumentIndex:
    """The documents of one folder. For all threads; every method blocks.

    Args:
        folder: With the documents.
        database: The SQLite file; in memory if None.
        embedder: Makes the vectors.
        clock: Seconds, monotonic.

    Raises:
        DocumentsError: There is no such folder, or the database can't be opened.
    """

    def __init__(
        self,
        folder: Path,
        embedder: Embedder,
        database: Path | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not folder.is_dir():
            raise DocumentsError(f"The documents' folder {folder} is not there")
        self._folder = folder
        self._embedder = embedder
        self._clock = clock
        self._lock = threading.Lock()
        self._looked_at: float | None = None
        self._passages: list[Passage] = []
        self._vectors: Vectors = np.zeros((0, 0), np.float32)
        try:
            if database is not None:
                database.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(
                database or ":memory:", check_same_thread=False, timeout=10
            )
            self._connection.executescript(_SCHEMA)
        except (sqlite3.Error, OSError) as fault:
            raise DocumentsError(
                f"The documents' index {database} can't be opened: {fault}"
            ) from fault

    @property
    def embedder(self) -> Embedder:
        """What makes the vectors."""
        return self._embedder

    def __len__(self) -> int:
        return len(self._passages)

    def refresh(self) -> int:
        """Read what is new or changed in the folder, and forget what is gone.

        Returns:
            How many files were read.
        """
        with self._lock:
            return self._refresh()

    def search(self, question: str, limit: int = 3) -> list[Found]:
        """The passages that match best, the best first; none that don't match well enough.

        The folder is looked at again first, where that was a while ago.
        """
        with self._lock:
            if self._looked_at is None or self._clock() - self._looked_at >= _LOOK_EVERY_S:
                self._refresh()
            passages, vectors = self._passages, self._vectors
        if not passages:
            return []
        matches = vectors @ self._embedder.question(question)
        best = np.argsort(-matches, kind="stable")[:limit]
        return [
            Found(passages[i], float(matches[i]))
            for i in best
            if matches[i] >= self._embedder.enough
        ]

    def close(self) -> None:
        """Close the database; safe to call twice."""
        with self._lock:
            self._connection.close()

    @property
    def _key(self) -> tuple[str, str]:
        return str(self._folder.resolve()), self._embedder.name

    def _refresh(self) -> int:
        self._looked_at = self._clock()
        stamps: dict[str, str] = {}
        for file in files_in(self._folder):
            status = file.stat()
            stamps[str(file.relative_to(self._folder))] = f"{status.st_mtime_ns}:{status.st_size}"
        rows = self._connection.execute(
            "SELECT path, stamp FROM files WHERE folder = ? AND embedder = ?", self._key
        )
        known: dict[str, str] = dict(rows.fetchall())
        changed = [path for path, stamp in stamps.items() if known.get(path) != stamp]
        gone = [path for path in known if path not in stamps]
        for path in changed:
            self._read(path, stamps[path])
        with self._connection:
            for path in gone:
                self._forget(path)
        if changed or gone or (stamps and not self._passages):
            self._load()
        return len(changed)

    def _read(self, path: str, stamp: str) -> None:
        try:
            passages = passages_of(self._folder / path)
        except OSError as fault:
            logger.warning("a document can't be read", extra={"fault": type(fault).__name__})
            return
        # The title tells what the whole is about, which a passage from its middle may not.
        texts = [f"{passage.title}. {passage.text}" for passage in passages]
        vectors = self._embedder.passages(texts)
        with self._connection:
            self._forget(path)
            self._connection.execute(
                "INSERT INTO files VALUES (?, ?, ?, ?)", (*self._key, path, stamp)
            )
            self._connection.executemany(
                "INSERT INTO passages VALUES (?, ?, ?, ?, ?, ?, ?)",
                [
                    (*self._key, path, place, passage.title, passage.text, vector.tobytes())
                    for place, (passage, vector) in enumerate(zip(passages, vectors, strict=True))
                ],
            )

    def _forget(self, path: str) -> None:
        for table in ("files", "passages"):
            # The table's name is one of the two above.
            self._connection.execute(
                f"DELETE FROM {table} WHERE folder = ? AND embedder = ? AND path = ?",
                (*self._key, path),
            )

    def _load(self) -> None:
        rows = self._connection.execute(
            "SELECT title, text, vector FROM passages WHERE folder = ? AND embedder = ? "
            "ORDER BY path, place",
            self._key,
        ).fetchall()
        self._passages = [Passage(title, text) for title, text, _ in rows]
        vectors = [np.frombuffer(vector, np.float32) for _, _, vector in rows]
        self._vectors = np.stack(vectors) if vectors else np.zeros((0, 0), np.float32)
