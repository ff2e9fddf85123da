"""A model server whose model is not in memory: real HTTP on 127.0.0.1, no model.

Like Ollama it loads only while somebody is connected, and begins anew when all have gone; like
llama.cpp it may answer 503 until it has loaded.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from types import TracebackType
from typing import Any

from aiohttp import web

_TICK_S = 0.02


class FakeColdServer:
    """A server with a model to load.

    Args:
        load_s: Seconds that loading takes.
        refuses: Answer 503 `Loading model` meanwhile, and load by itself, as llama.cpp does.
        silent: Take connections meanwhile and answer nothing, as one that is busy does.
        context_tokens: What `/api/ps` tells once the model is loaded.
    """

    def __init__(
        self,
        load_s: float,
        *,
        refuses: bool = False,
        silent: bool = False,
        context_tokens: int = 8192,
    ) -> None:
        self.load_s = load_s
        self.refuses = refuses
        self.silent = silent
        self.context_tokens = context_tokens
        self.loaded_s = 0.0
        self.loads_begun = 0
        self.asked: list[dict[str, Any]] = []
        self.kept_for: list[str] = []
        """What `/api/generate` was told of how long to keep the model."""
        self._waiting = 0
        self._runner: web.AppRunner | None = None
        self._ticking: asyncio.Task[None] | None = None
        self._port = 0

    @property
    def base_url(self) -> str:
        """The URL that OpenAI clients take, with `/v1`."""
        return f"http://127.0.0.1:{self._port}/v1"

    @property
    def is_loaded(self) -> bool:
        return self.loaded_s >= self.load_s

    async def _tick(self) -> None:
        before = time.monotonic()
        while True:
            await asyncio.sleep(_TICK_S)
            now = time.monotonic()
            if self.is_loaded:
                return
            if self._waiting or self.refuses or self.silent:
                self.loads_begun += self.loaded_s == 0
                self.loaded_s += now - before
            else:
                self.loaded_s = 0.0
            before = now

    async def _wait(self) -> None:
        self._waiting += 1
        try:
            while not self.is_loaded:
                await asyncio.sleep(_TICK_S)
        finally:
            self._waiting -= 1

    async def _chat(self, http: web.Request) -> web.StreamResponse:
        body = await http.json()
        self.asked.append(body)
        if self.refuses and not self.is_loaded:
            fault = {"code": 503, "message": "Loading model", "type": "unavailable_error"}
            return web.json_response({"error": fault}, status=503)
        await self._wait()
        message = {"role": "assistant", "content": "It is noon."}
        whole = {"id": "1", "object": "chat.completion", "created": 0, "model": body["model"]}
        if not body.get("stream"):
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            return web.json_response({**whole, "choices": [choice]})
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(http)
        choice = {"index": 0, "delta": message, "finish_reason": "stop"}
        chunk = {**whole, "object": "chat.completion.chunk", "choices": [choice]}
        await response.write(f"data: {web.json_response(chunk).text}\n\n".encode())
        await response.write(b"data: [DONE]\n\n")
        return response

    async def _generate(self, http: web.Request) -> web.Response:
        self.kept_for.append(str((await http.json()).get("keep_alive")))
        await self._wait()
        return web.json_response({"done": True})

    async def _models(self, _: web.Request) -> web.Response:
        if self.silent:
            await self._wait()
        if self.refuses and not self.is_loaded:
            fault = {"code": 503, "message": "Loading model", "type": "unavailable_error"}
            return web.json_response({"error": fault}, status=503)
        entry = {"id": "qwen3:4b", "object": "model", "owned_by": "library"}
        return web.json_response({"object": "list", "data": [entry]})

    async def _running(self, _: web.Request) -> web.Response:
        model = {"name": "qwen3:4b", "context_length": self.context_tokens}
        return web.json_response({"models": [model] if self.is_loaded else []})

    async def __aenter__(self) -> FakeColdServer:
        app = web.Application()
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_get("/v1/models", self._models)
        app.router.add_post("/api/generate", self._generate)
        app.router.add_get("/api/ps", self._running)
        self._runner = web.AppRunner(
            app, handler_cancellation=True, access_log=None, shutdown_timeout=0.1
        )
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self._port = self._runner.addresses[0][1]
        self._ticking = asyncio.create_task(self._tick())
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        assert self._runner is not None and self._ticking is not None
        self._ticking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._ticking
        await self._runner.cleanup()
