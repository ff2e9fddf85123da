"""Timers of one call, kept in the graph's store under the session."""

import json
from datetime import datetime, timedelta
from typing import Any

from langchain.tools import ToolRuntime
from langchain_core.tools import BaseTool, tool

from flows.gate import SIDE_EFFECTS
from flows.memory_keys import session_namespace

from .clock import Clock, local_clock

_LONGEST_S = 7 * 24 * 3600
_KEY = "timers"
_NO_SESSION = "I can't keep a timer outside a call."


async def _load(runtime: ToolRuntime) -> list[dict[str, Any]] | None:
    namespace = session_namespace(runtime.config)
    if runtime.store is None or namespace is None:
        return None
    item = await runtime.store.aget(namespace, _KEY)
    return list(item.value["timers"]) if item is not None else []


async def _save(runtime: ToolRuntime, timers: list[dict[str, Any]]) -> None:
    namespace = session_namespace(runtime.config)
    assert runtime.store is not None and namespace is not None
    await runtime.store.aput(namespace, _KEY, {"timers": timers})


def timer_tools(clock: Clock = local_clock) -> list[BaseTool]:
    """The tools `set_timer`, `list_timers` and `cancel_timers`.

    A timer does not ring by itself: a graph can't speak out of turn. `list_timers` tells how
    much is left and which have run out.
    """

    @tool
    async def set_timer(seconds: int, runtime: ToolRuntime, label: str = "") -> str:
        """Start a timer.

        Args:
            seconds: How long, in seconds.
            label: What it is for, if the caller said so.
        """
        if not 0 < seconds <= _LONGEST_S:
            return json.dumps({"error": "A timer runs between one second and seven days."})
        timers = await _load(runtime)
        if timers is None:
            return json.dumps({"error": _NO_SESSION})
        due = clock() + timedelta(seconds=seconds)
        timers.append({"label": label, "due": due.isoformat()})
        await _save(runtime, timers)
        return json.dumps({"set_for_s": seconds, "label": label}, ensure_ascii=False)

    @tool
    async def list_timers(runtime: ToolRuntime) -> str:
        """Tell how much time is left on each timer; 0 means that it has run out."""
        now = clock()
        timers = [
            {
                "label": timer["label"],
                "left_s": max(
                    0, round((datetime.fromisoformat(timer["due"]) - now).total_seconds())
                ),
            }
            for timer in await _load(runtime) or []
        ]
        return json.dumps({"timers": timers}, ensure_ascii=False)

    @tool
    async def cancel_timers(runtime: ToolRuntime) -> str:
        """Stop and forget all timers."""
        timers = await _load(runtime)
        if timers:
            await _save(runtime, [])
        return json.dumps({"cancelled": len(timers or [])})

    set_timer.metadata = dict(SIDE_EFFECTS)
    cancel_timers.metadata = dict(SIDE_EFFECTS)
    return [set_timer, list_timers, cancel_timers]
