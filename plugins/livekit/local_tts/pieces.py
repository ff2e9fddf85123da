"""Speaking text while it is still being written."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Coroutine
from contextlib import aclosing
from typing import Any

from livekit.agents import tokenize
from livekit.agents.utils import aio

from .options import Tokenizer
from .text import encodable

Pieces = AsyncIterator[str]


async def speak_in_pieces(
    pushed: AsyncIterable[object],
    tokenizer: Tokenizer,
    speak: Callable[[Pieces], Coroutine[Any, Any, None]],
) -> None:
    """Cuts the text that was pushed to a stream, and has it spoken at the same time.

    The first of the two that fails ends the other: a tokenizer that fails must not leave the turn
    waiting for a piece that never comes.

    Args:
        pushed: Text, and LiveKit's marks of a flush.
        tokenizer: Cuts the pieces.
        speak: Takes the pieces, each when it is whole.
    """
    tokens = tokenizer.stream()

    async def cut() -> None:
        async for data in pushed:
            if isinstance(data, str):
                tokens.push_text(encodable(data))
            else:
                tokens.flush()
        tokens.end_input()

    async def speak_all() -> None:
        async with aclosing(_texts(tokens)) as pieces:
            await speak(pieces)

    tasks = [asyncio.create_task(cut()), asyncio.create_task(speak_all())]
    try:
        await asyncio.gather(*tasks)
    finally:
        await aio.cancel_and_wait(*tasks)
        await tokens.aclose()


async def _texts(
    tokens: tokenize.SentenceStream | tokenize.WordStream,
) -> AsyncGenerator[str, None]:
    async for token in tokens:
        yield token.token
