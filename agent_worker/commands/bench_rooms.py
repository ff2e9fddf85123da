"""How many calls this machine holds: simulated callers at once against one worker, measured.

What `agent-worker bench rooms` runs. A LiveKit server and a worker of its own are started, and for
each number of rooms that many callers talk at the same time. The callers run on this machine too,
and their share of it is told beside the worker's.
"""

from __future__ import annotations

import asyncio
import dataclasses
import datetime
import os
import platform
import tempfile
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil  # it has no types

from agent_worker.call.native_events import address_events
from agent_worker.caller.client import CallerError, Pcm, SimulatedCaller
from agent_worker.engines.choice import Choices
from agent_worker.engines.found import choose_engines
from agent_worker.settings import Settings
from agent_worker.telemetry.latency import percentile

from .demo import DemoError, render, room_token, run_worker
from .livekit_server import RunningServer, find_or_install_server, run_server

Say = Callable[[str], None]

LINES = ("what time is it", "what is two plus three", "who are you", "hello")
"""In words of the bundled recogniser; each caller begins with another one."""
TURNS = 3
"""Of each caller."""
_FRAME_S = 0.02
"""As phones and browsers have it; half the work for the cores that are measured."""
_JOIN_S = 30.0
_ANSWER_S = 15.0
_QUIET_S = 0.6
_ROUND_S = 150.0
_MOST_ROOMS = 64


@dataclasses.dataclass
class Usage:
    """What a process and its children have used."""

    cpu_s: float
    rss_mib: float


@dataclasses.dataclass(frozen=True)
class Round:
    """One number of rooms."""

    rooms: int
    end_to_end_ms: Sequence[float]
    """Of each answered turn: from the caller's last voiced sample to the first that came back."""
    errors: Sequence[str]
    worker_cpu_percent: float
    """Of one core; 200 = two cores."""
    callers_cpu_percent: float
    worker_rss_mib: float
    """The most that was seen."""
    idle_rss_mib: float
    """Of the worker before the first call."""

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            "rooms": self.rooms,
            "turns": len(self.end_to_end_ms),
            "end_to_end_ms_p50": _percentile(self.end_to_end_ms, 0.5),
            "end_to_end_ms_p95": _percentile(self.end_to_end_ms, 0.95),
            "end_to_end_ms_p99": _percentile(self.end_to_end_ms, 0.99),
            "worker_cpu_percent": round(self.worker_cpu_percent, 1),
            "callers_cpu_percent": round(self.callers_cpu_percent, 1),
            "worker_rss_mib": round(self.worker_rss_mib, 1),
            "rss_mib_per_room": round((self.worker_rss_mib - self.idle_rss_mib) / self.rooms, 1),
            "errors": list(self.errors),
        }


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
    """Runs one round for each number of rooms.

    Args:
        settings: of the worker; the server is a new one. Without a model server it is the offline
            flow that answers.
        rooms: calls at once, round by round.
        say: prints a line for people.

    Raises:
        DemoError, LiveKitServerError: the worker or the server did not start.
    """
    if settings.llm == "auto" and settings.llm_url is None:
        settings = settings.model_copy(update={"llm": "offline"})
    choices = await choose_engines(settings)
    if choices.problems:
        raise DemoError("\n".join(choices.problems))
    # the callers run on the cores that are measured
    address_events()
    lines = [await render(text) for text in LINES]
    load_before = os.getloadavg()[0]
    rounds: list[Round] = []
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
                    "max_sessions": max(*rooms, settings.max_sessions),
                    # the calls of one step must be gone in the next one's figures
                    "return_within_s": 0.0,
                }
            )
            say("starting the worker …")
            async with run_worker(local, log_file=folder / "worker.log") as pid:
                idle = usage(pid)
                for number in rooms:
                    rounds.append(await _round(server, local.agent_name, number, lines, pid, idle))
                    say(row(rounds[-1]))
    return {
        "rooms": [r.to_dict() for r in rounds],
        "idle_rss_mib": round(idle.rss_mib, 1),
        "turns_per_caller": TURNS,
        "load_1min_before": round(load_before, 2),
        **conditions(choices),
    }


