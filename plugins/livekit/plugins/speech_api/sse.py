"""Audio that comes as server-sent events, in the forms that speech servers use.

Source: the speech events of OpenAI's API; the audio deltas of its chat completions.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bounded_http.event_stream import Event, EventReader, EventTooLongError

MAX_EVENT_BYTES = 16 << 20
"""One event may carry a whole sentence of audio, but not more."""


class SseError(ValueError):
    """An event that cannot be read."""


@dataclass(frozen=True)
class SpeechEvent:
    """What one event says."""

    audio: bytes = b""
    error: object | None = None
    """The server's error object."""
    usage: tuple[int, int] | None = None
    """Tokens in, tokens out."""
    done: bool = False


class SpeechReader:
    """Puts bytes together to events. They may be cut anywhere, also within a character."""

    def __init__(self) -> None:
        self._events = EventReader(most_bytes=MAX_EVENT_BYTES)

    def feed(self, data: bytes) -> list[SpeechEvent]:
        """Takes the next bytes.

        Raises:
            SseError: An event is no JSON, is too long, or holds broken base64.
        """
        try:
            events = self._events.feed(data)
        except EventTooLongError as e:
            raise SseError("an event of the speech server is too long") from e
        return [_read_event(event) for event in events]

    def finish(self) -> list[SpeechEvent]:
        """The last event, when the server did not end it with an empty line."""
        return [_read_event(event) for event in self._events.finish()]


def _read_event(event: Event) -> SpeechEvent:
    if event.data.strip() == "[DONE]":
        return SpeechEvent(done=True)
    try:
        body = json.loads(event.data)
    except ValueError as e:
        raise SseError("an event of the speech server is not JSON") from e
    if not isinstance(body, Mapping):
        raise SseError("an event of the speech server is not a JSON object")
    if body.get("error") or event.name == "error" or body.get("type") == "error":
        return SpeechEvent(error=body.get("error") or dict(body))
    kind = str(body.get("type", ""))
    return SpeechEvent(
        audio=_decode(_find_audio(body)), usage=_find_usage(body), done=kind.endswith(".done")
    )


def _find_audio(body: Mapping[str, Any]) -> str:
    """The base64 text: `audio`, `delta`, `data`, or in a chat completion's first choice."""
    choices = body.get("choices")
    if isinstance(choices, list) and choices and isinstance(choices[0], Mapping):
        body = choices[0].get("delta") or choices[0].get("message") or {}
        found: object = body.get("audio")
    else:
        found = next((body[key] for key in ("audio", "delta", "data") if body.get(key)), None)
    if isinstance(found, Mapping):
        found = found.get("data") or found.get("audio")
    return found if isinstance(found, str) else ""


def find_message_audio(body: Mapping[str, Any]) -> bytes:
    """The audio in a JSON body that is no event: an answer that was not streamed.

    Raises:
        SseError: It holds broken base64.
    """
    return _decode(_find_audio(body))


def _decode(text: str) -> bytes:
    try:
        return base64.b64decode(text.partition("base64,")[2] or text, validate=True)
    except binascii.Error as e:
        raise SseError("the audio of the speech server is not base64") from e


def _find_usage(body: Mapping[str, Any]) -> tuple[int, int] | None:
    usage = body.get("usage")
    if not isinstance(usage, Mapping):
        return None
    tokens_in = usage.get("input_tokens") or usage.get("prompt_tokens") or 0
    tokens_out = usage.get("output_tokens") or usage.get("completion_tokens") or 0
    return int(tokens_in), int(tokens_out)
