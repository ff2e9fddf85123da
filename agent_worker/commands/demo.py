"""The demo: a server, a worker and a caller on this machine, one conversation, and its figures."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import datetime
import os
import signal
import tempfile
import uuid
from collections.abc import Sequence
from pathlib import Path

from starlette.types import ASGIApp

from agent_worker.engines.badges import badges, on_their_way
from agent_worker.engines.chosen import Choices
from agent_worker.engines.found import choose_engines
from agent_worker.engines.offers import find_offers
from agent_worker.settings import Settings

from .demo_conversation import Result, Say, converse
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
from .demo_model import awake
from .download import Download, Told, improvements
from .install_line import engines_missing, typed_command
from .livekit_program import find_or_install_server
from .livekit_server import RunningServer, is_free, run_server
from .serve_web import ChangingApp, page, serve_app
from .worker_process import RunError, room_token, run_worker

_DRAIN_S = 3600.0


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
        RunError, CallerError, LiveKitServerError: with what to do.
    """
    if lacking := engines_missing():
        raise RunError(lacking)
    choices = await choose_engines(settings, until_ready=True, say=say)
    wanted = improvements(settings, choices)
    consented = consent(download, terminal=terminal, stays=stay)
    # what is offered, or fetched, in the next line needs no advice on how to get it
    offered = () if consented is Consent.NO else [one.stage for one in wanted]
    print_choices(choices, say, without_advice=offered)
    may = bool(wanted) and await _agreed(wanted, consented)
    beside: DownloadBeside | None = None
    if may and (choices.problems or not stay):
        choices = await _fetched_first(settings, wanted, told, say)
    elif may:
        say("The models come beside the conversation, which is held with what is here.")
        beside = DownloadBeside(settings, wanted, told)
    async with contextlib.AsyncExitStack() as running:
        if beside is not None:
            running.push_async_callback(beside.aclose)
        choices = await awake(settings, choices, say)
        if choices.problems:
            raise RunError("\n".join(choices.problems))
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
        async with run_worker(local, log_file=folder / "worker.log", choices=choices) as worker:
            result = await converse(local, server, choices, folder, say)
            if stay:
                await _stay(local, server, choices, say, worker, beside, folder)
            else:
                say(next_step(choices))
            return result


def print_choices(choices: Choices, say: Say, *, without_advice: Sequence[str] = ()) -> None:
    """Says which engine serves each stage, why, and how to get a better one.

    Args:
        choices: to be told.
        say: prints a line.
        without_advice: stages of which the last is left out.
    """
    for choice in choices:
        say(f"{choice.stage:>9}: {choice.name or choice.engine} - {choice.reason}")
        if choice.problem:
            say(f"{'':>11}PROBLEM: {choice.problem}")
        elif choice.better and choice.stage not in without_advice:
            say(f"{'':>11}{choice.better}")
        if choice.warning:
            say(f"{'':>11}{choice.warning}")


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
    shown = ChangingApp(_page(settings, choices, coming=beside is not None))
    async with serve_app(shown, host="127.0.0.1", port=port) as address:
        say(f"\nThe agent stays up. Talk with it in a browser: {address}")
        _say_how_to_join(settings, server, say)
        say(f"{next_step(choices, on_its_way=beside is not None)}\nCtrl-C ends it.")
        if beside is not None:
            fault = await beside.wait()
            if fault:
                say(did_not_come(fault))
            await _replace_worker(settings, choices, worker, shown, say, folder)
            # nothing of use came
            shown.app = _page(settings, choices)
        await asyncio.Event().wait()


def _page(settings: Settings, choices: Choices, *, coming: bool = False) -> ASGIApp:
    # whoever looks at it has started the demo, and can paste
    shown = tuple(
        dataclasses.replace(badge, command=typed_command(badge.command))
        for badge in badges(choices)
    )
    if coming:
        shown = on_their_way(shown)
    return page(settings, find_offers(settings, choices), engines=shown)


async def _replace_worker(
    settings: Settings, before: Choices, worker: int, shown: ChangingApp, say: Say, folder: Path
) -> None:
    """Has new calls served by a worker on what was downloaded, until cancelled.

    The one before takes no more of them, and ends with its last.
    """
    choices = await choose_engines(settings)
    if choices.problems or [c.name for c in choices] == [c.name for c in before]:
        return
    say("A worker loads what has come …")
    try:
        log_file = folder / "worker-real.log"
        async with run_worker(settings, log_file=log_file, choices=choices):
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker, signal.SIGTERM)
            shown.app = _page(settings, choices)
            print_choices(choices, say)
            say(f"New calls are served by them, and the page says so.\n{next_step(choices)}")
            await asyncio.Event().wait()
    except RunError as e:
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
