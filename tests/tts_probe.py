"""Speaks through a TTS plugin and takes apart what came out; for tests and benchmarks."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from livekit.agents import APIConnectOptions, tokenize, tts
from livekit.agents.tokenize.tokenizer import SentenceStream
from livekit.agents.types import USERDATA_TIMED_TRANSCRIPT, TimedString

ONCE = APIConnectOptions(max_retry=0, timeout=20)

Events = list[tts.SynthesizedAudio]


async def speak(voice: tts.TTS[Any], text: str) -> Events:
    """Everything that `synthesize` gives for a text."""
    async with voice.synthesize(text, conn_options=ONCE) as stream:
        return [event async for event in stream]


async def stream_out(voice: tts.TTS[Any], *pushes: str) -> Events:
    """Everything that one `stream` gives for these pushes."""
    async with voice.stream(conn_options=ONCE) as stream:
        for text in pushes:
            stream.push_text(text)
        stream.end_input()
        return [event async for event in stream]


def open_stream(
    voice: tts.TTS[Any], text: str, options: APIConnectOptions, *, streamed: bool
) -> tts.ChunkedStream | tts.SynthesizeStream:
    """The text on its way, by either of the two ways."""
    if not streamed:
        return voice.synthesize(text, conn_options=options)
    stream = voice.stream(conn_options=options)
    stream.push_text(text)
    stream.end_input()
    return stream


def pcm(events: Events) -> npt.NDArray[np.int16]:
    """The samples of all frames."""
    return np.concatenate([np.frombuffer(event.frame.data, np.int16) for event in events])


def words(events: Events) -> list[TimedString]:
    """The words that came with the frames."""
    return [w for e in events for w in e.frame.userdata.get(USERDATA_TIMED_TRANSCRIPT, [])]


def times(spoken: list[TimedString]) -> list[float]:
    """Start and end of each word, seconds, in one list."""
    found: list[float] = []
    for word in spoken:
        assert isinstance(word.start_time, float) and isinstance(word.end_time, float)
        found += [word.start_time, word.end_time]
    return found


class WholePushes(tokenize.SentenceTokenizer):
    """Takes each push as one piece, as a caller that cuts its phrases itself wants it."""

    def tokenize(self, text: str, *, language: str | None = None) -> list[str]:
        return [text]

    def stream(self, *, language: str | None = None) -> SentenceStream:
        return _WholePushStream()


class _WholePushStream(SentenceStream):
    def push_text(self, text: str) -> None:
        self._event_ch.send_nowait(tokenize.TokenData(token=text))

    def flush(self) -> None:
        pass

    def end_input(self) -> None:
        self._event_ch.close()

    async def aclose(self) -> None:
        self._event_ch.close()
