"""The three ways in which a response carries audio: raw bytes, events, or one JSON answer."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from . import failures
from .pcm import PcmReader
from .sse import SpeechEvent, SpeechReader, find_message_audio

CODED_TYPES = frozenset(
    f"audio/{name}" for name in ("mpeg", "mp3", "ogg", "opus", "aac", "flac", "webm", "mp4")
)
"""Audio that would need a decoder. Nobody asks for it, but servers have defaults."""


@dataclass
class Usage:
    """Tokens that the server counted, if it does."""

    input_tokens: int = 0
    output_tokens: int = 0


class Body(Protocol):
    """Reads the body of one response, cut anywhere."""

    def feed(self, data: bytes) -> bytes:
        """Takes the next bytes and returns the samples that are ready."""

    def finish(self) -> bytes:
        """Returns the last samples."""


def raw_body(content_type: str, *, sample_rate: int, expect_wav: bool) -> Body:
    """The body is the audio. `audio/L16;rate=16000` and the like tell the rate of raw samples."""
    return PcmReader(
        sample_rate=sample_rate,
        source_rate=_parameter(content_type, "rate") or sample_rate,
        source_channels=_parameter(content_type, "channels") or 1,
        expect_wav=expect_wav,
    )


class EventBody:
    """Server-sent events with audio in base64."""

    def __init__(self, *, sample_rate: int, usage: Usage, request_id: str | None) -> None:
        self._pcm = PcmReader(sample_rate=sample_rate, source_rate=sample_rate)
        self._lines = SpeechReader()
        self._usage = usage
        self._request_id = request_id

    def feed(self, data: bytes) -> bytes:
        """Raises APIError where an event reports one."""
        return b"".join(map(self._take, self._lines.feed(data)))

    def finish(self) -> bytes:
        """The event that was not ended, and what the resampler held."""
        return b"".join(map(self._take, self._lines.finish())) + self._pcm.finish()

    def _take(self, event: SpeechEvent) -> bytes:
        if event.error is not None:
            raise failures.error_object(event.error, self._request_id)
        if event.usage is not None:
            self._usage.input_tokens, self._usage.output_tokens = event.usage
        return self._pcm.feed(event.audio, whole=True) if event.audio else b""


class JsonBody:
    """One JSON answer with the audio in it, from a server that does not stream; or an error."""

    def __init__(self, *, sample_rate: int, request_id: str | None) -> None:
        self._pcm = PcmReader(sample_rate=sample_rate, source_rate=sample_rate)
        self._request_id = request_id
        self._body = bytearray()

    def feed(self, data: bytes) -> bytes:
        """Nothing is ready before the answer is whole."""
        self._body += data
        return b""

    def finish(self) -> bytes:
        """Raises APIError where the answer has no audio."""
        try:
            answer = json.loads(self._body)
        except ValueError as e:
            raise failures.wrong_content("broken JSON", bytes(self._body)) from e
        audio = find_message_audio(answer) if isinstance(answer, Mapping) else b""
        if not audio:
            said = answer.get("error", answer) if isinstance(answer, Mapping) else answer
            raise failures.error_object(said, self._request_id)
        return self._pcm.feed(audio, whole=True) + self._pcm.finish()


def _parameter(content_type: str, name: str) -> int | None:
    found = re.search(rf"\b{name}\s*=\s*\"?(\d{{1,6}})", content_type)
    return int(found[1]) if found and int(found[1]) else None
