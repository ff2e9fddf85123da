"""Turn-taking as the caller feels it: python -m bench.turn [--json] [--turns 30].

Our worker and a stock LiveKit pipeline (`bench.turn_stock`) answer the same caller through the
same real LiveKit server, with the same recogniser, voice and scripted model, turn by turn in one
run; which of the two is asked first changes with every turn. Times count from the last voiced
sample that the caller sent to the first one that came back. Then, with ours: barge-ins and
backchannels over a long answer, and that answer fed back into the microphone at -20 dB.
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
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from agent_worker.caller.client import CallerError
from agent_worker.commands.livekit_program import LiveKitServerError, find_or_install_server
from agent_worker.commands.livekit_server import RunningServer, run_server
from agent_worker.commands.stop_process import stop_process
from agent_worker.commands.until_signalled import until_signalled
from agent_worker.commands.worker_process import RunError, room_token, run_worker
from agent_worker.settings import Settings, export_environment, load_settings
from agent_worker.telemetry.latency import summary

from . import turn_figures as figures
from . import turn_set
from .turn_call import Over, Side, backchannels, barge_in, echo
from .turn_model import FIRST_TOKEN_S, TOKENS_PER_SECOND

OURS, STOCK = "bench-ours", "bench-stock"
ECHO_S = 15.0
_START_S = 120.0
_BACKCHANNELS_PER_STORY = 3


class BenchError(Exception):
    """A part is missing or did not start. The message says which."""


@asynccontextmanager
async def module(
    name: str, environment: Mapping[str, str], log_file: Path, *, ready: str
) -> AsyncIterator[str]:
    """Runs a module in a process of its own. Gives the line of its output that holds `ready`.

    Raises:
        BenchError: it ended, or took two minutes.
    """
    with log_file.open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            name,
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + _START_S
        while True:
            lines = log_file.read_text(errors="replace").splitlines()
            if found := next((line for line in lines if ready in line), None):
                break
            if process.returncode is not None:
                raise BenchError(f"{name} ended:\n  " + "\n  ".join(lines[-3:]))
            if time.monotonic() > deadline:
                raise BenchError(f"{name} did not start within {_START_S:.0f} s")
            await asyncio.sleep(0.05)
        yield found
    finally:
        await stop_process(process)


def _settings(server: RunningServer, model: Mapping[str, str], voice: Path | None) -> Settings:
    return load_settings(
        livekit_url=server.url,
        livekit_api_key=server.api_key,
        livekit_api_secret=server.api_secret,
        agent_name=OURS,
        health_port=0,
        greeting="",
        stt="bundled",
        llm="assistant",
        llm_url=model["url"],
        llm_model=model["model"],
        tts="espeak" if voice is None else "piper",
        tts_voice=None if voice is None else str(voice),
    )


def _token(server: RunningServer, agent: str) -> str:
    room = f"bench-{uuid.uuid4().hex[:8]}"
    return room_token(server, room=room, identity="caller", agent_name=agent)


async def measure(turns: int, voice: str) -> dict[str, Any]:
    """Runs everything and returns the figures.

    Raises:
        BenchError, RunError, LiveKitServerError, CallerError: with what is missing.
    """
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        voice_file = _tiny_voice(folder) if voice == "tiny-piper" else None
        binary = await find_or_install_server(load_settings().cache_dir, _say)
        environment = dict(os.environ)
        ready = await stack.enter_async_context(
            module("bench.turn_model", environment, folder / "model.log", ready='"url"')
        )
        server = await stack.enter_async_context(run_server(binary, log_file=folder / "server.log"))
        settings = _settings(server, json.loads(ready), voice_file)
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
        await _take_turns(sides, turns)
        overlaps = await _overlaps(server, turns)
    results = {name: figures.of_turns(side.turns) for name, side in sides.items()}
    return {
        **results,
        "ratio_p50": figures.ratio(
            results["ours"]["end_to_end_ms_p50"], results["stock"]["end_to_end_ms_p50"]
        ),
        **overlaps,
        "detail": {
            **{name: _detail(side) for name, side in sides.items()},
            **overlaps["detail"],
        },
    }


def _detail(side: Side) -> dict[str, Any]:
    spans = [(spoken.started_at, spoken.ended_at) for spoken in side.spoken]
    return {
        **figures.detail(side.turns),
        "stages_ms_p50": figures.stages_ms_p50(spans, side.records),
    }


async def _take_turns(sides: dict[str, Side], turns: int) -> None:
    lines = [(s, await turn_set.rendered(s)) for s in turn_set.sentences(turns)]
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


def _tiny_voice(folder: Path) -> Path:
    from tests.tiny_piper import build

    return build(folder / "tiny.onnx")


def conditions(turns: int, voice: str) -> dict[str, Any]:
    """Where and with what it was measured."""
    return {
        "turns": turns,
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{platform.machine()}, {os.cpu_count()} CPUs, {platform.system()}",
        "load_1min": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "models": {
            "stt": "bundled Whisper",
            "llm": f"scripted, {FIRST_TOKEN_S * 1000:.0f} ms to the first token, "
            f"{TOKENS_PER_SECOND:.0f} tokens/s",
            "tts": voice,
        },
        "livekit_agents": version("livekit-agents"),
    }


def table(result: Mapping[str, Any]) -> str:
    """The figures for people."""
    rows = [f"{'':8} {'p50':>9} {'p95':>9} {'cut off':>8}"]
    for name in ("ours", "stock"):
        r = result[name]
        rows.append(
            f"{name:8} {_shown(r['end_to_end_ms_p50'])} {_shown(r['end_to_end_ms_p95'])} "
            f"{r['cut_off_rate'] if r['cut_off_rate'] is not None else '-':>8}"
        )
    backchannel = result["backchannel"]
    rows += [
        f"ratio of the p50: {result['ratio_p50']}",
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


async def _bounded(turns: int, voice: str) -> dict[str, Any]:
    limit_s = 240 + 20 * turns
    try:
        async with asyncio.timeout(limit_s):
            return await measure(turns, voice)
    except TimeoutError:
        raise BenchError(f"not done after {limit_s} s") from None


def main() -> int:
    """Measures, and prints a table or one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.add_argument("--turns", type=int, default=30, help="turns for each pipeline")
    parser.add_argument("--voice", choices=("espeak", "tiny-piper"), default="espeak")
    options = parser.parse_args()
    if options.turns < 1:
        parser.error("--turns must be at least 1")
    before = conditions(options.turns, options.voice)
    try:
        result = asyncio.run(until_signalled(_bounded(options.turns, options.voice)))
    except (BenchError, RunError, LiveKitServerError, CallerError) as e:
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
