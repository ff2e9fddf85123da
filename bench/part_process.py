"""A part of a benchmark in a process of its own, so that it shares no event loop."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from agent_worker.commands.stop_process import stop_process


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
    within_s: float = 120.0,
) -> AsyncIterator[str]:
    """Runs a module in a process of its own. Gives the line of its output that holds `ready`.

    Raises:
        BenchError: it ended, or took longer than `within_s` to say so.
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
        deadline = time.monotonic() + within_s
        while True:
            lines = log_file.read_text(errors="replace").splitlines()
            if found := next((line for line in lines if ready in line), None):
                break
            if process.returncode is not None:
                raise BenchError(f"{name} ended:\n  " + "\n  ".join(lines[-3:]))
            if time.monotonic() > deadline:
                raise BenchError(f"{name} did not start within {within_s:.0f} s")
            await asyncio.sleep(0.05)
        yield found
    finally:
        await stop_process(process)
