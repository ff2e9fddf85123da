"""Passages in a Qdrant server: for more of them than fit in memory, and shared by many workers.

One collection for each embedder and length of vector, in which the folder tells documents apart.
A file is a point without direction that holds its stamp; it is written after its passages, so a
file whose reading broke off is read again. Source: Qdrant's documentation (points, filtering).
"""

import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

from .embedders import Vectors
from .reading import Passage
from .stores import DocumentsError, Found

TIMEOUT_S = 5
"""Seconds for one request: a caller waits for it."""

_PAGE = 256
_UPLOAD = 64
_FILE, _PASSAGE = "file", "passage"
_REFUSED = (401, 403)
_EXISTS = 409
_IDS = uuid.UUID("5ad0d2c5-6a57-4a0c-9d5b-6c0e5d9f7a11")


def connect(url: str, api_key: str | None = None) -> QdrantClient:
    """A client of the server at `url`; it connects at its first request.

    Args:
        url: http://HOST:PORT; the port is 6333 if there is none.
        api_key: Of the server.

    Raises:
        DocumentsError: The address is none.
    """
    if not _has_host(url):
        raise DocumentsError(f"{url} is no address of a Qdrant server: http://HOST:PORT is")
    # As a header: given as a key, it is warned about on each plain connection, which the usual
    # one inside a compose network is.
    headers = {"api-key": api_key} if api_key else None
    return QdrantClient(
        url=url, headers=headers, timeout=TIMEOUT_S, check_compatibility=False, trust_env=False
    )


def _has_host(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and parts.port != 0
    except ValueError:
        # The port is no number.
        return False


class QdrantStore:
    """See `PassageStore`.

    Args:
        client: Of a server, which is closed with the store.
        folder: The documents' folder, which tells them from those of others in a collection.
        embedder: The name of what makes the vectors.
        size: Length of the vectors.
        place: The server's address, for what is said of faults.

    Raises:
        DocumentsError: The server can't be reached, or refuses.
    """

    def __init__(
        self, client: QdrantClient, folder: str, embedder: str, size: int, *, place: str
    ) -> None:
        self._client = client
        self._folder = folder
        self._size = size
        name = re.sub(r"[^A-Za-z0-9_-]+", "-", embedder)
        self.collection = f"agent-worker-documents-{name}-{size}"
        try:
            self._make_collection()
        except (ResponseHandlingException, UnexpectedResponse) as e:
            client.close()
            raise DocumentsError(_advice(e, place)) from e

    def stamps(self) -> Mapping[str, str]:
        return {
            payload["path"]: payload["stamp"]
            for payload in self._payloads(self._filter(kind=_FILE))
        }

    def put(self, path: str, stamp: str, passages: Sequence[Passage], vectors: Vectors) -> None:
        self.forget(path)
        points = [
            models.PointStruct(
                id=self._id(path, str(place)),
                vector=vector.tolist(),
                payload=self._payload(_PASSAGE, path, title=passage.title, text=passage.text),
            )
            for place, (passage, vector) in enumerate(zip(passages, vectors, strict=True))
        ]
        points.append(
            models.PointStruct(
                id=self._id(path, _FILE),
                vector=[0.0] * self._size,
                payload=self._payload(_FILE, path, stamp=stamp),
            )
        )
        for start in range(0, len(points), _UPLOAD):
            self._client.upsert(self.collection, points[start : start + _UPLOAD], wait=True)

    def forget(self, path: str) -> None:
        self._client.delete(
            self.collection, models.FilterSelector(filter=self._filter(path=path)), wait=True
        )

    def nearest(self, question: Vectors, limit: int, enough: float) -> list[Found]:
        if not np.any(question):
            return []
        answer = self._client.query_points(
            self.collection,
            query=question.tolist(),
            query_filter=self._filter(kind=_PASSAGE),
            limit=limit,
            score_threshold=enough,
        )
        found = []
        for point in answer.points:
            payload = point.payload or {}
            found.append(Found(Passage(payload["title"], payload["text"]), point.score))
        return found

    def count(self) -> int:
        return self._client.count(self.collection, self._filter(kind=_PASSAGE), exact=True).count

    def close(self) -> None:
        self._client.close()

    def _make_collection(self) -> None:
        if self._client.collection_exists(self.collection):
            return
        try:
            self._client.create_collection(
                self.collection,
                vectors_config=models.VectorParams(size=self._size, distance=models.Distance.DOT),
            )
        except UnexpectedResponse as e:
            # Several processes start at once.
            if e.status_code != _EXISTS:
                raise
        for field in ("folder", "kind", "path"):
            self._client.create_payload_index(
                self.collection, field, models.PayloadSchemaType.KEYWORD, wait=True
            )

    def _id(self, path: str, what: str) -> str:
        # The same for the same passage: who writes twice, or beside another, leaves one.
        return str(uuid.uuid5(_IDS, "\0".join((self._folder, path, what))))

    def _payload(self, kind: str, path: str, **more: str) -> dict[str, Any]:
        return {"folder": self._folder, "kind": kind, "path": path, **more}

    def _filter(self, **wanted: str) -> models.Filter:
        return models.Filter(
            must=[
                models.FieldCondition(key=key, match=models.MatchValue(value=value))
                for key, value in {"folder": self._folder, **wanted}.items()
            ]
        )

    def _payloads(self, which: models.Filter) -> Iterator[dict[str, Any]]:
        offset: Any = None
        while True:
            points, offset = self._client.scroll(
                self.collection, which, limit=_PAGE, offset=offset, with_payload=True
            )
            for point in points:
                yield point.payload or {}
            if offset is None:
                return


def _advice(fault: Exception, place: str) -> str:
    if isinstance(fault, UnexpectedResponse):
        if fault.status_code in _REFUSED:
            return f"Qdrant at {place} refuses the key: set documents_index_key"
        reason = f"{fault.status_code} {fault.reason_phrase}".strip()
        return f"What answers at {place} is no Qdrant, or a broken one: {reason}"
    return (
        f"Qdrant at {place} does not answer: start it, or set documents_index to a file "
        "to keep the passages in SQLite"
    )
