"""A scripted OpenAI-compatible chat server: real HTTP on 127.0.0.1, no model.

Each request takes the next `Reply` of the script (or `default`), so that a test says exactly
what "the model" does: how fast, in which pieces, with which tool calls, and how it fails. The
server notices a client that goes away at once, which is how cancellation is measured.

In a test's own event loop:

    async with FakeOpenAIServer() as server:
        server.enqueue(Reply("Hello there."), Reply(status=503))
        model = ChatOpenAI(base_url=server.base_url, model=server.model, api_key="none")

In a process of its own, for benchmarks (prints one JSON line with the port, then serves):

    python -m tests.fake_openai_server
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import signal
import sys
import time
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from aiohttp import web

WARM_UP = "Answer in one word."
"""The prompt of `flows.warm_up`."""

_PIECES = re.compile(r"\S+\s*|\s+")


@dataclass(frozen=True)
class ToolCall:
    """A tool call that the scripted model makes."""

    name: str
    arguments: dict[str, Any] | str = field(default_factory=dict)
    """A dict, or raw text for arguments that are not valid JSON."""
    id: str = field(default_factory=lambda: f"call_{uuid.uuid4().hex[:12]}")

    @property
    def arguments_json(self) -> str:
        return self.arguments if isinstance(self.arguments, str) else json.dumps(self.arguments)


@dataclass(frozen=True)
class Reply:
    """What the model answers to one request."""

    text: str | Sequence[str] = ""
    """A string is sent word by word; a list is sent piece by piece, as it stands."""
    tool_calls: Sequence[ToolCall] = ()
    """Sent after the text, the arguments in two halves, as real servers do."""
    reasoning: Sequence[str] = ()
    """Pieces of `reasoning_content`, sent before the text."""
    first_token_s: float = 0.0
    """Seconds before the first piece; the headers are sent at once."""
    headers_s: float = 0.0
    """Seconds before the status line."""
    tokens_per_second: float | None = None
    """None sends the pieces as fast as the socket takes them."""
    status: int = 200
    """Anything but 200 answers with an OpenAI error object."""
    error_message: str = "scripted failure"
    body: Any = None
    """The whole body of an error, JSON or text, for servers with a shape of their own."""
    headers: dict[str, str] = field(default_factory=dict)
    hang_after: int | None = None
    """Send this many pieces, then nothing more, with the connection open."""
    drop_after: int | None = None
    """Send this many pieces, then cut the connection without an end."""
    garbage_after: int | None = None
    """Send this many pieces, then a line which is not JSON."""
    error_after: int | None = None
    """Send this many pieces, then an error object inside the stream, as vLLM does."""
    finish_reason: str | None = None
    """None says `stop` or `tool_calls`, whichever it is."""
    usage: tuple[int, int, int] | None = None
    """Prompt, completion and cached tokens; None counts 7 for the prompt and the pieces."""

    @property
    def pieces(self) -> list[str]:
        return _PIECES.findall(self.text) if isinstance(self.text, str) else list(self.text)


@dataclass
class Request:
    """One request as the server saw it; times are `time.monotonic()` seconds."""

    body: dict[str, Any]
    headers: dict[str, str]
    started_at: float
    first_piece_at: float | None = None
    ended_at: float | None = None
    pieces_sent: int = 0
    outcome: str = "open"
    """`open`, `completed`, `cancelled` (the client went away), `failed` (as scripted)."""

    @property
    def messages(self) -> list[dict[str, Any]]:
        messages: list[dict[str, Any]] = self.body.get("messages", [])
        return messages


class FakeOpenAIServer:
    """An OpenAI-compatible server that follows a script.

    Args:
        replies: The script; more can be added with `enqueue`.
        default: The answer when the script has run out.
        script: If given, chooses the reply from the request body, before the queue is asked.
        model: The name in `/v1/models` and in every answer.
        api_key: If given, requests without this bearer token get a 401.
        extra_json: Further GET paths and the JSON that they answer with, such as
            `{"/api/version": {...}}` to look like one kind of server.
        models: Entries of `/v1/models`, if not just `model`.
        server_header: The header `Server`, which llama.cpp sets.
        streams: False answers `stream: true` with one JSON object all the same, as some do.
        port: 0 takes a free one.

    Who warms a model up is answered apart, where there is no script: with `default`, taking no
    reply of the queue, and as an entry of `warm_ups` in place of `requests`.
    """

    def __init__(
        self,
        *replies: Reply,
        default: Reply | None = None,
        script: Callable[[dict[str, Any]], Reply | None] | None = None,
        model: str = "scripted-qwen3",
        api_key: str | None = None,
        extra_json: dict[str, Any] | None = None,
        models: Sequence[dict[str, Any]] | None = None,
        server_header: str | None = None,
        streams: bool = True,
        port: int = 0,
    ) -> None:
        self.queue: deque[Reply] = deque(replies)
        self.default = default or Reply("Hello from the scripted model.")
        self.script = script
        self.model = model
        self.api_key = api_key
        self.models = models
        self.server_header = server_header
        self.requests: list[Request] = []
        self.warm_ups: list[Request] = []
        self._streams = streams
        self._changed = asyncio.Condition()
        self._port = port
        self._extra_json = extra_json or {}
        self._runner: web.AppRunner | None = None

    @property
    def port(self) -> int:
        return self._port

    @property
    def base_url(self) -> str:
        """The URL that OpenAI clients take, with `/v1`."""
        return f"http://127.0.0.1:{self._port}/v1"

    @property
    def open_requests(self) -> int:
        return sum(request.outcome == "open" for request in self.requests)

    @property
    def cancelled_requests(self) -> int:
        return sum(request.outcome == "cancelled" for request in self.requests)

    def enqueue(self, *replies: Reply) -> None:
        self.queue.extend(replies)

    async def wait_until(self, condition: Callable[[FakeOpenAIServer], bool]) -> None:
        """Waits until `condition(server)` holds; the test's own timeout is the limit."""
        async with self._changed:
            await self._changed.wait_for(lambda: condition(self))

    async def wait_pieces(self, count: int, request: int = -1) -> None:
        """Waits until that request has been sent `count` pieces."""
        await self.wait_until(
            lambda server: bool(server.requests) and server.requests[request].pieces_sent >= count
        )

    async def start(self) -> None:
        app = web.Application(client_max_size=64 * 1024**2)
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_get("/v1/models", self._models)
        app.router.add_get("/stats", self._stats)
        for path, answer in self._extra_json.items():
            app.router.add_get(path, _json_route(answer))
        # handler_cancellation: a client that goes away cancels the handler at once, even while
        # it is asleep, so `ended_at` is the moment at which a real server would stop generating
        runner = web.AppRunner(
            app, handler_cancellation=True, access_log=None, shutdown_timeout=0.1
        )
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", self._port)
        await site.start()
        self._runner = runner
        self._port = runner.addresses[0][1]

    async def aclose(self) -> None:
        """Stops at once and cuts what is open; a second `start` takes the same port again."""
        if self._runner is not None:
            runner, self._runner = self._runner, None
            await runner.cleanup()

    async def __aenter__(self) -> FakeOpenAIServer:
        await self.start()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def _note(self, request: Request, outcome: str | None = None) -> None:
        if outcome is not None and request.outcome == "open":
            request.outcome = outcome
            request.ended_at = time.monotonic()
        async with self._changed:
            self._changed.notify_all()

    async def _models(self, http: web.Request) -> web.Response:
        if self._key_is_wrong(http):
            return _error(401, "Incorrect API key provided")
        entry = {"id": self.model, "object": "model", "owned_by": "test"}
        entries = [entry] if self.models is None else list(self.models)
        headers = {"Server": self.server_header} if self.server_header else None
        return web.json_response({"object": "list", "data": entries}, headers=headers)

    def _key_is_wrong(self, http: web.Request) -> bool:
        wanted = f"Bearer {self.api_key}"
        return bool(self.api_key) and http.headers.get("Authorization") != wanted

    def _warms_up(self, request: Request) -> bool:
        first = next(iter(request.messages), {})
        return self.script is None and first.get("content") == WARM_UP

    async def _stats(self, _: web.Request) -> web.Response:
        """How the requests so far ended, and when: what a benchmark in another process asks."""
        rows = [
            {"outcome": r.outcome, "ended_at": r.ended_at, "pieces": r.pieces_sent}
            for r in self.requests
        ]
        return web.json_response(rows)

    async def _chat(self, http: web.Request) -> web.StreamResponse:
        request = Request(
            body=await http.json(), headers=dict(http.headers), started_at=time.monotonic()
        )
        (self.warm_ups if self._warms_up(request) else self.requests).append(request)
        await self._note(request)
        try:
            return await self._answer(http, request)
        except (asyncio.CancelledError, ConnectionError):
            await self._note(request, "cancelled")
            raise

    async def _answer(self, http: web.Request, request: Request) -> web.StreamResponse:
        if self._key_is_wrong(http):
            await self._note(request, "failed")
            return _error(401, "Incorrect API key provided")
        reply = self.script(request.body) if self.script else None
        if reply is None and self._warms_up(request):
            reply = self.default
        if reply is None:
            reply = self.queue.popleft() if self.queue else self.default
        if reply.headers_s:
            await asyncio.sleep(reply.headers_s)
        if reply.status != 200:
            await self._note(request, "failed")
            return _refused(reply)
        if not (self._streams and request.body.get("stream")):
            await asyncio.sleep(reply.first_token_s)
            await self._note(request, "completed")
            return web.json_response(_whole_completion(self.model, reply))
        return await self._stream(http, request, reply)

    async def _stream(
        self, http: web.Request, request: Request, reply: Reply
    ) -> web.StreamResponse:
        response = web.StreamResponse(
            headers={"Content-Type": "text/event-stream", **reply.headers}
        )
        await response.prepare(http)
        head = {
            "id": f"chatcmpl-{uuid.uuid4().hex[:12]}",
            "object": "chat.completion.chunk",
            "created": int(time.time()),
            "model": self.model,
        }
        if reply.first_token_s:
            await asyncio.sleep(reply.first_token_s)
        interval = 1 / reply.tokens_per_second if reply.tokens_per_second else 0.0
        deltas = list(_deltas(reply))
        for sent in range(len(deltas) + 1):
            if sent == reply.hang_after:
                await asyncio.Event().wait()
            if sent == reply.drop_after:
                await self._note(request, "failed")
                assert http.transport is not None
                http.transport.abort()
                return response
            if sent == reply.garbage_after:
                await response.write(b"data: {this is not json\n\n")
            if sent == reply.error_after:
                fault = {"error": {"message": reply.error_message, "code": 500}}
                await response.write(b"data: " + json.dumps(fault).encode() + b"\n\n")
            if sent == len(deltas):
                break
            if sent and interval:
                await asyncio.sleep(interval)
            choice = {"index": 0, "delta": deltas[sent], "finish_reason": None}
            await response.write(_event({**head, "choices": [choice]}))
            request.first_piece_at = request.first_piece_at or time.monotonic()
            request.pieces_sent += 1
            if interval or sent < 4 or sent % 64 == 0:
                await self._note(request)
        choice = {"index": 0, "delta": {}, "finish_reason": _finish_reason(reply)}
        await response.write(_event({**head, "choices": [choice]}))
        if (request.body.get("stream_options") or {}).get("include_usage"):
            await response.write(_event({**head, "choices": [], "usage": _usage(reply)}))
        await response.write(b"data: [DONE]\n\n")
        await self._note(request, "completed")
        return response


