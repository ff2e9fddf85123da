"""How long a caller waits for the first words of an answer: then a filler, then an apology.

Counted from the moment at which the caller's turn stands: an answer that is prepared while they may
still go on keeps nobody waiting.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import math
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from typing import Any

from livekit.agents import llm, utils
from livekit.agents.types import FlushSentinel

logger = logging.getLogger(__name__)

OWN = "patience_"
"""What the ids of chunks begin with that are no words of the model."""


@dataclasses.dataclass(frozen=True)
class Patience:
    """What is said, and when, while a model does not answer. None = nothing, or without limit."""

    filler: Callable[[], str] = lambda: ""
    filler_after_s: float = 3.5
    apology: str = ""
    give_up_after_s: float = 8.0
    mark: Callable[[str, Mapping[str, Any]], dict[str, Any]] = lambda own, extra: dict(extra)
    """What goes with words that the answer begins with and that are none of the model's, so that it
    does not take them for its own: adds them to what goes with a chunk of the answer."""


async def in_time(
    chunks: AsyncIterator[llm.ChatChunk], patience: Patience, committed: asyncio.Event
) -> AsyncGenerator[llm.ChatChunk | FlushSentinel, None]:
    """The chunks of a model's answer, with a filler before them where the first is late.

    Where none comes an apology takes their place. Anything counts that is said or done: a tool that
    is called, a filler during one.

    Args:
        chunks: of the answer; the caller closes them, which stops the model.
        patience: how long, and what.
        committed: set when the turn stands.
    """
    loop = asyncio.get_running_loop()
    since: float | None = None
    own = ""
    alive = False
    while not alive:
        # a task for each: `asyncio.timeout` would cancel what the model's client is doing
        step = asyncio.ensure_future(anext(chunks, None))
        try:
            await _either(step, committed)
            if since is None and committed.is_set():
                since = loop.time()
            if since is not None and not own:
                await _wait(step, since + patience.filler_after_s)
                if not step.done() and (filler := patience.filler()):
                    logger.info("the answer is late; a filler is said")
                    own = f"{filler} "
                    yield _own_words(own, patience.mark(own, {}))
                    # a segment of its own: it is spoken now
                    yield FlushSentinel()
            if since is not None:
                await _wait(step, since + patience.give_up_after_s)
            if not step.done():
                logger.warning("the model gave no word in time; an apology is said")
                said = own + patience.apology
                yield _own_words(patience.apology, patience.mark(said, {}))
                return
            chunk = await step
        finally:
            await utils.aio.cancel_and_wait(step)
        if chunk is None:
            return
        alive = _says_something(chunk)
        yield _after(own, chunk, patience)
    async for chunk in chunks:
        yield _after(own, chunk, patience)


async def _wait(step: asyncio.Future[Any], until: float) -> None:
    left_s = until - asyncio.get_running_loop().time()
    await asyncio.wait((step,), timeout=None if math.isinf(left_s) else max(left_s, 0.0))


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


def _after(own: str, chunk: llm.ChatChunk, patience: Patience) -> llm.ChatChunk:
    """A chunk of an answer before which something else was said."""
    if own and chunk.delta is not None and chunk.delta.extra:
        chunk.delta.extra = patience.mark(own, chunk.delta.extra)
    return chunk


def _own_words(text: str, mark: dict[str, Any]) -> llm.ChatChunk:
    delta = llm.ChoiceDelta(role="assistant", content=text)
    if mark:
        delta.extra = mark
    return llm.ChatChunk(id=utils.shortuuid(OWN), delta=delta)
