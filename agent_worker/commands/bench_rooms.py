"""How many calls this machine holds: simulated callers at once against one worker, measured.

What `agent-worker bench rooms` runs. A LiveKit server and a worker of its own are started, and for
each number of rooms that many callers talk at the same time, in processes of their own. They and
the server run on this machine too, and what they take of it is told beside the worker's.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import datetime
import math
import os
import platform
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from agent_worker.caller.client import Pcm
from agent_worker.caller.crowd import Crowd, Errand, TurnTaken
from agent_worker.engines.chosen import Choices
from agent_worker.engines.found import choose_engines
from agent_worker.processes.machine import call_processes
from agent_worker.settings import Settings
from agent_worker.telemetry.latency import percentile

from .demo_conversation import render
from .livekit_program import find_or_install_server
from .livekit_server import RunningServer, run_server
from .usage import KINDS, Look, Usage, look
from .worker_process import RunError, room_token, run_worker

Say = Callable[[str], None]

LINES = ("what time is it", "what is two plus three", "who are you", "hello")
"""In words of the bundled recogniser; each caller begins with another one."""
TURNS = 3
"""Of each caller, at least."""
_LEAST_TURNS = 8
"""Of a round."""
_STAGGER_S = 0.37
"""Between two callers: people don't speak in step."""
_ROUND_S = 180.0
_MOST_ROOMS = 64


@dataclasses.dataclass(frozen=True)
class Round:
    """One number of rooms."""

    rooms: int
    turns: int
    """That were spoken, or should have been."""
    end_to_end_ms: Sequence[float]
    """Of each answered turn: from the caller's last voiced sample to the first that came back."""
    errors: Sequence[str]
    cpu_percent: Mapping[str, float]
    """By kind of process, of one core; 200 = two cores."""
    rss_mib: Mapping[str, float]
    """By kind of process, the most that was seen."""
    idle_rss_mib: float
    """Of the worker and its processes before the first call."""

    @property
    def unanswered(self) -> int:
        """Turns that got no voice."""
        return self.turns - len(self.end_to_end_ms)

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        own_rss = sum(self.rss_mib[kind] for kind in KINDS[:3])
        return {
            "rooms": self.rooms,
            "turns": len(self.end_to_end_ms),
            "unanswered": self.unanswered,
            "end_to_end_ms_p50": _percentile(self.end_to_end_ms, 0.5),
            "end_to_end_ms_p95": _percentile(self.end_to_end_ms, 0.95),
            "end_to_end_ms_p99": _percentile(self.end_to_end_ms, 0.99),
            "worker_cpu_percent": round(sum(self.cpu_percent[kind] for kind in KINDS[:3]), 1),
            "cpu_percent": {kind: round(value, 1) for kind, value in self.cpu_percent.items()},
            "worker_rss_mib": round(own_rss, 1),
            "rss_mib": {kind: round(value, 1) for kind, value in self.rss_mib.items()},
            "rss_mib_per_room": round((own_rss - self.idle_rss_mib) / self.rooms, 1),
            "errors": list(self.errors),
        }


def is_over_the_top(first: Round, now: Round) -> bool:
    """Whether the machine holds fewer calls than these: p95 has doubled, or turns go unanswered."""
    if 10 * now.unanswered > now.turns:
        return True
    p95 = [_percentile(r.end_to_end_ms, 0.95) for r in (first, now)]
    return p95[0] is not None and p95[1] is not None and p95[1] > 2 * p95[0]


def turns_of(rooms: int) -> int:
    """Turns of each caller: with few rooms more, or p95 would be the worst of three."""
    return max(TURNS, math.ceil(_LEAST_TURNS / rooms))


def parse_rooms(text: str) -> list[int]:
    """Numbers of rooms from ``1,2,4,8``.

    Raises:
        ValueError: it holds something else, or a number outside 1 to 64.
    """
    try:
        rooms = [int(part) for part in text.split(",")]
    except ValueError:
        raise ValueError(f"numbers of rooms are written 1,2,4 - not {text!r}") from None
    if not all(1 <= number <= _MOST_ROOMS for number in rooms):
        raise ValueError(f"a number of rooms must be 1 to {_MOST_ROOMS}, not {text!r}")
    return rooms


async def bench_rooms(settings: Settings, rooms: Sequence[int], *, say: Say) -> dict[str, Any]:
    """Runs one round for each number of rooms, until the machine holds no more.

    Args:
        settings: of the worker; the server is a new one. Without a model server it is the offline
            flow that answers.
        rooms: calls at once, round by round.
        say: prints a line for people.

    Raises:
        RunError, LiveKitServerError: the worker or the server did not start.
    """
    choices, settings = await bench_choices(settings)
    lines = [await render(text) for text in LINES]
    load_before = os.getloadavg()[0]
    rounds: list[Round] = []
    async with bench_setup(settings, most_calls=max(rooms), say=say) as setup:
        idle = look(setup.worker).worker
        for number in rooms:
            rounds.append(await _round(setup, number, lines, idle))
            say(row(rounds[-1]))
            if is_over_the_top(rounds[0], rounds[-1]):
                say("that is more than this machine holds")
                break
    return {
        "rooms": [r.to_dict() for r in rounds],
        "call_processes": setup.call_processes,
        "idle_rss_mib": round(idle.rss_mib, 1),
        "load_1min_before": round(load_before, 2),
        **conditions(choices),
    }


