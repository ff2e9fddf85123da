"""The everyday tools, as the offline graph and the assistant share them."""

from langchain_core.tools import BaseTool

from flows.tools.arithmetic import arithmetic_tools
from flows.tools.clock import Clock, clock_tools, local_clock
from flows.tools.lookups import LookupEndpoints, lookup_tools
from flows.tools.remember import memory_tools
from flows.tools.timers import timer_tools


def everyday_tools(
    *, clock: Clock = local_clock, endpoints: LookupEndpoints | None = None
) -> list[BaseTool]:
    """Time, date, arithmetic, timers, memory, weather, stock quotes and search."""
    return [
        *clock_tools(clock),
        *arithmetic_tools(),
        *timer_tools(clock),
        *memory_tools(),
        *lookup_tools(endpoints),
    ]
