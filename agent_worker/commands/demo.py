"""The demo: a server, a worker and a caller on this machine, one conversation, and its figures."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import datetime
import json
import math
import os
import signal
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from livekit.protocol.room import RoomConfiguration
from starlette.types import ASGIApp

from agent_worker.caller.client import SAMPLE_RATE, Pcm, SimulatedCaller, Spoken
from agent_worker.engines.badges import badges
from agent_worker.engines.build import caller_voice
from agent_worker.engines.chosen import Choices
from agent_worker.engines.found import choose_engines
from agent_worker.engines.offers import find_offers
from agent_worker.settings import Settings, export_environment
from agent_worker.telemetry.latency import summary
from agent_worker.telemetry.waterfall import STAGES, stages_text, waterfall_svg, waterfall_text
from livekit import api, rtc

from .demo_download import (
    Consent,
    DownloadBeside,
    ask_on_terminal,
    consent,
    did_not_come,
    is_yes,
    next_step,
    question,
)
from .download import Download, Told, improvements
from .livekit_server import RunningServer, find_or_install_server, is_free, run_server, stop_process
from .serve_web import ChangingApp, page, serve_app

Say = Callable[[str], None]

BARGE_IN = "tell me a story"
"""The turn whose answer is long enough to be interrupted."""
INTERRUPTION = "stop"
CONVERSATION = (
    "hello",
    "what time is it",
    "what is two plus three",
    "remember that my name is alice",
    BARGE_IN,
    "what is my name",
    "goodbye",
)
_SPEAK_OVER_AFTER_S = 1.5
_ANSWER_TIMEOUT_S = 30.0
_WORKER_TIMEOUT_S = 300.0
"""A large model is loaded before it registers."""
_DRAIN_S = 3600.0
_QUIET_S = 0.7
_ON_ITS_WAY_S = 0.03
"""Less than any audio takes from the worker to the caller, through the server and two buffers."""


class DemoError(Exception):
    """The demo can't go on. The message says why and what to do."""


@dataclasses.dataclass(frozen=True)
class Turn:
    """One exchange. Milliseconds count from the last voiced sample that the caller sent."""

    said: str
    heard: str
    answered: str
    waterfall_ms: dict[str, float]
    end_to_end_ms: float


@dataclasses.dataclass(frozen=True)
class BargeIn:
    """The caller spoke over the agent; milliseconds from their first voiced sample."""

    silent_after_ms: float
    answered_before: str
    """As much of the answer as had been spoken."""


@dataclasses.dataclass(frozen=True)
class Result:
    """A conversation and its figures, as ``--json`` prints it."""

    engines: dict[str, str]
    turns: list[Turn]
    barge_in: BargeIn
    folder: str

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            "engines": self.engines,
            "turns": [dataclasses.asdict(turn) for turn in self.turns],
            "barge_in": dataclasses.asdict(self.barge_in),
            "end_to_end_ms": summary([turn.end_to_end_ms for turn in self.turns]),
            "folder": self.folder,
        }


def room_token(server: RunningServer, *, room: str, identity: str, agent_name: str) -> str:
    """A token for one room; joining with it also calls the agent."""
    dispatch = api.RoomAgentDispatch(agent_name=agent_name)
    return (
        api.AccessToken(server.api_key, server.api_secret)
        .with_identity(identity)
        .with_ttl(datetime.timedelta(hours=6))
        .with_grants(api.VideoGrants(room_join=True, room=room))
        .with_room_config(RoomConfiguration(agents=[dispatch]))
        .to_jwt()
    )


@contextlib.asynccontextmanager
async def run_worker(
    settings: Settings, *, log_file: Path, registrations: int = 1
) -> AsyncIterator[int]:
    """Runs the worker in a process of its own until the context ends. Gives its pid.

    Args:
        settings: of the worker.
        log_file: gets what it prints.
        registrations: call processes that must have registered; 1 = any.

    Raises:
        DemoError: it ended, or did not register within five minutes.
    """
    with log_file.open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "agent_worker",
            "start",
            env=export_environment(settings, inherit=True),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + _WORKER_TIMEOUT_S
        while log_file.read_text(errors="replace").count("registered worker") < registrations:
            if process.returncode is not None:
                last = log_file.read_text(errors="replace").strip().splitlines()[-3:]
                raise DemoError("the worker ended:\n  " + "\n  ".join(last or ["without a word"]))
            if time.monotonic() > deadline:
                raise DemoError(f"the worker did not register; its log is {log_file}")
            await asyncio.sleep(0.05)
        yield process.pid
    finally:
        await stop_process(process)


