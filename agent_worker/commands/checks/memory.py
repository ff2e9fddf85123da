"""Can what callers ask to be remembered be written where the settings say?"""

from __future__ import annotations

from agent_worker.call.who_calls import sources
from agent_worker.settings import Settings
from flows.memory import DatabaseError, open_store

from .finding import Finding


async def try_memory(settings: Settings) -> list[Finding]:
    """Opens the database, where callers are known at all and it is ours to open."""
    if not sources(settings.caller_id) or settings.llm == "remote":
        return []
    try:
        async with open_store(settings.database_url):
            return [Finding("memory", "ok", f"callers are known by {settings.caller_id}")]
    except DatabaseError as e:
        # the call goes on without it
        return [Finding("memory", "doubtful", str(e), "set database_url")]
