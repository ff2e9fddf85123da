"""The voices of a call beside its own: an engine for each, made when it is first needed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any

from livekit.agents import tts

logger = logging.getLogger(__name__)

_MOST = 16
"""Voices of one call; the names may come from a server."""


class CharacterVoices:
    """Gives the engine that speaks with a voice, the call's own where there is no such voice.

    Args:
        own: the call's own engine. The figures of the others are told by it, so that a session
            counts them.
        make: makes the engine for a voice.
    """

    def __init__(self, own: tts.TTS[Any], make: Callable[[str], tts.TTS[Any]]) -> None:
        self._own = own
        self._make = make
        self._engines: dict[str, tts.TTS[Any] | None] = {}

    def __call__(self, voice: str) -> tts.TTS[Any]:
        """The engine for a voice, by its name."""
        if voice not in self._engines and len(self._engines) < _MOST:
            self._engines[voice] = self._made(voice)
        return self._engines.get(voice) or self._own

    def prewarm(self, voices: Iterable[str]) -> None:
        """Loads voices before they are needed."""
        for voice in voices:
            self(voice).prewarm()

    async def aclose(self) -> None:
        """Closes the engines; safe to call twice. The call's own is left alone."""
        engines, self._engines = self._engines, {}
        for engine in engines.values():
            if engine is not None:
                await engine.aclose()

    def _made(self, voice: str) -> tts.TTS[Any] | None:
        try:
            engine = self._make(voice)
        except Exception as e:
            # each engine has errors of its own for a voice that it has not
            logger.warning("a character speaks with the call's own voice: %s", e)
            return None
        engine.on("metrics_collected", self._tell)
        if engine.sample_rate == self._own.sample_rate and not self._falls_back:
            return engine
        return _Backed(engine, self._own)

    @property
    def _falls_back(self) -> bool:
        return isinstance(self._own, tts.FallbackAdapter)

    def _tell(self, metrics: object) -> None:
        self._own.emit("metrics_collected", metrics)


class _Backed(tts.FallbackAdapter):
    """A character's engine, with the call's own for when it fails, and at the own one's rate:
    what plays a reply takes one rate."""

    def __init__(self, engine: tts.TTS[Any], own: tts.TTS[Any]) -> None:
        super().__init__([engine, own], sample_rate=own.sample_rate)
        self._engine = engine

    async def aclose(self) -> None:
        await super().aclose()
        await self._engine.aclose()
