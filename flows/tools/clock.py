"""The time and the date, from a clock that is handed in."""

import json
from collections.abc import Callable
from datetime import datetime

from langchain_core.tools import BaseTool, tool

Clock = Callable[[], datetime]
"""Gives the local time, with its zone."""


def local_clock() -> datetime:
    """The machine's local time, with its zone."""
    return datetime.now().astimezone()


def clock_tools(clock: Clock = local_clock) -> list[BaseTool]:
    """The tools `current_time` and `current_date`."""

    @tool
    def current_time() -> str:
        """Tell the current local time of day (24-hour clock)."""
        now = clock()
        return json.dumps({"time": f"{now:%H:%M}"})

    @tool
    def current_date() -> str:
        """Tell today's date and day of the week."""
        today = clock()
        return json.dumps({"date": f"{today:%Y-%m-%d}", "weekday": f"{today:%A}"})

    return [current_time, current_date]