async def _round(
    server: RunningServer,
    agent_name: str,
    rooms: int,
    lines: Sequence[Pcm],
    pid: int,
    idle: Usage,
) -> Round:
    times: list[float] = []
    errors: list[str] = []
    before, own_before, began = usage(pid), time.process_time(), time.monotonic()
    peak = before.rss_mib

    async def watch() -> None:
        nonlocal peak
        while True:
            await asyncio.sleep(0.5)
            peak = max(peak, usage(pid).rss_mib)

    watcher = asyncio.create_task(watch())
    calls = [
        asyncio.create_task(_call(server, agent_name, number, lines, times, errors))
        for number in range(rooms)
    ]
    try:
        over, late = await asyncio.wait(calls, timeout=_ROUND_S)
        errors += [f"a call was not over after {_ROUND_S:.0f} s"] * len(late)
        errors += [f"a call failed: {e!r}" for call in over if (e := call.exception())]
    finally:
        for task in (*calls, watcher):
            task.cancel()
        await asyncio.gather(*calls, watcher, return_exceptions=True)
    seconds = time.monotonic() - began
    return Round(
        rooms=rooms,
        end_to_end_ms=times,
        errors=errors,
        worker_cpu_percent=100 * (usage(pid).cpu_s - before.cpu_s) / seconds,
        callers_cpu_percent=100 * (time.process_time() - own_before) / seconds,
        worker_rss_mib=peak,
        idle_rss_mib=idle.rss_mib,
    )


async def _call(
    server: RunningServer,
    agent_name: str,
    number: int,
    lines: Sequence[Pcm],
    times: list[float],
    errors: list[str],
) -> None:
    """One caller's turns; what goes wrong is noted, and the next turn tried."""
    room = f"bench-{uuid.uuid4().hex[:8]}"
    token = room_token(server, room=room, identity="caller", agent_name=agent_name)
    try:
        async with SimulatedCaller(server.url, token, frame_s=_FRAME_S) as caller:
            await caller.wait_for_agent_state("listening", timeout_s=_JOIN_S)
            # people don't speak in step
            await asyncio.sleep(0.37 * (number % 8))
            for turn in range(TURNS):
                try:
                    times.append(await _turn(caller, lines[(number + turn) % len(lines)]))
                except CallerError as e:
                    errors.append(str(e))
            await caller.silent(for_s=_QUIET_S, timeout_s=2 * _ANSWER_S)
    except CallerError as e:
        errors.append(str(e))


async def _turn(caller: SimulatedCaller, pcm: Pcm) -> float:
    await caller.silent(for_s=_QUIET_S, timeout_s=2 * _ANSWER_S)
    await caller.wait_for_agent_state("listening", timeout_s=_ANSWER_S)
    spoken = await caller.speak(pcm)
    received_at = await caller.audible_after(spoken.ended_at, timeout_s=_ANSWER_S)
    return (received_at - spoken.ended_at) * 1000


def usage(pid: int) -> Usage:
    """CPU seconds and resident memory of a process and its children, so far.

    Raises:
        DemoError: the process is gone.
    """
    try:
        process = psutil.Process(pid)
        family = [process, *process.children(recursive=True)]
        cpu_s = rss = 0.0
        for member in family:
            # a child may end while it is asked
            with suppress(psutil.NoSuchProcess):
                times = member.cpu_times()
                cpu_s += times.user + times.system
                rss += member.memory_info().rss
        if not process.is_running():
            raise DemoError("the worker is gone")
    except psutil.NoSuchProcess:
        raise DemoError("the worker is gone") from None
    return Usage(cpu_s, rss / 2**20)


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
    f"{'rooms':>5} {'p50 ms':>8} {'p95 ms':>8} {'p99 ms':>8} "
    f"{'CPU %':>7} {'MiB/room':>9} {'errors':>7}"
)


def row(result: Round) -> str:
    """A line of the table under `HEADER`."""
    r = result.to_dict()
    p50, p95, p99 = (_shown(r[f"end_to_end_ms_{p}"]) for p in ("p50", "p95", "p99"))
    return (
        f"{r['rooms']:>5} {p50:>8} {p95:>8} {p99:>8} {r['worker_cpu_percent']:>7.0f} "
        f"{r['rss_mib_per_room']:>9.1f} {len(r['errors']):>7}"
    )


def _percentile(values: Sequence[float], share: float) -> float | None:
    return round(percentile(values, share), 1) if values else None


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}"