def _deltas(reply: Reply) -> Sequence[dict[str, Any]]:
    deltas: list[dict[str, Any]] = [{"reasoning_content": piece} for piece in reply.reasoning]
    deltas += [{"content": piece} for piece in reply.pieces]
    for index, call in enumerate(reply.tool_calls):
        arguments = call.arguments_json
        half = len(arguments) // 2
        opening = {
            "index": index,
            "id": call.id,
            "type": "function",
            "function": {"name": call.name, "arguments": arguments[:half]},
        }
        closing = {"index": index, "function": {"arguments": arguments[half:]}}
        deltas += [{"tool_calls": [opening]}, {"tool_calls": [closing]}]
    if deltas:
        deltas[0] = {"role": "assistant", **deltas[0]}
    return deltas


def _usage(reply: Reply) -> dict[str, Any]:
    prompt, completion, cached = reply.usage or (7, len(reply.pieces), 0)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": cached},
    }


def _whole_completion(model: str, reply: Reply) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": "".join(reply.pieces)}
    if reply.tool_calls:
        message["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments_json},
            }
            for call in reply.tool_calls
        ]
    reason = _finish_reason(reply)
    return {
        "id": f"chatcmpl-{uuid.uuid4().hex[:12]}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": model,
        "choices": [{"index": 0, "message": message, "finish_reason": reason}],
        "usage": _usage(reply),
    }


