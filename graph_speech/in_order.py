"""What models say and what nodes write, taken in the order in which they did.

Models tell from whatever thread their node runs in, and at once. What a node wrote before to the
custom stream comes through LangGraph's queue, some turns of the event loop later: the first tokens
of a message wait as long, or they would overtake it.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

_TURNS_OF_QUEUE = 8


class InOrder:
    """Carries out on its event loop what is taken from any thread; made in that loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._waiting: list[tuple[Callable[..., None], tuple[Any, ...]]] | None = None
        """What waits for the custom stream; None when nothing has to."""

    def take(self, act: Callable[..., None], *arguments: Any) -> None:
        """Calls `act`: now, or after what has to come before it."""
        self.on_loop(self._take, act, *arguments)

    def on_loop(self, act: Callable[..., None], *arguments: Any) -> None:
        """Calls `act` on the event loop, whatever waits."""
        if threading.get_ident() == self._thread:
            act(*arguments)
        else:
            self._loop.call_soon_threadsafe(act, *arguments)

    def hold(self) -> None:
        """What is taken from now on waits until the custom stream has had its turns."""
        if self._waiting is None:
            self._waiting = []
            self._loop.call_soon(self._count, _TURNS_OF_QUEUE - 1)

    def release(self) -> None:
        """Nothing waits any more."""
        waiting, self._waiting = self._waiting, None
        for act, arguments in waiting or ():
            act(*arguments)

    def _take(self, act: Callable[..., None], *arguments: Any) -> None:
        if self._waiting is None:
            act(*arguments)
        else:
            self._waiting.append((act, arguments))

    def _count(self, turns: int) -> None:
        if turns:
            self._loop.call_soon(self._count, turns - 1)
        else:
            self.release()
