"""Is the LiveKit server there, does it take our key, and do its clock and ours agree?"""

from __future__ import annotations

import email.utils
import time

import aiohttp

from agent_worker.settings import Settings
from livekit import api

from .finding import Finding, State

_CLOCK_BROKEN_S = 60.0
"""A token that begins so far in the future is refused."""
_CLOCK_DOUBTFUL_S = 5.0


async def try_server(settings: Settings) -> list[Finding]:
    """Lists the rooms as the worker's key may, and reads the server's clock."""
    url = settings.livekit_url
    key, secret = settings.livekit_api_key, settings.livekit_api_secret.get_secret_value()
    if not key or not secret:
        said = "LIVEKIT_API_KEY and LIVEKIT_API_SECRET are not set"
        advice = "`demo` and `talk` need none; `start` and `web` take a pair of the server's keys"
        return [Finding("server", "doubtful", said, advice)]
    timeout = aiohttp.ClientTimeout(total=5)
    try:
        async with api.LiveKitAPI(url, key, secret, timeout=timeout) as server:
            await server.room.list_rooms(api.ListRoomsRequest(names=["-"]))
    except api.TwirpError as e:
        if e.status in (401, 403):
            said = f"{url} refuses the API key or secret"
            advice = "they must be a pair from `keys` in the server's configuration"
            clock = await _clock(url, timeout)
            return [Finding("server", "broken", said, advice), *clock]
        return [Finding("server", "doubtful", f"{url} answers oddly: {e.code}")]
    except (aiohttp.ClientError, TimeoutError, OSError) as e:
        said = f"no LiveKit server answers at {url} ({type(e).__name__})"
        return [Finding("server", "broken", said, "start it, or set LIVEKIT_URL")]
    taken = Finding("server", "ok", f"{url} takes the key")
    return [taken, *await _clock(url, timeout)]


async def _clock(url: str, timeout: aiohttp.ClientTimeout) -> list[Finding]:
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.get(url.replace("ws", "http", 1)) as response,
        ):
            return clock_finding(response.headers.get("Date"), time.time())
    except (aiohttp.ClientError, TimeoutError, OSError):
        return []


def clock_finding(date: str | None, now: float) -> list[Finding]:
    """Judges the time that a server tells with its answer, to the second.

    Args:
        date: the header `Date`; servers may leave it out.
        now: Unix seconds.
    """
    try:
        then = email.utils.parsedate_to_datetime(date or "").timestamp()
    except ValueError:
        return []
    off_s = abs(now - then)
    if off_s < _CLOCK_DOUBTFUL_S:
        return [Finding("clock", "ok", "as the server's")]
    state: State = "broken" if off_s >= _CLOCK_BROKEN_S else "doubtful"
    said = f"{off_s:.0f} s off the server's"
    return [Finding("clock", state, said, "tokens are dated: let NTP set both clocks")]
