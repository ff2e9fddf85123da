"""A worker in a process of its own, for the commands that talk to one."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import json
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

from livekit.protocol.room import RoomConfiguration

from agent_worker.dispatch.registration import READY
from agent_worker.engines.chosen import Choices
from agent_worker.processes.handed_choices import COMMAND as CHOSEN_WORKER
from agent_worker.processes.handed_choices import hand_on
from agent_worker.settings import Settings, export_environment
from livekit import api

from .livekit_server import RunningServer
from .stop_process import stop_process

_REGISTERED_WITHIN_S = 300.0
"""A large model is loaded before it registers."""
_LOOK_EVERY_S = 0.05


class RunError(Exception):
    """A command that runs a worker of its own can't go on. The message says why and what to do."""


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


def ready_lines(log_file: Path) -> int:
    """How often a worker that logs there has registered: lines of JSON with ``"ready": true``.

    Each of several call processes has one, and one more for each time that it registers again.
    """
    return sum(_is_ready(line) for line in log_file.read_text(errors="replace").splitlines())


def _is_ready(line: str) -> bool:
    # most lines are about something else, and need not be parsed
    if f'"{READY}"' not in line:
        return False
    try:
        fields = json.loads(line)
    except ValueError:
        return False
    return isinstance(fields, dict) and fields.get(READY) is True


@contextlib.asynccontextmanager
async def run_worker(
    settings: Settings,
    *,
    log_file: Path,
    registrations: int = 1,
    choices: Choices | None = None,
) -> AsyncIterator[int]:
    """Runs the worker in a process of its own until the context ends. Gives its pid.

    Args:
        settings: of the worker.
        log_file: gets what it prints.
        registrations: that must have been made, one by each call process.
        choices: its engines; None = it looks for itself.

    Raises:
        RunError: it ended, or did not register within five minutes.
    """
    with log_file.open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "agent_worker",
            "start" if choices is None else CHOSEN_WORKER,
            env=export_environment(settings, inherit=True),
            stdin=asyncio.subprocess.DEVNULL if choices is None else asyncio.subprocess.PIPE,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        if choices is not None:
            await hand_on(choices, process)
        deadline = time.monotonic() + _REGISTERED_WITHIN_S
        while ready_lines(log_file) < registrations:
            if process.returncode is not None:
                last = log_file.read_text(errors="replace").strip().splitlines()[-3:]
                raise RunError("the worker ended:\n  " + "\n  ".join(last or ["without a word"]))
            if time.monotonic() > deadline:
                raise RunError(f"the worker did not register; its log is {log_file}")
            await asyncio.sleep(_LOOK_EVERY_S)
        yield process.pid
    finally:
        await stop_process(process)