async def run_demo(
    settings: Settings,
    *,
    folder: Path,
    say: Say,
    stay: bool,
    download: bool | None = False,
    terminal: bool = False,
    told: Told = lambda done, total, name: None,
) -> Result:
    """Runs the whole demo.

    Args:
        settings: the demo takes the engines and the greeting from them, never the server.
        folder: gets the recordings, the transcript, the timings and the picture.
        say: prints a line for people.
        stay: keep server and worker up afterwards, until cancelled. What is downloaded then comes
            beside the conversation, else before it.
        download: whether real models may be fetched; None = asked, where there is a terminal.
        terminal: whether there is somebody to ask.
        told: of the download's progress.

    Raises:
        DemoError, CallerError, LiveKitServerError: with what to do.
    """
    choices = await choose_engines(settings)
    print_choices(choices, say)
    wanted = improvements(settings, choices)
    may = bool(wanted) and await _agreed(wanted, consent(download, terminal=terminal, stays=stay))
    beside: DownloadBeside | None = None
    if may and (choices.problems or not stay):
        choices = await _fetched_first(settings, wanted, told, say)
    elif may:
        say("The models come beside the conversation, which is held with what is here.")
        beside = DownloadBeside(settings, wanted, told)
    if choices.problems:
        raise DemoError("\n".join(choices.problems))
    async with contextlib.AsyncExitStack() as running:
        if beside is not None:
            running.push_async_callback(beside.aclose)
        return await _run(settings, choices, folder, say, stay=stay, beside=beside)


async def _agreed(wanted: Sequence[Download], consented: Consent) -> bool:
    if consented is not Consent.ASK:
        return consented is Consent.YES
    return is_yes(await ask_on_terminal(question(wanted)))


async def _fetched_first(
    settings: Settings, wanted: Sequence[Download], told: Told, say: Say
) -> Choices:
    beside = DownloadBeside(settings, wanted, told)
    try:
        fault = await beside.wait()
    finally:
        await beside.aclose()
    if fault:
        say(did_not_come(fault))
    choices = await choose_engines(settings)
    print_choices(choices, say)
    return choices


async def _run(
    settings: Settings,
    choices: Choices,
    folder: Path,
    say: Say,
    *,
    stay: bool,
    beside: DownloadBeside | None,
) -> Result:
    folder.mkdir(parents=True, exist_ok=True)
    binary = await find_or_install_server(settings.cache_dir, say)
    say(f"LiveKit server: {binary.path} ({binary.source})")
    async with run_server(binary, log_file=folder / "livekit-server.log") as server:
        local = settings.model_copy(
            update={
                "livekit_url": server.url,
                "livekit_api_key": server.api_key,
                "livekit_api_secret": type(settings.livekit_api_secret)(server.api_secret),
                "health_port": 0,
                # development keys: the page is for this machine alone
                "web_host": "127.0.0.1",
                "web_livekit_url": None,
                # calls that began before the real models came are to end by themselves
                **({} if beside is None else {"drain_timeout_s": _DRAIN_S}),
            }
        )
        say("Starting the worker …")
        async with run_worker(local, log_file=folder / "worker.log") as worker:
            result = await _converse(local, server, choices, folder, say)
            if stay:
                await _stay(local, server, choices, say, worker, beside, folder)
            else:
                say(next_step(choices))
            return result


def print_choices(choices: Choices, say: Say) -> None:
    """Says which engine serves each stage, why, and how to get a better one."""
    for choice in choices:
        say(f"{choice.stage:>9}: {choice.name or choice.engine} - {choice.reason}")
        if choice.problem:
            say(f"{'':>11}PROBLEM: {choice.problem}")
        elif choice.better:
            say(f"{'':>11}{choice.better}")


