"""Keeps a process's models in memory, before its first call and between its calls."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from agent_worker.settings import Settings

from .build import Engines, build_engines
from .chosen import Choices
from .hung_voice import is_loading
from .voices.registry import voice_engine

if TYPE_CHECKING:
    from livekit.agents import tts

_LOOK_EVERY_S = 0.05


class WarmEngines:
    """Engines of no call. Those of the calls share their models, which live as long as one of them.

    Args:
        settings: of the user.
        choices: the engines.
    """

    def __init__(self, settings: Settings, choices: Choices) -> None:
        self._settings = settings
        self._choices = choices
        self._lock = threading.Lock()
        self._engines: Engines | None = None
        self._voice: tts.TTS[Any] | None = None

    def load(self) -> None:
        """Begins to load the models, once, and does not wait for them. From any thread.

        Raises:
            EngineError: as `build_engines`.
        """
        with self._lock:
            if self._engines is not None:
                return
            engines = build_engines(self._settings, self._choices)
            # without what is wrapped around it for a call it can say whether it is loading
            self._voice = voice_engine(self._choices.tts.engine).build(
                self._settings, self._choices.tts
            )
            engines.stt.prewarm()
            engines.tts.prewarm()
            self._engines = engines

    async def until_voice_is_loaded(self, patience_s: float = 60.0) -> None:
        """Waits for the voice's model, where it tells; no longer than so many seconds."""
        for _ in range(round(patience_s / _LOOK_EVERY_S)):
            if self._voice is None or not is_loading(self._voice):
                return
            await asyncio.sleep(_LOOK_EVERY_S)

    async def aclose(self) -> None:
        """Lets go of them. Safe to call twice."""
        engines, self._engines = self._engines, None
        voice, self._voice = self._voice, None
        if voice is not None:
            await voice.aclose()
        if engines is not None:
            await engines.aclose()


@contextlib.asynccontextmanager
async def kept_warm(settings: Settings, choices: Choices) -> AsyncIterator[None]:
    """Has the models in memory, as in a worker that has waited for its caller.

    Raises:
        EngineError: as `build_engines`.
    """
    async with contextlib.aclosing(WarmEngines(settings, choices)) as warm:
        warm.load()
        # loading takes longer than a phrase may
        await warm.until_voice_is_loaded()
        yield
