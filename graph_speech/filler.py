"""A phrase that bridges a slow tool."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from .events import Speech, ToolEnded, ToolStarted, Usage, VoiceEvent
from .turn import TurnCommitted


class FillerTimer:
    """Decides when a turn needs a filler: some time after a tool began and nothing was heard.

    A tool that waits for the commit of a speculative turn is not slow: nobody waits for it yet.

    Args:
        delay_s: Seconds of silence during a tool.
        say: Says the filler.
        committed: As in `TurnRequest`.
    """

    def __init__(
        self, delay_s: float, say: Callable[[], None], committed: TurnCommitted | None = None
    ) -> None:
        self._delay_s = delay_s
        self._say = say
        self._committed = committed
        self._under_way: set[str] = set()
        self._timer: asyncio.TimerHandle | None = None

    def take(self, event: VoiceEvent) -> None:
        """Takes every event of the turn, in order."""
        if self._timer is None and not self._under_way and isinstance(event, Speech):
            return  # most events are such
        match event:
            case ToolStarted():
                first = not self._under_way
                self._under_way.add(event.id)
                if first:
                    self._start()
            case ToolEnded():
                self._under_way.discard(event.id)
                if not self._under_way:
                    self.stop()
            case Usage():
                pass
            case _:
                self.stop()

    def stop(self) -> None:
        """Says nothing any more, until the next tool."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _start(self) -> None:
        self.stop()
        self._timer = asyncio.get_running_loop().call_later(self._delay_s, self._fire)

    def _fire(self) -> None:
        self._timer = None
        if self._committed is not None and not self._committed.is_set():
            self._start()
        elif self._under_way:
            self._say()
