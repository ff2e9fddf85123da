"""Passages in a SQLite file, searched in memory.

Every vector is compared with the question's: for the thousands of passages of a company's handbook
that takes about a millisecond, and no index can miss the right one.
"""

import sqlite3
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from .embedders import Vectors
from .reading import Passage
from .stores import DocumentsError, Found

_SCHEMA = """
CREATE TABLE IF NOT EXISTS files (folder TEXT, embedder TEXT, path TEXT, stamp TEXT,
    PRIMARY KEY (folder, embedder, path));
CREATE TABLE IF NOT EXISTS passages (folder TEXT, embedder TEXT, path TEXT, place INTEGER,
    title TEXT, text TEXT, vector BLOB, PRIMARY KEY (folder, embedder, path, place));
"""


class SqliteStore:
    """See `PassageStore`.

    Args:
        folder: The documents' folder, which tells them from those of others in the same file.
        embedder: The name of what makes the vectors.
        database: The SQLite file; in memory if None.

    Raises:
        DocumentsError: The database can't be opened.
    """

    def __init__(self, folder: str, embedder: str, database: Path | None = None) -> None:
        self._key = (folder, embedder)
        self._lock = threading.RLock()
        # None until they are loaded, and again after each change.
        self._loaded: tuple[list[Passage], Vectors] | None = None
        try:
            if database is not None:
                database.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(
                database or ":memory:", check_same_thread=False, timeout=10
            )
            self._connection.executescript(_SCHEMA)
        except (sqlite3.Error, OSError) as e:
            raise DocumentsError(f"The documents' index {database} can't be opened: {e}") from e

    def stamps(self) -> Mapping[str, str]:
        with self._lock:
            rows = self._connection.execute(
                "SELECT path, stamp FROM files WHERE folder = ? AND embedder = ?", self._key
            )
            return dict(rows.fetchall())

    def put(self, path: str, stamp: str, passages: Sequence[Passage], vectors: Vectors) -> None:
        with self._lock, self._connection:
            self._delete(path)
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
            self._loaded = None

    def forget(self, path: str) -> None:
        with self._lock, self._connection:
            self._delete(path)
            self._loaded = None

    def nearest(self, question: Vectors, limit: int, enough: float) -> list[Found]:
        passages, vectors = self._load()
        if not passages:
            return []
        matches = vectors @ question
        best = np.argsort(-matches, kind="stable")[:limit]
        return [Found(passages[i], float(matches[i])) for i in best if matches[i] >= enough]

    def count(self) -> int:
        return len(self._load()[0])

    def close(self) -> None:
        with self._lock:
            self._connection.close()
            self._loaded = None

    def _delete(self, path: str) -> None:
        for table in ("files", "passages"):
            # The table's name is one of the two above.
            self._connection.execute(
                f"DELETE FROM {table} WHERE folder = ? AND embedder = ? AND path = ?",
                (*self._key, path),
            )

    def _load(self) -> tuple[list[Passage], Vectors]:
        with self._lock:
            if self._loaded is None:
                rows = self._connection.execute(
                    "SELECT title, text, vector FROM passages WHERE folder = ? AND embedder = ? "
                    "ORDER BY path, place",
                    self._key,
                ).fetchall()
                vectors = [np.frombuffer(vector, np.float32) for _, _, vector in rows]
                self._loaded = (
                    [Passage(title, text) for title, text, _ in rows],
                    np.stack(vectors) if vectors else np.zeros((0, 0), np.float32),
                )
            return self._loaded
