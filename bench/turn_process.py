"""A part of the turn benchmark in a process of its own, so that it shares no event loop."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from agent_worker.commands.stop_process import stop_process

_START_S = 120.0


class BenchError(Exception):
    """A part is missing or did not start. The message says which."""


@asynccontextmanager
async def module(
    name: str,
    environment: Mapping[str, str],
    log_file: Path,
    *,
    ready: str,
    arguments: Sequence[str] = (),
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
            *arguments,
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
