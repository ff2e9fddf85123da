"""Deletes what a caller asked to be remembered, wherever the settings keep it."""

from __future__ import annotations

from urllib.parse import quote

import httpx

from agent_worker.settings import Settings
from flows.memory import DatabaseError, forget_caller, open_store


class ForgetError(Exception):
    """It could not be deleted. The message says why."""


async def forget(settings: Settings, caller_id: str) -> int:
    """Deletes it here, or asks the flow server to where that keeps it.

    Returns:
        How many facts were deleted.

    Raises:
        ForgetError: the database or the flow server can't be reached.
    """
    if settings.llm == "remote":
        return await _forget_remotely(settings, caller_id)
    if settings.database_url == "memory":
        raise ForgetError("database_url is memory: it is gone when the worker ends")
    try:
        async with open_store(settings.database_url) as store:
            return await forget_caller(store, caller_id)
    except DatabaseError as e:
        raise ForgetError(str(e)) from e


async def _forget_remotely(settings: Settings, caller_id: str) -> int:
    token = settings.flow_token.get_secret_value()
    base = (settings.flow_url or "").rstrip("/")
    try:
        async with httpx.AsyncClient(timeout=10) as client:
            response = await client.delete(
                f"{base}/api/callers/{quote(caller_id, safe='')}",
                headers={"Authorization": f"Bearer {token}"} if token else {},
            )
            response.raise_for_status()
            return int(response.json()["forgotten"])
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError) as e:
        raise ForgetError(f"the flow server at {base} did not do it: {e}") from e
