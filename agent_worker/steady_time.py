"""Unix time that never jumps, for everything that waits in a call.

A machine's clock is set now and then, by an hour when something was wrong. LiveKit's session waits
by it ("0.2 s after the last speech, which was at 12:00:01"), so after a step back turns would be
answered an hour later. Times of two machines or of a log are compared with ours, so it has to look
like the wall's clock; but it goes on as the machine's monotonic clock does.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from types import ModuleType
from typing import Any

from pydantic import BaseModel

_SLEW = 0.0005
"""Seconds of correction for each second: as much as the systems' own daemons allow themselves."""
_STEP_S = 1.0
"""A difference of the wall's clock beyond it is a step, which is not followed."""


class SteadyTime:
    """A clock that follows the wall's, and does not jump with it.

    Args:
        wall: Unix seconds.
        monotonic: seconds of any origin.
    """

    def __init__(
        self,
        *,
        wall: Callable[[], float] = lambda: time.time(),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._wall = wall
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._at = monotonic()
        self._now = wall()

    def __call__(self) -> float:
        """Unix seconds; never fewer than before."""
        with self._lock:
            at = self._monotonic()
            passed = max(at - self._at, 0.0)
            self._at = at
            self._now += passed
            behind = self._wall() - self._now
            if abs(behind) < _STEP_S:
                most = passed * _SLEW
                self._now += min(max(behind, -most), most)
            return self._now


steady_time = SteadyTime()
"""The clock of this process."""


class _Time:
    """The module `time`, with a clock that does not jump."""

    time = staticmethod(steady_time)

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)


_TIME = _Time()
_STAMPED = ("livekit.agents.llm.chat_context", "livekit.agents.voice.events")
_WAITING = ("livekit.agents.voice", "livekit.agents.inference.vad")


def hold_time_steady() -> None:
    """Has LiveKit's sessions wait by `steady_time`; safe to call twice.

    It replaces the name ``time`` in its modules, and what its events and messages are stamped by:
    a message with an earlier time than the last would be put before it. Whatever of it a release
    does not have is left as it is.
    """
    for name, module in list(sys.modules.items()):
        if not isinstance(module, ModuleType) or not name.startswith("livekit.agents"):
            continue
        if name.startswith(_WAITING) and module.__dict__.get("time") is time:
            module.__dict__["time"] = _TIME
        if name in _STAMPED:
            for value in list(module.__dict__.values()):
                if isinstance(value, type) and issubclass(value, BaseModel):
                    _stamp(value)


def _stamp(model: type[BaseModel]) -> None:
    field = model.model_fields.get("created_at")
    if field is not None and field.default_factory is time.time:
        field.default_factory = steady_time
        model.model_rebuild(force=True)
