"""A program's one coroutine ends as it should when the program is told to."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any, TypeVar

_T = TypeVar("_T")


async def until_signalled(main: Coroutine[Any, Any, _T]) -> _T:
    """Runs a coroutine and cancels it on SIGINT, SIGTERM or SIGHUP, so that all is cleaned up."""
    task = asyncio.ensure_future(main)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, task.cancel)
    return await task