@dataclasses.dataclass(frozen=True)
class Setup:
    """A server, and a worker on it."""

    server: RunningServer
    worker: int
    """Its pid."""
    agent_name: str
    call_processes: int

    def token(self) -> str:
        """For a new room that calls the agent."""
        room = f"bench-{uuid.uuid4().hex[:8]}"
        return room_token(self.server, room=room, identity="caller", agent_name=self.agent_name)


async def bench_choices(settings: Settings) -> tuple[Choices, Settings]:
    """The engines to measure with; the offline flow where no model server is named.

    Raises:
        RunError: one can't be had.
    """
    if settings.llm == "auto" and settings.llm_url is None:
        settings = settings.model_copy(update={"llm": "offline"})
    choices = await choose_engines(settings)
    if choices.problems:
        raise RunError("\n".join(choices.problems))
    return choices, settings


@contextlib.asynccontextmanager
async def bench_setup(settings: Settings, *, most_calls: int, say: Say) -> AsyncIterator[Setup]:
    """Starts a server and a worker of its own that turns no call away.

    Raises:
        RunError, LiveKitServerError: the worker or the server did not start.
    """
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        binary = await find_or_install_server(settings.cache_dir, say)
        async with run_server(binary, log_file=folder / "livekit-server.log") as server:
            local = settings.model_copy(
                update={
                    "livekit_url": server.url,
                    "livekit_api_key": server.api_key,
                    "livekit_api_secret": type(settings.livekit_api_secret)(server.api_secret),
                    "agent_name": "bench-rooms",
                    "health_port": 0,
                    "metrics_port": None,
                    "greeting": "",
                    # with no room to spare LiveKit takes seconds to find the process that has it
                    "max_sessions": max(2 * most_calls, settings.max_sessions),
                    # how many it holds is what is asked
                    "busy_at_cpu": 0.0,
                    # the calls of one step must be gone in the next one's figures
                    "return_within_s": 0.0,
                }
            )
            count = call_processes(local)
            say(f"starting the worker, {count} call process{'es' if count > 1 else ''} …")
            log = folder / "worker.log"
            async with run_worker(local, log_file=log, registrations=count) as pid:
                yield Setup(server, pid, local.agent_name, count)


async def _round(setup: Setup, rooms: int, lines: Sequence[Pcm], idle: Usage) -> Round:
    taken: list[TurnTaken] = []
    errands = [
        [Errand(setup.token(), turns_of(rooms), number, _STAGGER_S * (number % 8))]
        for number in range(rooms)
    ]
    crowd = Crowd(setup.server.url, lines, errands, on_turn=taken.append)

    def now() -> Look:
        return look(setup.worker, server=setup.server.pid, callers=crowd.pids)

    async with crowd.ready():
        before, began = now(), time.monotonic()
        peak = {kind: usage.rss_mib for kind, usage in before.kinds.items()}
        used = dict.fromkeys(before.kinds, 0.0)

        async def watch() -> None:
            while True:
                await asyncio.sleep(0.5)
                for kind, usage in now().kinds.items():
                    peak[kind] = max(peak[kind], usage.rss_mib)
                    # who has gone home has used what they used
                    used[kind] = max(used[kind], usage.cpu_s - before.kinds[kind].cpu_s)

        watcher = asyncio.create_task(watch())
        try:
            in_time = await crowd.talk(timeout_s=_ROUND_S)
        finally:
            watcher.cancel()
            watched = await asyncio.gather(watcher, return_exceptions=True)
        seconds = time.monotonic() - began
    for failure in watched:
        if isinstance(failure, RunError):
            raise failure
    errors = [turn.error for turn in taken if turn.error]
    if not in_time:
        errors.append(f"a call was not over after {_ROUND_S:.0f} s")
    return Round(
        rooms=rooms,
        turns=rooms * turns_of(rooms),
        end_to_end_ms=[t.end_to_end_ms for t in taken if t.end_to_end_ms is not None],
        errors=errors,
        cpu_percent={kind: 100 * cpu_s / seconds for kind, cpu_s in used.items()},
        rss_mib=peak,
        idle_rss_mib=idle.rss_mib,
    )


def conditions(choices: Choices) -> dict[str, Any]:
    """Where and with what it was measured."""
    return {
        "machine": f"{platform.machine()}, {os.cpu_count()} CPUs, {platform.system()}",
        "models": {
            "stt": choices.stt.name,
            "llm": choices.llm.name,
            "tts": choices.tts.name,
        },
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "livekit_agents": version("livekit-agents"),
    }


HEADER = (
    f"{'rooms':>5} {'p50 ms':>8} {'p95 ms':>8} {'p99 ms':>8} {'CPU %':>7} "
    f"{'engines':>8} {'server':>7} {'callers':>8} {'MiB/room':>9} {'unanswered':>11}"
)
"""CPU % is the whole worker's, its engines among it."""


def row(result: Round) -> str:
    """A line of the table under `HEADER`."""
    r = result.to_dict()
    p50, p95, p99 = (_shown(r[f"end_to_end_ms_{p}"]) for p in ("p50", "p95", "p99"))
    cpu = result.cpu_percent
    return (
        f"{r['rooms']:>5} {p50:>8} {p95:>8} {p99:>8} {r['worker_cpu_percent']:>7.0f} "
        f"{cpu['engine processes']:>8.0f} {cpu['server']:>7.0f} {cpu['callers']:>8.0f} "
        f"{r['rss_mib_per_room']:>9.1f} {r['unanswered']:>11}"
    )


def _percentile(values: Sequence[float], share: float) -> float | None:
    return round(percentile(values, share), 1) if values else None


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}"
