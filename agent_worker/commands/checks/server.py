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
    """Lists the rooms as the worker's key may, and reads the server's clock.

    Who has set nothing of it wants the demo, which brings a server of its own: then a missing one
    is no fault.
    """
    url = settings.livekit_url
    timeout = aiohttp.ClientTimeout(total=5)
    pair = {
        "LIVEKIT_API_KEY": settings.livekit_api_key,
        "LIVEKIT_API_SECRET": settings.livekit_api_secret.get_secret_value(),
    }
    missing = [name for name, value in pair.items() if not value]
    has_url = "livekit_url" in settings.model_fields_set
    is_set = has_url or len(missing) < len(pair)
    if missing:
        if has_url and not await _answers(url, timeout):
            return [_nobody(url)]
        said = f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not set"
        advice = "`demo` and `talk` need none; `start` and `web` take a pair of the server's keys"
        return [Finding("server", "broken" if is_set else "doubtful", said, advice)]
    try:
        async with api.LiveKitAPI(url, *pair.values(), timeout=timeout) as server:
            await server.room.list_rooms(api.ListRoomsRequest(names=["-"]))
    except api.TwirpError as e:
        if e.status in (401, 403):
            said = f"{url} refuses the API key or secret"
            advice = "they must be a pair from `keys` in the server's configuration"
            clock = await _clock(url, timeout)
            return [Finding("server", "broken", said, advice), *clock]
        said = f"{url} answers, but not as a LiveKit server does ({e.code})"
        return [Finding("server", "broken", said, "see that LIVEKIT_URL is the server's address")]
    except (aiohttp.ClientError, TimeoutError, OSError) as e:
        return [_nobody(url, f" ({type(e).__name__})")]
    taken = Finding("server", "ok", f"{url} takes the key")
    return [taken, *await _clock(url, timeout)]


def _nobody(url: str, why: str = "") -> Finding:
    advice = "start it, or set LIVEKIT_URL to where it is; `demo` starts one of its own"
    return Finding("server", "broken", f"no LiveKit server answers at {url}{why}", advice)


async def _answers(url: str, timeout: aiohttp.ClientTimeout) -> bool:
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.get(_as_http(url)),
        ):
            return True
    except (aiohttp.ClientError, TimeoutError, OSError):
        return False


def _as_http(url: str) -> str:
    return url.replace("ws", "http", 1) if url.startswith("ws") else url


async def _clock(url: str, timeout: aiohttp.ClientTimeout) -> list[Finding]:
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.get(_as_http(url)) as response,
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
