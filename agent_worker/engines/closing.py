"""What the calls of a process share and nobody else closes, such as the programs of MCP servers.

`atexit` would not do: the command leaves past the interpreter's shutdown (see `__main__.program`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable

_at_end: dict[Callable[[], object], None] = {}


def close_at_end(close: Callable[[], object]) -> None:
    """Has `close` called when the command ends, once however often it is given."""
    _at_end[close] = None


def close_shared() -> None:
    """Closes everything, the last first; what fails does not keep the rest open."""
    with contextlib.ExitStack() as stack:
        for close in _at_end:
            stack.callback(close)
        _at_end.clear()
