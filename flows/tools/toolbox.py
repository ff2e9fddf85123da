"""The everyday tools, as the offline graph and the assistant share them."""

import functools

from langchain_core.tools import BaseTool

from flows.tools.arithmetic import arithmetic_tools
from flows.tools.clock import Clock, clock_tools, local_clock
from flows.tools.lookups import LookupEndpoints, lookup_tools
from flows.tools.remember import memory_tools
from flows.tools.timers import timer_tools


def everyday_tools(
    *, clock: Clock = local_clock, endpoints: LookupEndpoints | None = None
) -> list[BaseTool]:
    """Time, date, arithmetic, timers, memory, weather, stock quotes and search.

    They keep nothing of a call: the same ones serve all calls of a process.
    """
    return list(_everyday_tools(clock, endpoints))


# Langchain describes a tool by compiling a model of its arguments: for all of these a third of a
# second in which, for each call that began, no other call of the process could do anything.
@functools.lru_cache(maxsize=8)
def _everyday_tools(clock: Clock, endpoints: LookupEndpoints | None) -> tuple[BaseTool, ...]:
    return (
        *clock_tools(clock),
        *arithmetic_tools(),
        *timer_tools(clock),
        *memory_tools(),
        *lookup_tools(endpoints),
    )
