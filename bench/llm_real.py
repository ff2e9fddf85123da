"""The same ways to a model's tokens on llama.cpp's own server, with a real, tiny model.

What a way adds to the first token shows here beside what a model takes, and a cancellation ends
when the server's slot is free for the next answer.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import httpx

from .llm_contenders import Tokens, contenders

QUESTION = "Tell me a very long story about a lighthouse."
_HEARD = 3
"""Tokens that are heard before the cancellation."""


async def sample(tokens: Tokens, server: httpx.AsyncClient) -> tuple[float, float]:
    """Milliseconds to the first token, and from the cancellation to a free slot."""
    stream: AsyncIterator[str] = tokens(QUESTION)
    began = time.perf_counter()
    await anext(stream)
    first = time.perf_counter() - began
    for _ in range(_HEARD - 1):
        await anext(stream)
    cancelled = time.perf_counter()
    await stream.aclose()  # type: ignore[attr-defined]  # it is a generator
    while any(slot["is_processing"] for slot in (await server.get("/slots")).json()):
        await asyncio.sleep(0.002)
    return first * 1000, (time.perf_counter() - cancelled) * 1000


async def measure_real(model_url: str, flow_url: str, rounds: int) -> dict[str, Any]:
    """Asks every way in turns; `httpx` is the bare server."""
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(
            httpx.AsyncClient(base_url=model_url.removesuffix("/v1"), trust_env=False, timeout=60)
        )
        ways = await contenders(model_url, flow_url, stack)
        # The server keeps the prompt in its cache from here on.
        for tokens in ways.values():
            await sample(tokens, server)
        samples: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
        for _ in range(rounds * 4):
            for name, tokens in ways.items():
                samples[name].append(await sample(tokens, server))
    firsts = {name: statistics.median(f for f, _ in taken) for name, taken in samples.items()}
    return {
        name: {
            "first_token_ms_p50": round(firsts[name], 2),
            "over_the_bare_server_ms": round(firsts[name] - firsts["httpx"], 2),
            "cancel_to_free_slot_ms_p50": round(statistics.median(c for _, c in taken), 1),
            "cancel_to_free_slot_ms_max": round(max(c for _, c in taken), 1),
        }
        for name, taken in samples.items()
    }
