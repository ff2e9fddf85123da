"""Does a worker grow old? Calls come and go for as long as asked: `python -m bench.soak`.

A LiveKit server and a worker of its own, and callers in processes of their own who call, take one
to four turns, hang up, and call again after a while. Every few seconds the worker's memory, threads
and descriptors are read; each turn's time is noted. What matters is not how high a line is but
whether it climbs: the last third of the run beside the first, and the worker when all have gone
beside what it was before anybody came. The run prints JSON, and draws the lines (`--svg FILE`).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import psutil

from agent_worker.caller.crowd import Crowd, Errand, TurnTaken
from agent_worker.commands.bench_rooms import LINES, Setup, bench_choices, bench_setup, conditions
from agent_worker.commands.demo_conversation import render
from agent_worker.commands.livekit_program import LiveKitServerError
from agent_worker.commands.until_signalled import until_signalled
from agent_worker.commands.worker_process import RunError
from agent_worker.process_family import of_family
from agent_worker.settings import load_settings
from agent_worker.telemetry.latency import percentile
from bench.machine import machine

_MOST_MINUTES = 24 * 60
_SHORTEST_CALL_S = 5.0
_LOOK_EVERY_S = 5.0
_SETTLES_S = 20.0
"""After the last caller has gone: then what is left is what stays."""
_SEED = 13


@dataclass(frozen=True)
class Sample:
    """The worker with its call and engine processes at one moment."""

    at_s: float
    """Since the first call."""
    rss_mib: float
    threads: int
    descriptors: int
    processes: int


@dataclass(frozen=True)
class Turn:
    """One turn of a caller."""

    at_s: float
    end_to_end_ms: float | None
    """None: unanswered."""


def errands(setup: Setup, minutes: float, chance: random.Random) -> list[Errand]:
    """One caller's calls, more than can be made in that time."""
    count = int(minutes * 60 / _SHORTEST_CALL_S) + 1
    return [
        Errand(setup.token(), chance.randint(1, 4), chance.randrange(4), chance.uniform(0.5, 6.0))
        for _ in range(count)
    ]


def drift(samples: Sequence[Sample], turns: Sequence[Turn], end_s: float) -> dict[str, Any]:
    """The last third of a run beside the first, in which a worker has warmed up for a minute.

    Args:
        samples: of the whole run.
        turns: likewise.
        end_s: its length.
    """
    warm = min(60.0, end_s / 4)
    third = (end_s - warm) / 3
    out: dict[str, Any] = {}
    for name in ("rss_mib", "threads", "descriptors"):
        first, last = (
            _mean([float(getattr(s, name)) for s in samples if begin <= s.at_s < begin + third])
            for begin in (warm, end_s - third)
        )
        out[name] = _change(first, last)
    for name, share in (("p50_ms", 0.5), ("p95_ms", 0.95)):
        first, last = (
            _percentile(
                [t.end_to_end_ms for t in turns if begin <= t.at_s < begin + third],
                share,
            )
            for begin in (warm, end_s - third)
        )
        out[name] = _change(first, last)
    return out


def _change(first: float | None, last: float | None) -> dict[str, float | None]:
    change = None if first is None or last is None else round(last - first, 1)
    return {
        "first_third": None if first is None else round(first, 1),
        "last_third": None if last is None else round(last, 1),
        "change": change,
    }


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _percentile(values: Sequence[float | None], share: float) -> float | None:
    answered = [value for value in values if value is not None]
    return percentile(answered, share) if answered else None


def look(worker: int, began: float) -> Sample:
    """Reads the worker and what it started.

    Raises:
        RunError: it is gone.
    """
    try:
        each = list(of_family(worker, _held).values())
    except psutil.NoSuchProcess:
        raise RunError("the worker is gone") from None
    return Sample(
        time.monotonic() - began,
        sum(rss for rss, _, _ in each) / 2**20,
        sum(threads for _, threads, _ in each),
        sum(descriptors for _, _, descriptors in each),
        len(each),
    )


def _held(process: psutil.Process) -> tuple[int, int, int]:
    """Bytes of memory, threads, descriptors."""
    with process.oneshot():
        return process.memory_info().rss, process.num_threads(), _descriptors(process)


def _descriptors(process: psutil.Process) -> int:
    if sys.platform == "win32":
        return int(process.num_handles())
    return int(process.num_fds())


