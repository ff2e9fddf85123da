"""The end of a process of ours, with all that it started."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal

logger = logging.getLogger(__name__)

_STOP_TIMEOUT_S = 5.0


async def stop_process(
    process: asyncio.subprocess.Process, *, timeout_s: float = _STOP_TIMEOUT_S
) -> None:
    """Ends a process of ours and its children: SIGTERM twice (one only drains), then SIGKILL."""
    for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGKILL):
        if process.returncode is not None:
            break
        signal_group(process.pid, number)
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(asyncio.shield(process.wait()), timeout_s)
    else:
        logger.warning("a process of ours had to be killed", extra={"pid": process.pid})
    # children that outlived it (a forkserver, a build)
    signal_group(process.pid, signal.SIGKILL)


def signal_group(pid: int, number: signal.Signals) -> None:
    """Sends a signal to a process of ours and its children, if they are still there."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)
