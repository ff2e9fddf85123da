"""How long a caller waits for the first words of an answer: then a filler, then an apology.

Counted from the moment at which the caller's turn stands: an answer that is prepared while they may
still go on keeps nobody waiting.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Any

from livekit.agents import llm, utils

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Patience:
    """What is said, and when, while a model does not answer. None = nothing, or without limit."""

    filler: Callable[[], str] = lambda: ""
    filler_after_s: float = 3.5
    apology: str = ""
    give_up_after_s: float = 8.0
    mark: Callable[[str], dict[str, Any]] = lambda apology: {}
    """What goes with the apology, so that no model takes it for an answer of its own."""


async def bridged(
    phrases: AsyncIterator[str], patience: Patience, committed: asyncio.Event
) -> AsyncGenerator[str, None]:
    """The phrases of an answer, with a filler before them where the first is late.

    Args:
        phrases: of the answer; the caller closes them.
        patience: how long, and what.
        committed: set when the turn stands.
    """
    first = asyncio.ensure_future(anext(phrases, None))
    try:
        if not await _ready(first, patience.filler_after_s, committed):
            filler = patience.filler()
            if filler:
                logger.info("the answer is late; a filler is said")
                yield f"{filler} "
        phrase = await first
    finally:
        await utils.aio.cancel_and_wait(first)
    while phrase is not None:
        yield phrase
        phrase = await anext(phrases, None)


async def in_time(
    chunks: AsyncIterator[llm.ChatChunk], patience: Patience, committed: asyncio.Event
) -> AsyncGenerator[llm.ChatChunk, None]:
    """The chunks of a model's answer, or an apology where no word comes in time.

    Anything counts that is said or done: a tool that is called, a filler during one.

    Args:
        chunks: of the answer; the caller closes them, which stops the model.
        patience: how long, and what.
        committed: set when the turn stands.
    """
    loop = asyncio.get_running_loop()
    since: float | None = None
    alive = False
    while not alive:
        # a task for each: `asyncio.timeout` would cancel what the model's client is doing
        step = asyncio.ensure_future(anext(chunks, None))
        try:
            await _either(step, committed)
            if since is None and committed.is_set():
                since = loop.time()
            if since is not None:
                await asyncio.wait((step,), timeout=since + patience.give_up_after_s - loop.time())
            if not step.done():
                logger.warning("the model gave no word in time; an apology is said")
                yield _apology(patience)
                return
            chunk = await step
        finally:
            await utils.aio.cancel_and_wait(step)
        if chunk is None:
            return
        alive = _says_something(chunk)
        yield chunk
    async for chunk in chunks:
        yield chunk


async def _ready(step: asyncio.Future[Any], within_s: float, committed: asyncio.Event) -> bool:
    await _either(step, committed)
    await asyncio.wait((step,), timeout=within_s)
    return step.done()


async def _either(step: asyncio.Future[Any], committed: asyncio.Event) -> None:
    """Waits for one of them."""
    if not committed.is_set():
        waiting = asyncio.ensure_future(committed.wait())
        try:
            await asyncio.wait((step, waiting), return_when=asyncio.FIRST_COMPLETED)
        finally:
            await utils.aio.cancel_and_wait(waiting)


def _says_something(chunk: llm.ChatChunk) -> bool:
    delta = getattr(chunk, "delta", None)
    if delta is None:
        # also LiveKit's mark that what was said so far is to be spoken
        return not isinstance(chunk, llm.ChatChunk)
    return bool(delta.content or delta.tool_calls)


def _apology(patience: Patience) -> llm.ChatChunk:
    delta = llm.ChoiceDelta(role="assistant", content=patience.apology)
    if extra := patience.mark(patience.apology):
        delta.extra = extra
    return llm.ChatChunk(id=utils.shortuuid("apology_"), delta=delta)