async def soak(minutes: float, calls: int) -> dict[str, Any]:
    """Runs it.

    Args:
        minutes: for which calls come and go.
        calls: at once, at most.

    Raises:
        RunError, LiveKitServerError: the worker or the server did not start, or died.
    """
    choices, settings = await bench_choices(load_settings())
    lines = [await render(text) for text in LINES]
    chance = random.Random(_SEED)
    taken: list[TurnTaken] = []
    samples: list[Sample] = []
    async with bench_setup(settings, most_calls=calls, say=_say) as setup:
        callers = [errands(setup, minutes, chance) for _ in range(calls)]
        crowd = Crowd(setup.server.url, lines, callers, on_turn=taken.append)
        idle = look(setup.worker, time.monotonic())
        async with crowd.ready():
            began, began_at = time.monotonic(), time.time()

            async def watch() -> None:
                while True:
                    samples.append(look(setup.worker, began))
                    await asyncio.sleep(_LOOK_EVERY_S)

            watcher = asyncio.create_task(watch())
            try:
                await crowd.talk(timeout_s=minutes * 60)
            finally:
                watcher.cancel()
                (failure,) = await asyncio.gather(watcher, return_exceptions=True)
            if isinstance(failure, RunError):
                raise failure
            end_s = time.monotonic() - began
        await asyncio.sleep(_SETTLES_S)
        left = look(setup.worker, began)
    turns = [Turn(t.at - began_at, t.end_to_end_ms) for t in taken for _ in range(t.turns)]
    return {
        "minutes": round(end_s / 60, 2),
        "calls_at_once": calls,
        "call_processes": setup.call_processes,
        "turns": len(turns),
        "unanswered": sum(turn.end_to_end_ms is None for turn in turns),
        "errors": sorted({turn.error for turn in taken if turn.error}),
        "p50_ms": _percentile([t.end_to_end_ms for t in turns], 0.5),
        "p95_ms": _percentile([t.end_to_end_ms for t in turns], 0.95),
        "before_anybody_came": vars(idle),
        "when_all_had_gone": vars(left),
        "drift": drift(samples, turns, end_s),
        "samples": [vars(sample) for sample in samples],
        "turn_times": [[round(turn.at_s, 1), turn.end_to_end_ms] for turn in turns],
        **conditions(choices),
        "machine": machine(),
    }


# -- the drawing ---------------------------------------------------------------------------------
_WIDTH, _PANEL, _LEFT, _TOP = 760, 130, 70, 46


def drawing(result: dict[str, Any]) -> str:
    """The run as SVG: a panel for each of memory, threads, descriptors, and the turns' times."""
    end_s = max(result["minutes"] * 60, 1.0)
    samples = [(s["at_s"], s) for s in result["samples"]]
    panels: list[tuple[str, list[tuple[float, float]], bool]] = [
        (name, [(at, float(s[key])) for at, s in samples], False)
        for name, key in (
            ("memory, MiB", "rss_mib"),
            ("threads", "threads"),
            ("descriptors", "descriptors"),
        )
    ]
    turns = [(at, ms) for at, ms in result["turn_times"] if ms is not None]
    panels.append(("answer after, ms", turns, True))
    height = _TOP + len(panels) * _PANEL + 30
    title = (
        f"{result['minutes']:g} minutes, up to {result['calls_at_once']} calls at once, "
        f"{result['turns']} turns, {result['unanswered']} unanswered"
    )
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{_WIDTH}" height="{height}" fill="#fff"/>',
        f'<text x="{_LEFT}" y="24" font-size="14">{escape(title)}</text>',
    ]
    for row, (name, points, dots) in enumerate(panels):
        parts += _panel(name, points, _TOP + row * _PANEL, end_s, dots=dots)
    for minute in range(0, int(end_s / 60) + 1, max(1, int(end_s / 600))):
        x = _x(minute * 60.0, end_s)
        parts.append(
            f'<text x="{x:.0f}" y="{height - 10}" text-anchor="middle">{minute} min</text>'
        )
    return "\n".join([*parts, "</svg>"]) + "\n"


def _x(at_s: float, end_s: float) -> float:
    return _LEFT + (_WIDTH - _LEFT - 20) * min(at_s / end_s, 1.0)


def _panel(
    name: str, points: Sequence[tuple[float, float]], top: int, end_s: float, *, dots: bool
) -> list[str]:
    bottom, most = top + _PANEL - 26, max((value for _, value in points), default=1.0) or 1.0
    scale = (_PANEL - 44) / most
    right = _WIDTH - 20
    parts = [
        f'<line x1="{_LEFT}" y1="{bottom}" x2="{right}" y2="{bottom}" stroke="#999"/>',
        f'<text x="{_LEFT}" y="{top + 8}">{escape(name)}</text>',
        f'<text x="{_LEFT - 6}" y="{bottom}" text-anchor="end">0</text>',
        f'<text x="{_LEFT - 6}" y="{top + 22}" text-anchor="end">{most:.0f}</text>',
    ]
    placed = [(_x(at, end_s), bottom - value * scale) for at, value in points]
    if dots:
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2" fill="#1e5fa8"/>' for x, y in placed]
    else:
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in placed)
        parts.append(f'<polyline points="{line}" fill="none" stroke="#1e5fa8" stroke-width="1.5"/>')
    return parts


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line's."""
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--calls", type=int, default=3, help="at once, at most")
    parser.add_argument("--svg", type=Path, help="draw the lines there")
    options = parser.parse_args(argv)
    if not 0 < options.minutes <= _MOST_MINUTES:
        parser.error(f"--minutes must be above 0 and at most {_MOST_MINUTES}")
    if not 1 <= options.calls <= 64:
        parser.error("--calls must be 1 to 64")
    return options


def main() -> int:
    """Runs a soak. Returns the exit status."""
    options = arguments()
    try:
        result = asyncio.run(until_signalled(soak(options.minutes, options.calls)))
    except (RunError, LiveKitServerError) as e:
        print(f"bench.soak: {e}", file=sys.stderr)
        return 1
    except (KeyboardInterrupt, asyncio.CancelledError):
        return 130
    if options.svg:
        options.svg.write_text(drawing(result), encoding="utf-8")
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
