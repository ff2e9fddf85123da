"""Turn-taking as the caller feels it: python -m bench.turn [--real] [--json] [--turns 30].

Our worker and a stock LiveKit pipeline (`bench.turn_stock`) answer the same caller through the
same real LiveKit server, with the same recogniser, voice and scripted model, turn by turn in one
run; which of the two is asked first changes with every turn. Times count from the last voiced
sample that the caller sent to the first one that came back. Then, with ours: barge-ins and
backchannels over a long answer, and that answer fed back into the microphone at -20 dB.

With `--real` both run on real weights (Whisper base, Piper joe, the offline flow or SmolLM2), the
caller speaks with that real voice too, and only the turns are taken: a whole call as people would
have it, beside the stock pipeline's. What was heard is told as a word error rate.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import os
import platform
import sys
import tempfile
import uuid
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from agent_worker.caller.client import CallerError
from agent_worker.commands.livekit_program import LiveKitServerError, find_or_install_server
from agent_worker.commands.livekit_server import RunningServer, run_server
from agent_worker.commands.until_signalled import until_signalled
from agent_worker.commands.worker_process import RunError, room_token, run_worker
from agent_worker.settings import Settings, export_environment, load_settings
from agent_worker.telemetry.latency import summary

from . import turn_figures as figures
from . import turn_set
from .part_process import BenchError, module
from .real_parts import PartMissingError
from .turn_call import Over, Side, backchannels, barge_in, echo
from .turn_parts import Parts, Real, Say, Toys

OURS, STOCK = "bench-ours", "bench-stock"
ECHO_S = 15.0
_BACKCHANNELS_PER_STORY = 3


def _settings(server: RunningServer, parts: Parts) -> Settings:
    return load_settings(
        livekit_url=server.url,
        livekit_api_key=server.api_key,
        livekit_api_secret=server.api_secret,
        agent_name=OURS,
        health_port=0,
        greeting="",
        **parts.settings,
    )


def _token(server: RunningServer, agent: str) -> str:
    room = f"bench-{uuid.uuid4().hex[:8]}"
    return room_token(server, room=room, identity="caller", agent_name=agent)


async def measure(turns: int, measured: Toys | Real) -> dict[str, Any]:
    """Runs everything and returns the figures.

    Raises:
        BenchError, RunError, LiveKitServerError, CallerError, PartMissingError: with what is
            missing.
    """
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        binary = await find_or_install_server(load_settings().cache_dir, _say)
        parts = await stack.enter_async_context(measured.running(folder))
        server = await stack.enter_async_context(run_server(binary, log_file=folder / "server.log"))
        settings = _settings(server, parts)
        _say("starting both workers …")
        await stack.enter_async_context(run_worker(settings, log_file=folder / "ours.log"))
        stock = settings.model_copy(update={"agent_name": STOCK})
        await stack.enter_async_context(
            module(
                "bench.turn_stock",
                export_environment(stock, inherit=True),
                folder / "stock.log",
                ready="registered worker",
            )
        )
        sides = {
            "ours": Side(server.url, partial(_token, server, OURS)),
            "stock": Side(server.url, partial(_token, server, STOCK)),
        }
        await _take_turns(sides, turns, parts.say)
        # these need a model that tells a long story in words that are known
        overlaps = {} if isinstance(measured, Real) else await _overlaps(server, turns)
    return report({name: (side.turns, _stages(side)) for name, side in sides.items()}, overlaps)


def report(
    sides: Mapping[str, tuple[Sequence[figures.Turn], Mapping[str, float]]],
    overlaps: Mapping[str, Any],
) -> dict[str, Any]:
    """The figures of both pipelines, and those of interruptions where they were measured.

    Args:
        sides: `ours` and `stock`: the turns, and the medians of the worker's stages.
        overlaps: what `_overlaps` gives, or nothing.
    """
    results = {name: figures.of_turns(turns) for name, (turns, _) in sides.items()}
    ours, stock = results["ours"], results["stock"]
    return {
        **results,
        "ratio_p50": figures.ratio(ours["end_to_end_ms_p50"], stock["end_to_end_ms_p50"]),
        "ratio_p95": figures.ratio(ours["end_to_end_ms_p95"], stock["end_to_end_ms_p95"]),
        **overlaps,
        "detail": {
            **{
                name: {**figures.detail(turns), "stages_ms_p50": dict(stages)}
                for name, (turns, stages) in sides.items()
            },
            **overlaps.get("detail", {}),
        },
    }


def _stages(side: Side) -> dict[str, float]:
    spans = [(spoken.started_at, spoken.ended_at) for spoken in side.spoken]
    return figures.stages_ms_p50(spans, side.records)


async def _take_turns(sides: dict[str, Side], turns: int, say: Say) -> None:
    lines = [(s, await turn_set.rendered(s, say)) for s in turn_set.sentences(turns)]
    try:
        for number, (sentence, pcm) in enumerate(lines):
            order = list(sides) if number % 2 == 0 else list(reversed(sides))
            for name in order:
                turn = await sides[name].ask(sentence.text, pcm, paused=sentence.paused)
                took = "no answer" if turn.end_to_end_ms is None else f"{turn.end_to_end_ms:.0f} ms"
                _say(f"{name:>6}: {turn.said}: {took}{', cut off' if turn.cut_off else ''}")
    finally:
        for side in sides.values():
            await side.aclose()


async def _overlaps(server: RunningServer, turns: int) -> dict[str, Any]:
    """Ours alone: interruptions, backchannels, echo."""
    token = partial(_token, server, OURS)
    questions = (turn_set.ASK_FOR_STORY, turn_set.ASK_FOR_KNOWN_WORDS)
    words = (*questions, *turn_set.BARGE_INS, *turn_set.BACKCHANNELS)
    lines = {text: await turn_set.rendered(turn_set.Sentence((text,))) for text in words}
    question = lines[turn_set.ASK_FOR_STORY]
    count = max(1, turns // 5)
    echo_s = min(ECHO_S, 5 + turns / 3)
    barge_ins: list[Over] = []
    for number in range(count):
        said = turn_set.BARGE_INS[number % len(turn_set.BARGE_INS)]
        barge_ins.append(await barge_in(server.url, token, question, said, lines[said]))
        _say(f"barge-in: {barge_ins[-1]}")
    left = [turn_set.BACKCHANNELS[n % len(turn_set.BACKCHANNELS)] for n in range(count)]
    heard: list[Over] = []
    while left:
        batch = [(text, lines[text]) for text in left[:_BACKCHANNELS_PER_STORY]]
        done = await backchannels(server.url, token, question, batch)
        heard += done
        left = left[len(done) :]
        _say(f"backchannels: {done}")
    echoes = [await echo(server.url, token, lines[text], echo_s) for text in questions]
    for echoed in echoes:
        _say(f"echo: {echoed}")
    unknown_words, known_words = echoes
    silent = [b.silent_ms for b in barge_ins if b.silent_ms is not None]
    return {
        "barge_in_silent_ms_p50": summary(silent)["p50"],
        "backchannel": {
            "false_stop_rate": figures.rate(sum(b.silent_ms is not None for b in heard), count),
            "missed_stop_rate": figures.rate(count - len(silent), count),
        },
        "echo": {"false_stops": known_words.stops},
        "detail": {
            "barge_ins": [dataclasses.asdict(b) for b in barge_ins],
            "backchannels": [dataclasses.asdict(b) for b in heard],
            "echo": dataclasses.asdict(known_words),
            # a recogniser of few words can't tell the agent's others from a caller's
            "echo_of_unknown_words": dataclasses.asdict(unknown_words),
        },
    }


def conditions(turns: int, models: Mapping[str, str]) -> dict[str, Any]:
    """Where and with what it was measured."""
    return {
        "turns": turns,
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{platform.machine()}, {os.cpu_count()} CPUs, {platform.system()}",
        "load_1min": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "models": dict(models),
        "livekit_agents": version("livekit-agents"),
    }


def table(result: Mapping[str, Any]) -> str:
    """The figures for people."""
    rows = [f"{'':8} {'p50':>9} {'p95':>9} {'cut off':>8} {'words wrong':>12}"]
    for name in ("ours", "stock"):
        r = result[name]
        wrong = r["word_error_rate"]
        rows.append(
            f"{name:8} {_shown(r['end_to_end_ms_p50'])} {_shown(r['end_to_end_ms_p95'])} "
            f"{r['cut_off_rate'] if r['cut_off_rate'] is not None else '-':>8} "
            f"{'-' if wrong is None else f'{wrong:.1%}':>12}"
        )
    rows.append(f"ratio of the p50: {result['ratio_p50']}, of the p95: {result['ratio_p95']}")
    if "backchannel" in result:
        backchannel = result["backchannel"]
        rows += [
            f"barge-in: silent after {_shown(result['barge_in_silent_ms_p50']).strip()} (p50)",
            f"backchannels: false stops {backchannel['false_stop_rate']}, "
            f"missed stops {backchannel['missed_stop_rate']}",
            f"echo: false stops {result['echo']['false_stops']}",
        ]
    return "\n".join(rows)


def _shown(milliseconds: float | None) -> str:
    return f"{'-':>9}" if milliseconds is None else f"{milliseconds:6.0f} ms"


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


async def _bounded(turns: int, measured: Toys | Real) -> dict[str, Any]:
    limit_s = 240 + 20 * turns
    try:
        async with asyncio.timeout(limit_s):
            return await measure(turns, measured)
    except TimeoutError:
        raise BenchError(f"not done after {limit_s} s") from None


def main() -> int:
    """Measures, and prints a table or one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.add_argument(
        "--turns", type=int, help="turns for each pipeline; 30, and 12 with --real, unless told"
    )
    parser.add_argument("--voice", choices=("espeak", "tiny-piper"), default="espeak")
    parser.add_argument("--real", action="store_true", help="on real weights; turns only")
    parser.add_argument(
        "--llm", choices=("offline", "smollm2"), default="offline", help="of --real"
    )
    options = parser.parse_args()
    turns = options.turns if options.turns is not None else 12 if options.real else 30
    if turns < 1:
        parser.error("--turns must be at least 1")
    measured = Real(options.llm) if options.real else Toys(options.voice)
    before = conditions(turns, measured.models)
    try:
        result = asyncio.run(until_signalled(_bounded(turns, measured)))
    except (BenchError, RunError, LiveKitServerError, CallerError, PartMissingError) as e:
        print(f"bench.turn: {e}", file=sys.stderr)
        return 1
    except (KeyboardInterrupt, asyncio.CancelledError):
        return 130
    print(json.dumps({**result, **before}) if options.json else table(result))
    return 0


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    # All is closed by now. LiveKit's native threads may still log while the interpreter is taken
    # down, which aborts the process: the status would be lost.
    os._exit(status)
