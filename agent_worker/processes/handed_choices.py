"""A worker that is told which engines to use: whoever starts it has looked already.

Looking takes seconds where a model server is slow or a graphics card has to prove itself, and
might find something else the second time.
"""

from __future__ import annotations

import asyncio
import contextlib
import pickle
import sys

from agent_worker.engines.chosen import Choices

COMMAND = "chosen-worker"
"""What the worker is started as; of no use to people."""


async def hand_on(choices: Choices, process: asyncio.subprocess.Process) -> None:
    """Tells a process that was started as `COMMAND`, with a pipe as its stdin."""
    assert process.stdin is not None
    # one that has ended is noticed where it is waited for
    with contextlib.suppress(ConnectionError):
        process.stdin.write(pickle.dumps(choices))
        await process.stdin.drain()
    process.stdin.close()


def read_choices() -> Choices:
    """What the parent handed on.

    Raises:
        EOFError, TypeError, pickle.UnpicklingError: it was no parent of ours.
    """
    choices = pickle.load(sys.stdin.buffer)
    if not isinstance(choices, Choices):
        raise TypeError(f"`{COMMAND}` is started by `agent-worker demo`")
    return choices
