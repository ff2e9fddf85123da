"""Starts the engines' processes, tells callers where they are, and replaces those that fail."""

from __future__ import annotations

import contextlib
import itertools
import pickle
import secrets
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing.connection import Connection, Listener
from pathlib import Path
from typing import IO, cast

from livekit.plugins.faster_whisper.engine import STALL_S
from livekit.plugins.faster_whisper.log import logger
from livekit.plugins.faster_whisper.models import ModelSpec

from .host import Assignment
from .messages import Meeting, Wanted, new_address, receive, send

COMMAND = (sys.executable, "-m", "livekit.plugins.faster_whisper.engine_process")
_ASK_LIMIT_S = 5.0
_SHORT_LIFE_S = 10.0
_MOST_PAUSE_S = 5.0


@dataclass(eq=False)
class _Process:
    popen: subprocess.Popen[bytes]
    address: str
    started_at: float
    failures: int
    """In a row, of processes that did not live long."""

    @property
    def alive(self) -> bool:
        return self.popen.poll() is None


def pause_before_restart_s(failures: int) -> float:
    """Seconds to wait before a process is replaced, after so many short lives in a row."""
    return 0.0 if failures <= 1 else min(0.1 * 2.0**failures, _MOST_PAUSE_S)


class EngineProcesses:
    """One process per model, started when the first call wants it.

    One more, with everything imported and nothing loaded, waits to become the next: a process that
    dies is replaced in the time that its model takes to load.
    """

    def __init__(
        self,
        *,
        command: Sequence[str] = COMMAND,
        stall_s: float = STALL_S,
        spare: bool = True,
    ) -> None:
        """Listens for those who want an engine.

        Args:
            command: Runs `host.serve`.
            stall_s: Seconds after which a batch under way is taken for hung.
            spare: Keep a process ready.
        """
        self._command = list(command)
        self._stall_s = stall_s
        self._keep_spare = spare
        # only this user may enter it
        self._folder = Path(tempfile.mkdtemp(prefix="agent-worker-"))
        secret = secrets.token_bytes(32)
        self.meeting = Meeting(new_address(self._folder, "keeper"), secret)
        """Where `RemoteEngine` finds it."""
        self._numbers = itertools.count()
        self._processes: dict[ModelSpec, _Process] = {}
        self._spare: subprocess.Popen[bytes] | None = None
        self._closed = False
        # The kernel ends the processes when the thread does that started them; see `lifeline`.
        self._starter = ThreadPoolExecutor(1, thread_name_prefix="engines")
        self._listener = Listener(self.meeting.address, backlog=64, authkey=secret)
        self._thread = threading.Thread(target=self._accept, name="keeper", daemon=True)
        self._thread.start()
        if spare:
            self._starter.submit(self._prepare_spare)

    @property
    def pids(self) -> dict[str, int]:
        """Process of each model that runs now, by the model's name or folder."""
        return {
            spec.model: process.popen.pid
            for spec, process in list(self._processes.items())
            if process.alive
        }

    def close(self) -> None:
        """Ends all of them. Safe to call twice."""
        if self._closed:
            return
        self._closed = True
        with contextlib.suppress(OSError):
            self._listener.close()
        self._starter.submit(self._end_all).result()
        self._starter.shutdown()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _accept(self) -> None:
        while not self._closed:
            try:
                connection = self._listener.accept()
            except Exception as e:
                if not self._closed:
                    logger.debug("somebody did not get an engine", exc_info=e)
                continue
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: Connection) -> None:
        with connection, contextlib.suppress(OSError, EOFError, RuntimeError):
            if not connection.poll(_ASK_LIMIT_S):
                return
            wanted = receive(connection)
            if isinstance(wanted, Wanted):
                send(connection, self._starter.submit(self._address, wanted).result())

    # -- in the thread that stays --------------------------------------------------------------
    def _address(self, wanted: Wanted) -> str:
        process = self._processes.get(wanted.spec)
        if process is not None and process.alive and process.address == wanted.instead_of:
            # Its end of the link may be seen a moment before its death.
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.popen.wait(0.2)
            if process.alive:
                logger.error(
                    "an engine's process hangs and is ended", extra={"pid": process.popen.pid}
                )
        if process is None:
            process = self._processes[wanted.spec] = self._start(wanted.spec, failures=0)
        elif not process.alive or process.address == wanted.instead_of:
            _end(process.popen)
            lived_s = time.monotonic() - process.started_at
            failures = process.failures + 1 if lived_s < _SHORT_LIFE_S else 1
            logger.error(
                "an engine's process has ended and is started again",
                extra={"model": wanted.spec.model, "status": process.popen.returncode},
            )
            time.sleep(pause_before_restart_s(failures))
            process = self._processes[wanted.spec] = self._start(wanted.spec, failures)
        return process.address

    def _start(self, spec: ModelSpec, failures: int) -> _Process:
        popen, self._spare = self._spare, None
        if popen is None or popen.poll() is not None:
            popen = self._popen()
        address = new_address(self._folder, f"{next(self._numbers)}.sock")
        meeting = Meeting(address, self.meeting.secret)
        # It stays open: its end is the parent's.
        with contextlib.suppress(BrokenPipeError):
            stdin = cast(IO[bytes], popen.stdin)
            stdin.write(pickle.dumps(Assignment(spec, meeting, self._stall_s)))
            stdin.flush()
        if self._keep_spare and not self._closed:
            self._starter.submit(self._prepare_spare)
        return _Process(popen, address, time.monotonic(), failures)

    def _prepare_spare(self) -> None:
        if self._spare is None and not self._closed:
            self._spare = self._popen()

    def _popen(self) -> subprocess.Popen[bytes]:
        # A Ctrl-C in the terminal is for the parent, which may still want to drain.
        return subprocess.Popen(self._command, stdin=subprocess.PIPE, start_new_session=True)

    def _end_all(self) -> None:
        for process in self._processes.values():
            _end(process.popen)
        if self._spare is not None:
            _end(self._spare)


def _end(popen: subprocess.Popen[bytes]) -> None:
    # It owns nothing that is worth a goodbye.
    popen.kill()
    popen.wait()
    if popen.stdin is not None:
        with contextlib.suppress(OSError):
            popen.stdin.close()
