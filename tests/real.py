"""Real parts for tests: a LiveKit server and workers, run in the background of a test run."""

from __future__ import annotations

import asyncio
import socket
import threading
import uuid
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from pathlib import Path
from typing import TypeVar

from agent_worker.commands.livekit_program import ServerBinary, find_or_install_server
from agent_worker.commands.livekit_server import RunningServer, run_server
from agent_worker.commands.worker_process import room_token, run_worker
from agent_worker.settings import Settings, load_settings

T = TypeVar("T")

AGENT = "test-agent"


@contextmanager
def in_background(context: AbstractAsyncContextManager[T], *, timeout_s: float) -> Iterator[T]:
    """Runs an async context manager on a loop of its own, so that it outlives a test's loop."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    def wait(coroutine: object) -> object:
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result(timeout_s)  # type: ignore[arg-type]

    try:
        value = wait(context.__aenter__())
        try:
            yield value  # type: ignore[misc]
        finally:
            wait(context.__aexit__(None, None, None))
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def find_or_build_server() -> ServerBinary:
    """The real server, from PATH or the cache; built first where there is none."""

    def progress(line: str) -> None:
        print(line, flush=True)

    return asyncio.run(find_or_install_server(load_settings().cache_dir, progress))


@contextmanager
def livekit_server(folder: Path, *, name: str = "livekit") -> Iterator[RunningServer]:
    """Runs the real server."""
    context = run_server(
        find_or_build_server(), log_file=folder / f"{name}.log", port=None, udp_port=None
    )
    with in_background(context, timeout_s=60) as server:
        yield server


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def worker_settings(server: RunningServer, **overrides: object) -> Settings:
    """Settings for a worker on that server with the engines that every checkout has."""
    return load_settings(
        **{
            "livekit_url": server.url,
            "livekit_api_key": server.api_key,
            "livekit_api_secret": server.api_secret,
            "agent_name": AGENT,
            "health_port": 0,
            "stt": "bundled",
            "llm": "offline",
            "tts": "espeak",
            # whether a busy machine has room is asked where that is what is tested
            "busy_at_cpu": 0.0,
            **overrides,
        }
    )


@contextmanager
def worker(settings: Settings, log_file: Path) -> Iterator[int]:
    """A real worker in a process of its own, registered. Gives its pid."""
    with in_background(run_worker(settings, log_file=log_file), timeout_s=240) as pid:
        yield pid


def token(server: RunningServer, *, room: str | None = None, agent: str = AGENT) -> str:
    """A caller's token for a room of its own; joining calls the agent."""
    room = room or f"room-{uuid.uuid4().hex[:8]}"
    return room_token(server, room=room, identity="caller", agent_name=agent)
