"""How sure the recogniser is of what it wrote, which the session's events don't tell."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, AsyncIterable
from contextlib import aclosing
from typing import Any

from livekit.agents import Agent, ModelSettings, stt

from livekit import rtc

_TRANSCRIPTS = (
    stt.SpeechEventType.INTERIM_TRANSCRIPT,
    stt.SpeechEventType.PREFLIGHT_TRANSCRIPT,
    stt.SpeechEventType.FINAL_TRANSCRIPT,
)


class ConfidenceTap:
    """Sees the speech events on their way from an agent's `stt_node` to its session.

    Args:
        agent: of one call; not started yet.
    """

    def __init__(self, agent: Agent) -> None:
        self._node = agent.stt_node
        self._last: tuple[str, float] = ("", 0.0)
        agent.stt_node = self._hear  # type: ignore[method-assign]

    def of(self, transcript: str) -> float | None:
        """The confidence of a transcript, 0 to 1; None where the recogniser gave none."""
        text, confidence = self._last
        # Recognisers that know none leave LiveKit's default, 0.
        return confidence if text == transcript and 0 < confidence <= 1 else None

    async def _hear(
        self, audio: AsyncIterable[rtc.AudioFrame], model_settings: ModelSettings
    ) -> AsyncGenerator[stt.SpeechEvent | str, None]:
        node: Any = self._node(audio, model_settings)
        events = await node if inspect.isawaitable(node) else node
        if events is None:
            return
        async with aclosing(events):
            async for event in events:
                if (
                    isinstance(event, stt.SpeechEvent)
                    and event.type in _TRANSCRIPTS
                    and event.alternatives
                ):
                    heard = event.alternatives[0]
                    self._last = (heard.text, heard.confidence)
                yield event
