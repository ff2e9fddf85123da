"""Takes a call that LiveKit offers, or leaves it to another worker.

LiveKit's own guess of what a worker still takes is its load over its calls: in a burst the calls
are there before the load was measured again, and one process of eight took twelve calls with room
for three.
"""

from __future__ import annotations

from collections.abc import Callable

from livekit.agents import JobRequest


class Acceptance:
    """Counts the calls that are there and those on their way; for one event loop.

    Args:
        most_calls: at once.
        calls: how many are there.
    """

    def __init__(self, *, most_calls: int, calls: Callable[[], int]) -> None:
        self._most_calls = most_calls
        self._calls = calls
        self._on_their_way = 0

    async def answer(self, request: JobRequest) -> None:
        """Accepts a call, or refuses it so that it is offered to another worker."""
        if self._calls() + self._on_their_way >= self._most_calls:
            await request.reject(terminate=False)
            return
        self._on_their_way += 1
        try:
            await request.accept()
        finally:
            self._on_their_way -= 1
