"""How many call processes suit this machine: `plan`, with its figures."""

from __future__ import annotations

from agent_worker.machine_limits import free_memory_mib, usable_cores
from agent_worker.settings import Settings

from .plan import process_count


def call_processes(settings: Settings) -> int:
    """Processes that `agent-worker start` spreads its calls over, with these settings, now."""
    wanted = settings.call_processes
    return process_count(
        None if wanted == "auto" else wanted,
        cores=int(usable_cores()),
        memory_mib=free_memory_mib(),
        max_sessions=settings.max_sessions,
    )