async def _converse(
    settings: Settings, server: RunningServer, choices: Choices, folder: Path, say: Say
) -> Result:
    say("Rendering the caller's lines …")
    lines = {text: await render(text) for text in (*CONVERSATION, INTERRUPTION)}
    room = f"demo-{uuid.uuid4().hex[:8]}"
    token = room_token(server, room=room, identity="caller", agent_name=settings.agent_name)
    turns: list[Turn] = []
    async with SimulatedCaller(server.url, token) as caller:
        await caller.wait_for_agent_state("listening", timeout_s=_ANSWER_TIMEOUT_S)
        if settings.greeting:
            await caller.audible_after(0.0, timeout_s=_ANSWER_TIMEOUT_S)
            say(f"\n   agent: {await caller.wait_for_answer(0.0, timeout_s=_ANSWER_TIMEOUT_S)}")
        barge_in: BargeIn | None = None
        for text in CONVERSATION:
            await _wait_for_quiet(caller)
            if text == BARGE_IN:
                turn, barge_in, next_turn = await _interrupt(caller, text, lines, say)
                turns += [turn, next_turn]
            else:
                turns.append(await _exchange(caller, text, lines[text], say))
        await _wait_for_quiet(caller)
        caller.save_recordings(folder / "caller.wav", folder / "agent.wav")
    if barge_in is None:
        raise DemoError("the conversation holds no barge-in")
    engines = {"stt": choices.stt.name, "llm": choices.llm.name, "tts": choices.tts.name}
    result = Result(engines, turns, barge_in, str(folder))
    _save(result, folder)
    say("\n" + waterfall_text([(t.said, t.waterfall_ms) for t in turns]))
    say(
        f"barge-in: silent {barge_in.silent_after_ms:.0f} ms after the caller's first sound"
        f"\nfolder: {folder} (recordings, transcript, timings, waterfall.svg)"
    )
    return result


async def render(text: str, *, language: str = "en-us") -> Pcm:
    """A line in the caller's voice: mono int16 at the caller's sample rate."""
    resampler: rtc.AudioResampler | None = None
    parts: list[bytes] = []
    async with caller_voice(language) as voice, voice.synthesize(text) as stream:
        async for event in stream:
            frame = event.frame
            resampler = resampler or rtc.AudioResampler(frame.sample_rate, SAMPLE_RATE)
            parts += [bytes(f.data) for f in resampler.push(frame)]
    if resampler is not None:
        parts += [bytes(f.data) for f in resampler.flush()]
    return np.frombuffer(b"".join(parts), np.int16)


async def _wait_for_quiet(caller: SimulatedCaller) -> None:
    await caller.silent(for_s=_QUIET_S, timeout_s=2 * _ANSWER_TIMEOUT_S)
    await caller.wait_for_agent_state("listening", timeout_s=_ANSWER_TIMEOUT_S)


async def _exchange(caller: SimulatedCaller, text: str, pcm: Pcm, say: Say) -> Turn:
    since = time.time()
    say(f"\n  caller: {text}")
    spoken = await caller.speak(pcm)
    received_at = await caller.audible_after(spoken.ended_at, timeout_s=_ANSWER_TIMEOUT_S)
    await caller.silent(for_s=_QUIET_S, timeout_s=2 * _ANSWER_TIMEOUT_S)
    await caller.wait_for_answer(since, timeout_s=_ANSWER_TIMEOUT_S)
    return _turn(caller, text, since, spoken, received_at, say)


def _turn(
    caller: SimulatedCaller,
    text: str,
    since: float,
    spoken: Spoken,
    received_at: float,
    say: Say,
    *,
    until: float = math.inf,
) -> Turn:
    record = caller.latency_record(since) or {"at": {}}
    stages = {
        name: round((record["at"][key] - spoken.ended_at) * 1000, 1)
        for name, key in STAGES
        if key in record["at"]
    }
    end_to_end_ms = round((received_at - spoken.ended_at) * 1000, 1)
    turn = Turn(
        said=text,
        heard=caller.heard(since, until),
        answered=caller.answered(since, until),
        waterfall_ms={**stages, "first_audio_received": end_to_end_ms},
        end_to_end_ms=end_to_end_ms,
    )
    say(f"   heard: {turn.heard}\n   agent: {turn.answered}")
    say("          " + stages_text(turn.waterfall_ms))
    return turn


async def _interrupt(
    caller: SimulatedCaller, text: str, lines: dict[str, Pcm], say: Say
) -> tuple[Turn, BargeIn, Turn]:
    """A turn whose answer is cut short by the caller, and the turn that does it."""
    since = time.time()
    say(f"\n  caller: {text}")
    spoken = await caller.speak(lines[text])
    received_at = await caller.audible_after(spoken.ended_at, timeout_s=_ANSWER_TIMEOUT_S)
    await asyncio.sleep(max(0.0, received_at + _SPEAK_OVER_AFTER_S - time.time()))
    over_since = time.time()
    say(f"  caller: {INTERRUPTION} (over the agent)")
    over = await caller.speak(lines[INTERRUPTION])
    record = await caller.wait_for_latency_record(over.started_at, timeout_s=_ANSWER_TIMEOUT_S)
    # the next answer may follow within a fraction of a second: what is heard before it has left
    # the worker, and been on its way, is still the old one
    next_out = record["at"]["first_audio_out"] + _ON_ITS_WAY_S
    silent_at = caller.last_audible_before(next_out) or over.started_at
    answer_at = await caller.audible_after(next_out, timeout_s=_ANSWER_TIMEOUT_S)
    await caller.silent(for_s=_QUIET_S, timeout_s=2 * _ANSWER_TIMEOUT_S)
    turn = _turn(caller, text, since, spoken, received_at, lambda _: None, until=over_since)
    say(f"   heard: {turn.heard}\n   agent: {turn.answered} ✂")
    next_turn = _turn(caller, INTERRUPTION, over_since, over, answer_at, say)
    barge_in = BargeIn(round((silent_at - over.started_at) * 1000, 1), turn.answered)
    return turn, barge_in, next_turn


