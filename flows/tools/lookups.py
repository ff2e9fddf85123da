"""Weather, stock quotes and search, through HTTP endpoints that the owner configures.

An endpoint is a URL with `{query}` in it. It answers with speakable plain text, or with JSON
whose `summary` (or `answer`, or `text`) can be spoken. Without an endpoint the tool says so.
"""

import asyncio
import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import httpx
from langchain_core.tools import BaseTool, tool

from flows.discovery import is_loopback

_LONGEST_BODY = 4000
_SPOKEN_FIELDS = ("summary", "answer", "text")


@dataclass(frozen=True)
class LookupEndpoints:
    """The URLs of the lookups, each with `{query}` where the encoded question goes."""

    weather: str | None = None
    stock: str | None = None
    search: str | None = None
    timeout_s: float = 5.0
    """Seconds until a lookup is given up."""


async def _look_up(service: str, url: str | None, query: str, timeout_s: float) -> str:
    if url is None:
        return json.dumps({"error": "not configured", "service": service})
    try:
        # Loading certificates takes tens of milliseconds, so only where they are needed; and a
        # proxy that the environment names can't know this machine's own endpoints.
        tls = url.startswith("https:")
        client = httpx.AsyncClient(verify=tls, follow_redirects=tls, trust_env=not is_loopback(url))
        # httpx's own timeout counts each read; a caller who waits counts the whole.
        async with asyncio.timeout(timeout_s), client:
            response = await client.get(url.replace("{query}", quote(query, safe="")))
            response.raise_for_status()
    except (httpx.HTTPError, TimeoutError, httpx.InvalidURL):
        return json.dumps({"error": "not reachable", "service": service})
    return json.dumps(
        {"service": service, "answer": _spoken_part(response.text)}, ensure_ascii=False
    )


def _spoken_part(body: str) -> str:
    try:
        data: Any = json.loads(body)
    except ValueError:
        return body.strip()[:_LONGEST_BODY]
    if isinstance(data, dict):
        for field in _SPOKEN_FIELDS:
            if isinstance(data.get(field), str):
                return str(data[field])[:_LONGEST_BODY]
    return json.dumps(data, ensure_ascii=False)[:_LONGEST_BODY]


def lookup_tools(endpoints: LookupEndpoints | None = None) -> list[BaseTool]:
    """The tools `get_weather`, `get_stock_quote` and `search_web`."""
    at = endpoints or LookupEndpoints()

    @tool
    async def get_weather(place: str) -> str:
        """Tell the weather at a place.

        Args:
            place: City, with the day if the caller named one; "here" if none was named.
        """
        return await _look_up("weather", at.weather, place, at.timeout_s)

    @tool
    async def get_stock_quote(symbol: str) -> str:
        """Tell the latest price of a share.

        Args:
            symbol: Ticker symbol or company name.
        """
        return await _look_up("stock", at.stock, symbol, at.timeout_s)

    @tool
    async def search_web(query: str) -> str:
        """Search for a fact that is not known from the conversation.

        Args:
            query: A few words.
        """
        return await _look_up("search", at.search, query, at.timeout_s)

    return [get_weather, get_stock_quote, search_web]
