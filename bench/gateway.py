"""The WebSocket as its caller feels it, beside the room: python -m bench.gateway [--json].

One caller asks the same questions over `/ws/s2s` and in a LiveKit room, turn about, of the same
engines on this machine. Times count from the last voiced sample that the caller sent: to the final
transcript, to the model's first token and to the first audible sample that came back; the partial
counts from the first voiced sample. In a room the final's and the token's times are the worker's
own, for rooms don't tell tokens; everything else is measured at the caller.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from agent_worker.caller.client import CallerError, Pcm
from agent_worker.commands.demo_conversation import render
from agent_worker.commands.livekit_program import LiveKitServerError, find_or_install_server
from agent_worker.commands.livekit_server import RunningServer, run_server
from agent_worker.commands.until_signalled import until_signalled
from agent_worker.commands.worker_process import RunError, run_worker
from agent_worker.engines.found import choose_engines
from agent_worker.settings import Settings, export_environment, load_settings
from agent_worker.telemetry.latency import summary

from .gateway_callers import STAGES, RoomCaller, SocketCaller
from .machine import machine
from .part_process import BenchError, module

LINES = ("what time is it", "what is two plus three", "who are you", "hello")
"""In words of the bundled recogniser."""

_AGENT = "bench-gateway"
_START_S = 180.0
_TOLD = "The WebSocket: "


class Side:
    """One way to the agent, with its call under way and the turns that it was asked.

    Args:
        dial: makes a caller, not connected yet.
    """

    def __init__(self, dial: Callable[[], SocketCaller | RoomCaller]) -> None:
        self._dial = dial
        self._call: SocketCaller | RoomCaller | None = None
        self.turns: list[dict[str, float]] = []
        self.errors: list[str] = []

    async def ask(self, pcm: Pcm) -> None:
        """One turn; a call that fails is left for a new one."""
        try:
            if self._call is None:
                call = self._dial()
                await call.__aenter__()
                self._call = call
            self.turns.append(await self._call.turn(pcm))
        except CallerError as e:
            self.errors.append(str(e))
            await self.aclose()

    async def aclose(self) -> None:
        """Hangs up."""
        call, self._call = self._call, None
        if call is not None:
            await call.__aexit__(None, None, None)

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {"turns": len(self.turns), "errors": self.errors, **figures(self.turns)}


def figures(turns: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    """The quantiles of each stage in ms, over the turns that passed it."""
    return {
        f"{stage}_ms": summary([turn[stage] for turn in turns if stage in turn])
        for stage in STAGES
        if any(stage in turn for turn in turns)
    }


@asynccontextmanager
async def run_web(settings: Settings, *, log_file: Path) -> AsyncIterator[str]:
    """Runs `agent-worker web --websocket` in a process of its own. Gives the gateway's address.

    Raises:
        BenchError: it ended, or did not start.
    """
    environment = {**export_environment(settings, inherit=True), "PYTHONUNBUFFERED": "1"}
    async with module(
        "agent_worker",
        environment,
        log_file,
        ready=_TOLD,
        arguments=("web", "--websocket"),
        within_s=_START_S,
    ) as told:
        yield told.partition(_TOLD)[2].partition(",")[0]


async def measure(turns: int) -> dict[str, Any]:
    """Runs everything and returns the figures.

    Raises:
        BenchError, RunError, LiveKitServerError: with what is missing.
    """
    settings = load_settings()
    if settings.llm == "auto" and settings.llm_url is None:
        settings = settings.model_copy(update={"llm": "offline"})
    choices = await choose_engines(settings)
    if choices.problems:
        raise BenchError("\n".join(choices.problems))
    lines = [await render(text) for text in LINES]
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        binary = await find_or_install_server(settings.cache_dir, _say)
        server = await stack.enter_async_context(run_server(binary, log_file=folder / "server.log"))
        local = _settings(settings, server)
        _say("starting the worker and the gateway …")
        await stack.enter_async_context(run_worker(local, log_file=folder / "worker.log"))
        url = await stack.enter_async_context(run_web(local, log_file=folder / "web.log"))
        sides = {
            "websocket": Side(lambda: SocketCaller(url)),
            "room": Side(lambda: RoomCaller(server, _AGENT)),
        }
        for side in sides.values():
            stack.push_async_callback(side.aclose)
        await _ask(list(sides.values()), lines, turns)
        return {
            **{name: side.to_dict() for name, side in sides.items()},
            "models": {
                "stt": choices.stt.name,
                "llm": choices.llm.name,
                "tts": choices.tts.name,
            },
            "machine": machine(),
            "date": datetime.now(UTC).date().isoformat(),
        }


async def _ask(sides: Sequence[Side], lines: Sequence[Pcm], turns: int) -> None:
    for turn in range(turns):
        # Which of them is asked first changes, as what else the machine does.
        for side in sides if turn % 2 else reversed(sides):
            await side.ask(lines[turn % len(lines)])
        _say(f"turn {turn + 1} of {turns}")


def _settings(settings: Settings, server: RunningServer) -> Settings:
    return settings.model_copy(
        update={
            "livekit_url": server.url,
            "livekit_api_key": server.api_key,
            "livekit_api_secret": type(settings.livekit_api_secret)(server.api_secret),
            "agent_name": _AGENT,
            "health_port": 0,
            "metrics_port": None,
            "web_port": 0,
            "web_token": type(settings.web_token)(""),
            "greeting": "",
        }
    )


def table(result: Mapping[str, Any]) -> str:
    """The figures for people: p50 / p95 in ms."""
    lines = [f"{'':<12} {'WebSocket':>16} {'room':>16}"]
    for stage in STAGES:
        cells = [result[side].get(f"{stage}_ms") for side in ("websocket", "room")]
        shown = [f"{cell['p50']:.0f} / {cell['p95']:.0f}" if cell else "-" for cell in cells]
        lines.append(f"{stage.replace('_', ' '):<12} {shown[0]:>16} {shown[1]:>16}")
    for side in ("websocket", "room"):
        lines += [f"{side}: {error}" for error in result[side]["errors"]]
    return "\n".join(lines)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.gateway", description=__doc__)
    parser.add_argument("--turns", type=int, default=20, help="questions to each side")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    options = parser.parse_args()
    if options.turns < 1:
        parser.error("--turns must be at least 1")
    try:
        result = asyncio.run(until_signalled(measure(options.turns)))
    except (BenchError, RunError, LiveKitServerError) as e:
        _say(f"bench.gateway: {e}")
        return 1
    except (KeyboardInterrupt, asyncio.CancelledError):
        return 130
    print(json.dumps(result) if options.json else table(result))
    return 1 if result["websocket"]["errors"] or result["room"]["errors"] else 0


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    # past the shutdown of LiveKit's native threads, which sometimes aborts
    status = main()
    sys.stdout.flush()
    os._exit(status)
