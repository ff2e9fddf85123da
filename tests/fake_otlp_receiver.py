"""A collector for OpenTelemetry spans: real HTTP on loopback, real protobuf, kept in memory."""

from __future__ import annotations

import gzip
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, Span


class FakeOtlpReceiver:
    """Takes what an exporter sends to ``/v1/traces``."""

    def __init__(self) -> None:
        self.received: list[ResourceSpans] = []
        self.paths: list[str] = []
        self.bodies: list[bytes] = []
        self.status = 200
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                receiver.paths.append(self.path)
                receiver.bodies.append(body)
                receiver.received += ExportTraceServiceRequest.FromString(body).resource_spans
                answer = ExportTraceServiceResponse().SerializeToString()
                self.send_response(receiver.status)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, format: str, *args: object) -> None:
                """Quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def scopes(self) -> set[str]:
        """Who made the spans."""
        return {scope.scope.name for spans in self.received for scope in spans.scope_spans}

    @property
    def spans(self) -> list[Span]:
        return [
            span
            for resource in self.received
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    def resource(self, name: str) -> str:
        """An attribute of the first sender."""
        attributes = self.received[0].resource.attributes
        return next(a.value.string_value for a in attributes if a.key == name)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
