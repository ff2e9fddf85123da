"""Any server that speaks OpenAI's `POST /v1/audio/speech`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import httpx
from livekit.agents import NOT_GIVEN, NotGivenOr
from livekit.agents.utils import is_given

from local_tts.options import Tokenizer, checked

from .reference import reference_field
from .request import SpeechRequest, headers_with_key
from .server_tts import ServerTTS

ResponseFormat = Literal["pcm", "wav"]
StreamFormat = Literal["audio", "sse"]


@dataclass(frozen=True)
class SpeechOptions:
    """How one stream speaks. None leaves a field out of the request."""

    url: str
    model: str
    voice: str | None
    api_key: str | None = field(repr=False)
    response_format: ResponseFormat
    sample_rate: int
    """Hertz."""
    stream_format: StreamFormat | None
    stream: bool | None
    speed: float | None
    instructions: str | None
    ref_audio: str | None = field(repr=False)
    ref_text: str | None = field(repr=False)
    extra_fields: Mapping[str, Any] = field(repr=False)
    extra_headers: Mapping[str, str] = field(repr=False)
    requests_ahead: int
    max_characters: int

    def request(self, text: str, request_id: str) -> SpeechRequest:
        """Makes the request that speaks one piece."""
        fields: dict[str, Any] = {
            "model": self.model,
            "input": text,
            "voice": self.voice,
            "response_format": self.response_format,
            "speed": self.speed,
            "instructions": self.instructions,
            "stream_format": self.stream_format,
            "stream": self.stream,
            "ref_audio": self.ref_audio,
            "ref_text": self.ref_text,
            **self.extra_fields,
        }
        return SpeechRequest(
            url=self.url,
            body={name: value for name, value in fields.items() if value is not None},
            headers={**self.headers(), "X-Request-ID": request_id},
            sample_rate=self.sample_rate,
            expect_wav=self.response_format == "wav",
            expect_events=self.stream_format == "sse",
        )

    def headers(self) -> dict[str, str]:
        """What every request carries."""
        return headers_with_key(self.api_key, self.extra_headers)

    def spoken(self, text: str, audio: bytes) -> None:
        """Nothing is kept: each piece stands for itself."""


class TTS(ServerTTS):
    """Speech from any OpenAI-compatible server: Kokoro-FastAPI, vLLM-Omni, an XTTS server, ...

    Args:
        base_url: Of the API. Without a path, `/v1` is added.
        model: Any name that the server knows.
        voice: Left out of the request if not given.
        api_key: Sent as a bearer token.
        response_format: `pcm` (raw 16-bit mono) or `wav`. A WAV header is believed in both cases.
        sample_rate: Hertz, of raw samples, and of the frames that come out. Audio whose header
            tells another rate is resampled to it.
        stream_format: `sse` for audio in server-sent events; the field of that name.
        stream: The field of that name, which some servers need to stream at all.
        speed: 0.25 to 4.
        instructions: How to speak, for models that follow it.
        ref_audio: A recording of the voice to clone: a path or bytes go as a data URL, a string
            goes as it is.
        ref_text: What is said in it.
        extra_fields: Anything else for the request; wins over the fields above, and a value of
            None takes a field away.
        extra_headers: Anything else for its headers.
        tokenizer: Cuts the text that `stream()` is given; a request is made for each piece.
        requests_ahead: How many requests may run while an earlier piece is played, so that
            there is no gap. 0 for a server that does one thing at a time badly.
        max_characters: Of one request.
        http_client: To use in place of an own one; it is not closed.

    Raises:
        ValueError: An argument makes no sense.
    """

    def __init__(
        self,
        *,
        base_url: str = "http://127.0.0.1:8000/v1",
        model: str = "tts-1",
        voice: NotGivenOr[str | None] = NOT_GIVEN,
        api_key: NotGivenOr[str | None] = NOT_GIVEN,
        response_format: ResponseFormat = "pcm",
        sample_rate: int = 24000,
        stream_format: NotGivenOr[StreamFormat | None] = NOT_GIVEN,
        stream: NotGivenOr[bool | None] = NOT_GIVEN,
        speed: NotGivenOr[float | None] = NOT_GIVEN,
        instructions: NotGivenOr[str | None] = NOT_GIVEN,
        ref_audio: NotGivenOr[str | Path | bytes | None] = NOT_GIVEN,
        ref_text: NotGivenOr[str | None] = NOT_GIVEN,
        extra_fields: NotGivenOr[Mapping[str, Any]] = NOT_GIVEN,
        extra_headers: NotGivenOr[Mapping[str, str]] = NOT_GIVEN,
        tokenizer: NotGivenOr[Tokenizer] = NOT_GIVEN,
        requests_ahead: int = 1,
        max_characters: int = 4096,
        http_client: httpx.AsyncClient | None = None,
    ) -> None:
        checked("sample_rate", sample_rate, 8000, 192_000)
        checked("requests_ahead", requests_ahead, 0, 8)
        checked("max_characters", max_characters, 16, 1_000_000)
        super().__init__(
            base_url=base_url,
            sample_rate=sample_rate,
            tokenizer=tokenizer,
            http_client=http_client,
        )
        if not model:
            raise ValueError("model is empty")
        self._opts = SpeechOptions(
            url=f"{self._base_url}/audio/speech",
            model=model,
            voice=None,
            api_key=api_key or None,
            response_format=_checked_choice("response_format", response_format, ("pcm", "wav")),
            sample_rate=sample_rate,
            stream_format=None,
            stream=None,
            speed=None,
            instructions=None,
            ref_audio=None,
            ref_text=None,
            extra_fields={},
            extra_headers=dict(extra_headers or {}),
            requests_ahead=requests_ahead,
            max_characters=max_characters,
        )
        self.update_options(
            voice=voice,
            stream_format=stream_format,
            stream=stream,
            speed=speed,
            instructions=instructions,
            ref_audio=ref_audio,
            ref_text=ref_text,
            extra_fields=extra_fields,
        )

    @property
    def model(self) -> str:
        """The name that the server is asked for."""
        return self._opts.model

    def update_options(
        self,
        *,
        model: NotGivenOr[str] = NOT_GIVEN,
        voice: NotGivenOr[str | None] = NOT_GIVEN,
        response_format: NotGivenOr[ResponseFormat] = NOT_GIVEN,
        stream_format: NotGivenOr[StreamFormat | None] = NOT_GIVEN,
        stream: NotGivenOr[bool | None] = NOT_GIVEN,
        speed: NotGivenOr[float | None] = NOT_GIVEN,
        instructions: NotGivenOr[str | None] = NOT_GIVEN,
        ref_audio: NotGivenOr[str | Path | bytes | None] = NOT_GIVEN,
        ref_text: NotGivenOr[str | None] = NOT_GIVEN,
        extra_fields: NotGivenOr[Mapping[str, Any]] = NOT_GIVEN,
    ) -> None:
        """Changes how streams speak that begin from now on. None takes a field away.

        Raises:
            ValueError: An argument makes no sense; nothing was changed.
        """
        changes: dict[str, Any] = {}
        if is_given(model):
            if not model:
                raise ValueError("model is empty")
            changes["model"] = model
        if is_given(response_format):
            changes["response_format"] = _checked_choice(
                "response_format", response_format, ("pcm", "wav")
            )
        if is_given(stream_format):
            changes["stream_format"] = stream_format and _checked_choice(
                "stream_format", stream_format, ("audio", "sse")
            )
        if is_given(speed):
            changes["speed"] = None if speed is None else checked("speed", speed, 0.25, 4.0)
        if is_given(ref_audio):
            changes["ref_audio"] = None if ref_audio is None else reference_field(ref_audio)
        if is_given(extra_fields):
            changes["extra_fields"] = dict(extra_fields)
        plain = {"voice": voice, "stream": stream, "instructions": instructions}
        plain["ref_text"] = ref_text
        changes |= {name: value for name, value in plain.items() if is_given(value)}
        self._opts = replace(self._opts, **changes)

    def _voice(self) -> SpeechOptions:
        return self._opts

    def _headers(self) -> Mapping[str, str]:
        return self._opts.headers()


def _checked_choice(name: str, value: str, choices: tuple[str, ...]) -> Any:
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, not {value!r}")
    return value