def _save(result: Result, folder: Path) -> None:
    timings = result.to_dict()
    transcript = [
        {"said": turn.said, "heard": turn.heard, "answered": turn.answered} for turn in result.turns
    ]
    _write(folder / "timings.json", json.dumps(timings, indent=2, ensure_ascii=False))
    _write(folder / "transcript.json", json.dumps(transcript, indent=2, ensure_ascii=False))
    rows = [(turn.said, turn.waterfall_ms) for turn in result.turns]
    _write(folder / "waterfall.svg", waterfall_svg(rows))


def _write(path: Path, text: str) -> None:
    path.write_text(text + "\n", encoding="utf-8")


async def _stay(
    settings: Settings,
    server: RunningServer,
    choices: Choices,
    say: Say,
    worker: int,
    beside: DownloadBeside | None,
    folder: Path,
) -> None:
    port = settings.web_port if is_free(settings.web_port) else 0
    shown = ChangingApp(_page(settings, choices))
    async with serve_app(shown, host="127.0.0.1", port=port) as address:
        say(f"\nThe agent stays up. Talk with it in a browser: {address}")
        _say_how_to_join(settings, server, say)
        say(f"{next_step(choices, on_its_way=beside is not None)}\nCtrl-C ends it.")
        if beside is not None:
            if fault := await beside.wait():
                say(did_not_come(fault))
            await _replace_worker(settings, choices, worker, shown, say, folder)
        await asyncio.Event().wait()


def _page(settings: Settings, choices: Choices) -> ASGIApp:
    return page(settings, find_offers(settings, choices), engines=badges(choices))


async def _replace_worker(
    settings: Settings, before: Choices, worker: int, shown: ChangingApp, say: Say, folder: Path
) -> None:
    """Has new calls served by a worker on what was downloaded, until cancelled.

    The one before takes no more of them, and ends with its last.
    """
    choices = await choose_engines(settings)
    if choices.problems or [c.name for c in choices] == [c.name for c in before]:
        return
    say("The models are here; a worker loads them …")
    try:
        async with run_worker(settings, log_file=folder / "worker-real.log"):
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker, signal.SIGTERM)
            shown.app = _page(settings, choices)
            print_choices(choices, say)
            say(f"New calls are served by them: reload the page.\n{next_step(choices)}")
            await asyncio.Event().wait()
    except DemoError as e:
        say(f"{e}\nCalls are served as before.")


def _say_how_to_join(settings: Settings, server: RunningServer, say: Say) -> None:
    room = f"room-{uuid.uuid4().hex[:6]}"
    token = room_token(server, room=room, identity="guest", agent_name=settings.agent_name)
    say(
        "\nOr with any LiveKit client:\n"
        f"  URL    {server.url}\n"
        f"  room   {room}\n"
        f"  token  {token}\n"
        "\nAgents Playground or meet.livekit.io, 'custom': paste URL and token."
        "\nLiveKit CLI:\n"
        f"  lk room join --url {server.url} --api-key {server.api_key} "
        f"--api-secret {server.api_secret} --identity you {room}\n"
        f"  lk dispatch create --url {server.url} --api-key {server.api_key} "
        f"--api-secret {server.api_secret} --agent-name {settings.agent_name} --room {room}\n"
    )


def default_folder() -> Path:
    """A new folder for one run's recordings, below the working folder; else a temporary one."""
    name = datetime.datetime.now().strftime("demo-%Y%m%d-%H%M%S")
    parent = Path("recordings")
    try:
        parent.mkdir(exist_ok=True)
    except OSError:
        parent = Path(tempfile.mkdtemp(prefix="agent-worker-"))
    return parent / name


async def until_signalled(main: Any) -> Any:
    """Runs a coroutine and cancels it on SIGINT, SIGTERM or SIGHUP, so that all is cleaned up."""
    task = asyncio.ensure_future(main)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, task.cancel)
    return await task
