"""Keeps the worker's own language model: one process for all calls, replaced when it dies.

Its address and its key stay the same from one process to the next, so that calls go on: a turn
under way gets the apology, the next one its answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import logging
import secrets
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import IO, cast

from agent_worker.engines.choice import choose
from agent_worker.engines.chosen import Choices
from agent_worker.engines.house_model import find_machine
from agent_worker.engines.local_models import ServerPlan, server_plan
from agent_worker.settings import Settings

from .plan import pause_s

logger = logging.getLogger(__name__)

COMMAND = (sys.executable, "-m", "agent_worker.processes.llama_process")
_LOADING_S = 300.0
_LONG_LIFE_S = 30.0
_LAST_LINES = 30


class HouseModelError(Exception):
    """The model can't be run. The message says why and what to do."""


class HouseModel:
    """llama.cpp's server in a process of its own, on loopback."""

    def __init__(self, plan: ServerPlan, *, command: Sequence[str] = COMMAND) -> None:
        """
        Args:
            plan: how it is to be run.
            command: reads orders as `llama_process` does.
        """
        self.name = Path(plan.path).stem
        self.key = secrets.token_urlsafe(32)
        """Whoever lacks it is refused: other users of this machine reach loopback too."""
        self._command = list(command)
        self._port, self._held = _take_port()
        self.url = f"http://127.0.0.1:{self._port}/v1"
        self._orders = json.dumps(
            {
                **dataclasses.asdict(plan),
                "name": self.name,
                "port": self._port,
                "reuse_port": self._held is not None,
                "key": self.key,
            }
        )
        self._path = plan.path
        self._first = threading.Event()
        self._fault: str | None = None
        self._closing = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        # One thread for its whole life: the kernel ends the process with the thread that began it.
        self._thread = threading.Thread(target=self._keep, name="house model", daemon=True)

    @property
    def pid(self) -> int | None:
        """Of the process that runs now."""
        process = self._process
        return None if process is None or process.poll() is not None else process.pid

    def start(self) -> None:
        """Returns once the model is in memory and answers.

        Raises:
            HouseModelError: it can't be loaded.
        """
        self._thread.start()
        if not self._first.wait(_LOADING_S):
            self.close()
            raise HouseModelError(f"{self._path} was not loaded in {_LOADING_S:.0f} s")
        if self._fault is not None:
            self.close()
            raise HouseModelError(self._fault)

    def close(self) -> None:
        """Ends the process. Safe to call twice."""
        self._closing.set()
        process = self._process
        if process is not None:
            # It owns nothing that is worth a goodbye.
            process.kill()
        if self._thread.is_alive():
            self._thread.join()
        if self._held is not None:
            self._held.close()

    # -- in the thread that stays --------------------------------------------------------------
    def _keep(self) -> None:
        failures = 0
        while not self._closing.is_set():
            started_at = time.monotonic()
            served, status, last = self._run()
            if self._closing.is_set():
                return
            if not self._first.is_set():
                self._fault = _why(self._path, last)
                self._first.set()
                return
            failures = failures + 1 if time.monotonic() - started_at < _LONG_LIFE_S else 1
            logger.error(
                "the language model's process has ended and is started again",
                extra={"status": status, "had_served": served},
            )
            self._closing.wait(pause_s(failures))

    def _run(self) -> tuple[bool, int, list[str]]:
        """One process from its start to its end: had it served, its status, what it said last."""
        process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        self._process = process
        if self._closing.is_set():
            process.kill()
        with process:
            stdin, stdout = cast(IO[bytes], process.stdin), cast(IO[bytes], process.stdout)
            log = _Log(cast(IO[bytes], process.stderr))
            with contextlib.suppress(OSError):
                stdin.write(self._orders.encode() + b"\n")
                stdin.flush()
            served = bool(stdout.readline())
            if served:
                # What it says from here on may be about calls, and is nobody's business.
                log.forget()
                self._first.set()
            status = process.wait()
            log.join()
            # The lifeline: `Popen.__exit__` closes it, and it must not fail over a broken pipe.
            with contextlib.suppress(OSError):
                stdin.close()
        return served, status, log.lines


class _Log:
    """Reads what a process says, so that it never waits for a reader, and keeps the end of it."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self._kept: deque[str] | None = deque(maxlen=_LAST_LINES)
        self._pipe = pipe
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    @property
    def lines(self) -> list[str]:
        return list(self._kept or ())

    def forget(self) -> None:
        self._kept = None

    def join(self) -> None:
        self._thread.join()

    def _read(self) -> None:
        for line in self._pipe:
            kept = self._kept
            if kept is not None:
                kept.append(line.decode(errors="replace").rstrip())


def _why(path: str, said: Sequence[str]) -> str:
    """The first error that llama.cpp told, in its own words without its prefix."""
    errors = [line.partition(" E ")[2] for line in said if " E " in line]
    reason = errors[0].strip() if errors else (said[-1] if said else "it ended without a word")
    cure = "; install it, on Debian `apt-get install libgomp1`" if "libgomp" in reason else ""
    return f"llama.cpp can't run {path}: {reason}{cure}"


def _take_port() -> tuple[int, socket.socket | None]:
    """A free port, held open where the system lets two sockets of one user share it."""
    held = socket.socket()
    if sys.platform == "linux":
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    held.bind(("127.0.0.1", 0))
    port = int(held.getsockname()[1])
    if sys.platform == "linux":
        return port, held
    held.close()
    return port, None


@contextlib.contextmanager
def house_model(settings: Settings, choices: Choices) -> Iterator[Choices]:
    """Runs the worker's own model, where that was chosen, until the context ends.

    Gives the choices with its address, for calls to choose from again.

    Raises:
        HouseModelError: it can't be loaded, and the settings want it.
    """
    path = choices.llm.house_model
    if path is None or choices.llm.problem:
        yield choices
        return
    plan = server_plan(path, find_machine(), max_sessions=settings.max_sessions)
    with contextlib.closing(HouseModel(plan)) as model:
        try:
            model.start()
        except HouseModelError as e:
            if settings.llm != "auto" or settings.llm_gguf is not None:
                raise
            logger.error("%s", e)
            yield choose(settings, dataclasses.replace(choices.found, house_fault=str(e)))
            return
        found = dataclasses.replace(
            choices.found,
            llm_endpoint=model.url,
            llm_models=(model.name,),
            llm_kind="llama.cpp",
            llm_context=plan.slot_tokens,
            llm_key=model.key,
        )
        yield choose(settings, found)


@contextlib.asynccontextmanager
async def house_model_beside(settings: Settings, choices: Choices) -> AsyncIterator[Choices]:
    """The same for an event loop, which goes on while the model loads."""
    model = house_model(settings, choices)
    started = await asyncio.to_thread(model.__enter__)
    try:
        yield started
    finally:
        await asyncio.to_thread(model.__exit__, None, None, None)
