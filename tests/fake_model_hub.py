"""A model hub on loopback that speaks the real one's protocol, with faults on demand.

HEAD and GET of /OWNER/NAME/resolve/REVISION/FILE: a file of Git LFS is redirected to another host,
where its content is, with its SHA-256 as X-Linked-Etag; any other is answered with Git's SHA-1 as
ETag. Ranges are honoured; what is not there is told in X-Error-Code.
"""

from __future__ import annotations

import hashlib
import threading
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "a" * 40


class ModelHub:
    """Serves `files`, by OWNER/NAME/FILE."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files
        self.commits = {COMMIT}
        """Revisions that it knows, besides main."""
        self.requests: list[tuple[str, str, str | None]] = []
        """Method, file's name, range."""
        self.cut_after: list[int] = []
        """Bytes after which the next answers with content break off."""
        self.honours_ranges = True
        self.content: dict[str, bytes] = {}
        """By a file's name what comes instead of it."""
        self.statuses: list[int] = []
        """Answered first."""
        self.tells_sums = True
        self.gate = threading.Event()
        """Content waits for it after its first bytes."""
        self.gate.set()
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_HEAD(self) -> None:
                hub._answer(self)

            def do_GET(self) -> None:
                hub._answer(self)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        # redirects within a host are followed by the hub's client, and what was told is lost
        self._elsewhere = f"http://localhost:{self._server.server_address[1]}"
        self._thread = threading.Thread(
            target=partial(self._server.serve_forever, poll_interval=0.01), daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Stops serving. Safe to call twice."""
        self.gate.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def ranges(self, name: str) -> list[str | None]:
        """Of the requests for a file's content."""
        return [asked for method, file, asked in self.requests if (method, file) == ("GET", name)]

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        parts = request.path.strip("/").split("/")
        name = parts[-1]
        self.requests.append((request.command, name, request.headers.get("Range")))
        if self.statuses:
            self._refuse(request, self.statuses.pop(0))
        elif parts[0] == "content":
            self._give(request, "/".join(parts[1:]))
        elif len(parts) > 4 and parts[2] == "resolve":
            self._tell(request, "/".join(parts[:2]), parts[3], "/".join(parts[4:]))
        else:
            self._refuse(request, 404)

    def _tell(
        self, request: BaseHTTPRequestHandler, repository: str, revision: str, file: str
    ) -> None:
        path = f"{repository}/{file}"
        if not any(known.startswith(f"{repository}/") for known in self.files):
            return self._refuse(request, 404, "RepoNotFound")
        if revision != "main" and revision not in self.commits:
            return self._refuse(request, 404, "RevisionNotFound")
        if path not in self.files:
            return self._refuse(request, 404, "EntryNotFound")
        data = self.files[path]
        commit = COMMIT if revision == "main" else revision
        if not file.endswith((".bin", ".gguf", ".onnx")):
            etag = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
            headers = {"ETag": f'"{etag if self.tells_sums else "x"}"', "X-Repo-Commit": commit}
            return self._give(request, path, headers)
        request.send_response(302)
        etag = hashlib.sha256(data).hexdigest() if self.tells_sums else "opaque"
        request.send_header("X-Linked-Etag", f'"{etag}"')
        request.send_header("X-Linked-Size", str(len(data)))
        request.send_header("X-Repo-Commit", commit)
        request.send_header("Location", f"{self._elsewhere}/content/{path}")
        request.send_header("Content-Length", "0")
        request.end_headers()
        return None

    def _give(
        self, request: BaseHTTPRequestHandler, path: str, headers: dict[str, str] | None = None
    ) -> None:
        data = self.content.get(path.rpartition("/")[2], self.files[path])
        wanted, first = request.headers.get("Range"), 0
        if wanted and self.honours_ranges:
            first = int(wanted.removeprefix("bytes=").removesuffix("-"))
            request.send_response(206)
            request.send_header("Content-Range", f"bytes {first}-{len(data) - 1}/{len(data)}")
        else:
            request.send_response(200)
        for name, value in (headers or {}).items():
            request.send_header(name, value)
        request.send_header("Content-Length", str(len(data) - first))
        request.end_headers()
        if request.command == "HEAD":
            return
        body = data[first:]
        if self.cut_after and path.endswith((".bin", ".gguf", ".onnx")):
            body = body[: self.cut_after.pop(0)]
            request.close_connection = True
        request.wfile.write(body[:1000])
        request.wfile.flush()
        self.gate.wait(30)
        request.wfile.write(body[1000:])

    def _refuse(self, request: BaseHTTPRequestHandler, status: int, code: str = "") -> None:
        request.send_response(status)
        if code:
            request.send_header("X-Error-Code", code)
        request.send_header("Content-Length", "0")
        request.end_headers()
