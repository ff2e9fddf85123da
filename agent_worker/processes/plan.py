"""How many processes the calls are spread over, and how many calls each takes; without I/O."""

from __future__ import annotations

_MIB_PER_PROCESS = 600
"""390 without a call, some 220 more with a Piper voice; a call takes about 30."""


def process_count(wanted: int | None, *, cores: int, memory_mib: float, max_sessions: int) -> int:
    """How many call processes to run.

    One interpreter is kept busy by some eight calls, and its threads wait for each other long
    before; half of the cores are left to the engines, the server and LiveKit's native threads.

    Args:
        wanted: what the user set; None = as many as suit the machine.
        cores: that this process may use.
        memory_mib: that is free.
        max_sessions: calls at once; a process without a call to take is of no use.
    """
    suits = min(cores // 2, int(memory_mib) // _MIB_PER_PROCESS)
    return max(1, min(suits if wanted is None else wanted, max_sessions))


def shares(max_sessions: int, count: int) -> list[int]:
    """Calls for each process; together exactly `max_sessions`."""
    least, more = divmod(max_sessions, count)
    return [least + (i < more) for i in range(count)]


def pause_s(failures: int) -> float:
    """Seconds before a process is replaced, after so many short lives in a row."""
    return 0.0 if failures <= 1 else min(0.25 * 2.0**failures, 30.0)
