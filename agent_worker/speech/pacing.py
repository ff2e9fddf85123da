"""Hands a reply's audio on only as fast as it is soon played.

A fast voice makes ten seconds of audio in a few milliseconds. Whatever stands behind it (LiveKit's
synchroniser analyses each second of sound on the event loop) would work on all of it at once, and
the first sample would wait for the last one's analysis.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable

from livekit.agents import utils

from livekit import rtc

_LOOK_AGAIN_S = 0.05


async def paced(
    frames: AsyncIterator[rtc.AudioFrame],
    *,
    played_s: Callable[[], float],
    ahead_s: float = 1.0,
) -> AsyncGenerator[rtc.AudioFrame, None]:
    """Yields the frames, at most about `ahead_s` before they are played.

    The source is read without waiting, so that a voice may work ahead of what is handed on.

    Args:
        frames: one reply's audio.
        played_s: seconds of this reply played so far.
        ahead_s: seconds of audio handed on before they are due.

    Raises:
        Exception: what the source raised, after the frames before it.
    """
    waiting: deque[rtc.AudioFrame] = deque()
    arrived = asyncio.Event()

    async def read() -> None:
        try:
            async for frame in frames:
                waiting.append(frame)
                arrived.set()
        finally:
            arrived.set()

    reading = asyncio.create_task(read(), name="pacing.read")
    handed_on_s = 0.0
    try:
        while waiting or not reading.done():
            if not waiting:
                arrived.clear()
                await arrived.wait()
                continue
            early_s = handed_on_s - played_s() - ahead_s
            if early_s > 0:
                await asyncio.sleep(min(early_s, _LOOK_AGAIN_S))
                continue
            frame = waiting.popleft()
            handed_on_s += frame.duration
            yield frame
        await reading
    finally:
        await utils.aio.cancel_and_wait(reading)
