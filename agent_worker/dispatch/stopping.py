"""A word before the worker's end cuts a call off.

A worker that is told to stop lets its calls end (`drain_timeout_s`). Those that have not ended then
are cut; shortly before, the caller is told, and the call is handed to whichever worker is there.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from livekit.agents import AgentSession, utils

logger = logging.getLogger(__name__)

_LOOK_EVERY_S = 0.3
_SAYING_S = 4.0
"""Seconds that the word may take; so long before the end it is said."""


def word_at_s(drain_timeout_s: float) -> float:
    """Seconds from the order to stop until the word is said: late, but it must be heard out."""
    return max(drain_timeout_s - _SAYING_S - 1.0, min(drain_timeout_s / 2, 1.0))


class StopWord:
    """Ends one session in time when its worker drains.

    Args:
        session: of the call.
        word: said before; empty = nothing.
        draining: whether the worker was told to stop.
        drain_timeout_s: seconds that calls get from then on.
    """

    def __init__(
        self,
        session: AgentSession[Any],
        *,
        word: str,
        draining: Callable[[], bool],
        drain_timeout_s: float,
    ) -> None:
        self._session = session
        self._word = word
        self._draining = draining
        self._at_s = word_at_s(drain_timeout_s)
        self._task = asyncio.create_task(self._watch(), name="stopping.watch")

    async def aclose(self) -> None:
        """Stops watching; safe to call twice."""
        await utils.aio.cancel_and_wait(self._task)

    async def _watch(self) -> None:
        while not self._draining():
            await asyncio.sleep(_LOOK_EVERY_S)
        await asyncio.sleep(self._at_s)
        logger.info("the worker stops; the call is handed over")
        try:
            if self._word:
                async with asyncio.timeout(_SAYING_S):
                    await self._session.interrupt(force=True)
                    await self._session.say(self._word, allow_interruptions=False)
        except (TimeoutError, RuntimeError):
            # not heard out, or the session is closing
            logger.debug("the word before the end was not heard out")
        finally:
            self._session.shutdown(drain=False)
