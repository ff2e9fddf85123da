"""A Qdrant server for tests: its REST over HTTP, and behind that the client's own local Qdrant.

What a search finds is so decided by code of Qdrant's authors, and what goes over the wire is what
their client sends; only the routing between the two is ours.
"""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from pydantic import BaseModel
from qdrant_client import QdrantClient, models


class FakeQdrantServer:
    """Listens on loopback from `with` to its end.

    Attributes:
        api_key: What clients must send, if any.
        requests: Method and path of what came.
    """

    def __init__(self, *, api_key: str | None = None) -> None:
        self.api_key = api_key
        self.requests: list[str] = []
        self._local = QdrantClient(":memory:")
        self._lock = threading.Lock()
        handler = type("Handler", (_Handler,), {"qdrant": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> FakeQdrantServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._local.close()

    def stop(self) -> None:
        """Listen no more; safe to call twice."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()

    def answer(self, method: str, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        """Do what a request asks for: the status, and the result."""
        name, _, what = path.split("?")[0].removeprefix("/collections/").partition("/")
        with self._lock:
            self.requests.append(f"{method} {what}")
            there = self._local.collection_exists(name)
            match method, what:
                case "GET", "exists":
                    return 200, {"exists": there}
                case "PUT", "":
                    if there:
                        return 409, None
                    vectors = models.VectorParams(**body["vectors"])
                    return 200, self._local.create_collection(name, vectors_config=vectors)
            if not there:
                return 404, None
            which = models.Filter(**(body.get("filter") or {}))
            match method, what:
                case "PUT", "index":
                    return 200, self._local.create_payload_index(
                        name, body["field_name"], body["field_schema"]
                    )
                case "PUT", "points":
                    points = [models.PointStruct(**point) for point in body["points"]]
                    return 200, self._local.upsert(name, points)
                case "POST", "points/delete":
                    return 200, self._local.delete(name, models.FilterSelector(filter=which))
                case "POST", "points/count":
                    return 200, self._local.count(name, which)
                case "POST", "points/query":
                    return 200, self._local.query_points(
                        name,
                        query=body["query"]["nearest"],
                        query_filter=which,
                        limit=body["limit"],
                        score_threshold=body["score_threshold"],
                    )
                case "POST", "points/scroll":
                    found, offset = self._local.scroll(
                        name, which, limit=body["limit"], offset=body.get("offset")
                    )
                    return 200, {"points": found, "next_page_offset": offset}
        return 404, None


class _Handler(BaseHTTPRequestHandler):
    qdrant: FakeQdrantServer
    protocol_version = "HTTP/1.1"

    def _serve(self) -> None:
        sent = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        key = self.qdrant.api_key
        if key is not None and self.headers.get("api-key") != key:
            status, result = 401, None
        else:
            status, result = self.qdrant.answer(
                self.command, self.path, json.loads(sent) if sent else {}
            )
        said = "ok" if status == 200 else {"error": "no"}
        raw = json.dumps({"result": result, "status": said, "time": 0.0}, default=_plain).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    do_GET = do_PUT = do_POST = _serve  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def _plain(value: object) -> object:
    assert isinstance(value, BaseModel), value
    return value.model_dump(mode="json")