def _event(payload: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(payload).encode() + b"\n\n"


def _error(status: int, message: str, headers: dict[str, str] | None = None) -> web.Response:
    fault = {"error": {"message": message, "type": "scripted", "code": status}}
    return web.json_response(fault, status=status, headers=headers)


def _refused(reply: Reply) -> web.Response:
    if reply.body is None:
        return _error(reply.status, reply.error_message, reply.headers)
    if isinstance(reply.body, str):
        return web.Response(text=reply.body, status=reply.status, headers=reply.headers)
    return web.json_response(reply.body, status=reply.status, headers=reply.headers)


def _finish_reason(reply: Reply) -> str:
    return reply.finish_reason or ("tool_calls" if reply.tool_calls else "stop")


def _json_route(answer: Any) -> Callable[[web.Request], Any]:
    async def route(_: web.Request) -> web.Response:
        return web.json_response(answer)

    return route


async def _serve(server: FakeOpenAIServer) -> None:
    """Serves until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with server:
        sys.stdout.write(json.dumps({"port": server.port}) + "\n")
        sys.stdout.flush()
        await stop.wait()


def main() -> None:
    """Serves benchmarks.

    The last message may be JSON with `tokens` and fields of `Reply` (`first_token_s`,
    `tokens_per_second`), so that one server serves every kind of run through any client.
    """
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--port", type=int, default=0)
    options = parser.parse_args()

    def script(body: dict[str, Any]) -> Reply:
        settings = json.loads(body["messages"][-1]["content"])
        words = ["Here", " are", " some", " words", " to", " be", " spoken", ".", " And", " then"]
        count = settings.pop("tokens", 200)
        return Reply([words[index % len(words)] for index in range(count)], **settings)

    asyncio.run(_serve(FakeOpenAIServer(script=script, port=options.port)))


if __name__ == "__main__":
    main()
