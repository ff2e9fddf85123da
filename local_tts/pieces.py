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
    *,
    clean: Callable[[str], str] = encodable,
) -> None:
    """Cuts the text that was pushed to a stream, and has it spoken at the same time.

    Args:
        pushed: Text, and LiveKit's marks of a flush.
        tokenizer: Cuts the pieces.
        speak: Takes the pieces, each when it is whole.
        clean: Takes out of the text what the tokenizer or the engine refuses.
    """
    tokens = tokenizer.stream()

    async def cut() -> None:
        try:
            async for data in pushed:
                if isinstance(data, str):
                    tokens.push_text(clean(data))
                else:
                    tokens.flush()
            tokens.end_input()
        except Exception:
            # No further piece will come; the turn must not be left waiting for one.
            await tokens.aclose()
            raise

    cutting = asyncio.create_task(cut(), name="local_tts.cut")
    try:
        # In this task: LiveKit's emitter adds silence to speech whose end it is told late.
        async with aclosing(_texts(tokens)) as pieces:
            await speak(pieces)
        await cutting
    finally:
        await aio.cancel_and_wait(cutting)
        await tokens.aclose()


async def _texts(
    tokens: tokenize.SentenceStream | tokenize.WordStream,
) -> AsyncGenerator[str, None]:
    async for token in tokens:
        yield token.token
