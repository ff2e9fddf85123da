"""The passages of a folder: read again where a file changed, searched by a question."""

import hashlib
import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

from .embedders import Embedder
from .reading import files_in, passages_of
from .sqlite_store import SqliteStore
from .stores import DocumentsError, Found, PassageStore

logger = logging.getLogger("flows")

_LOOK_EVERY_S = 30.0


class DocumentIndex:
    """The documents of one folder. For all threads; every method blocks.

    Args:
        folder: With the documents.
        embedder: Makes the vectors.
        store: Keeps them, and is closed with the index; SQLite in memory if None.
        clock: Seconds, monotonic.

    Raises:
        DocumentsError: There is no such folder.
    """

    def __init__(
        self,
        folder: Path,
        embedder: Embedder,
        store: PassageStore | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not folder.is_dir():
            raise DocumentsError(f"The documents' folder {folder} is not there")
        self._folder = folder
        self._embedder = embedder
        self._store = store or SqliteStore(str(folder.resolve()), embedder.name)
        self._clock = clock
        self._lock = threading.Lock()
        self._looked_at: float | None = None
        # By path: when and how long a file was when its stamp was made, and the stamp.
        self._stamps: dict[str, tuple[tuple[int, int], str]] = {}

    @property
    def embedder(self) -> Embedder:
        """What makes the vectors."""
        return self._embedder

    def __len__(self) -> int:
        return self._store.count()

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
        due = self._looked_at is None or self._clock() - self._looked_at >= _LOOK_EVERY_S
        # A caller does not wait for what another one's question has read; the first one must.
        if due and self._lock.acquire(blocking=self._looked_at is None):
            try:
                self._refresh()
            finally:
                self._lock.release()
        vector = self._embedder.question(question)
        return self._store.nearest(vector, limit, self._embedder.enough)

    def close(self) -> None:
        """Close what keeps the passages; safe to call twice."""
        self._store.close()

    def _refresh(self) -> int:
        self._looked_at = self._clock()
        there: set[str] = set()
        read = 0
        known = self._store.stamps()
        for file in files_in(self._folder):
            path = str(file.relative_to(self._folder))
            there.add(path)
            try:
                stamp = self._stamp(file, path)
                passages = None if known.get(path) == stamp else passages_of(file)
            except OSError as e:
                logger.warning("a document can't be read", extra={"fault": type(e).__name__})
                continue
            if passages is not None:
                # The title tells what the whole is about; a passage from the middle may not.
                texts = [f"{passage.title}. {passage.text}" for passage in passages]
                self._store.put(path, stamp, passages, self._embedder.passages(texts))
                read += 1
        for path in known:
            if path not in there:
                self._store.forget(path)
        return read

    def _stamp(self, file: Path, path: str) -> str:
        # Of what is in it: a store may be shared by machines whose copies are of different hours.
        status = file.stat()
        age = (status.st_mtime_ns, status.st_size)
        seen = self._stamps.get(path)
        if seen is None or seen[0] != age:
            with file.open("rb") as opened:
                seen = (age, hashlib.file_digest(opened, "sha256").hexdigest())
            self._stamps[path] = seen
        return seen[1]
