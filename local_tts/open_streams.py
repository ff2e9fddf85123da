"""The streams of one voice, which end with it."""

from __future__ import annotations

import weakref
from typing import TypeVar

from livekit.agents import tts

Stream = TypeVar("Stream", bound=tts.ChunkedStream | tts.SynthesizeStream)


class OpenStreams:
    """Knows the streams that somebody still holds, without keeping them alive."""

    def __init__(self) -> None:
        self._streams: weakref.WeakSet[tts.ChunkedStream | tts.SynthesizeStream] = weakref.WeakSet()

    def added(self, stream: Stream) -> Stream:
        """Takes note of a stream and returns it."""
        self._streams.add(stream)
        return stream

    async def aclose(self) -> None:
        """Stops what is being spoken. Safe to call twice."""
        for stream in list(self._streams):
            await stream.aclose()
        self._streams.clear()
