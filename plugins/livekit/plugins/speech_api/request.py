"""One request to a speech server: text out, samples in, and the request gone when it is dropped."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx
from livekit.agents import APIConnectionError, APIError, APITimeoutError

from . import failures
from .body import CODED_TYPES, Body, EventBody, JsonBody, Usage, raw_body
from .pcm import CHUNK_BYTES
from .sse import SseError
from .wav import WavError


@dataclass(frozen=True)
class SpeechRequest:
    """All that one piece of text needs to become speech."""

    url: str
    body: Mapping[str, Any] = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    sample_rate: int
    """Hertz, of what the caller is given, and of raw samples that do not say it themselves."""
    expect_wav: bool = False
    expect_events: bool = False
    """Server-sent events, where the response does not say what it is."""


def headers_with_key(api_key: str | None, further: Mapping[str, str]) -> dict[str, str]:
    """What a server wants with every request; a header given by name counts before the key."""
    key = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    return {**key, **further}


async def speak(
    client: httpx.AsyncClient,
    request: SpeechRequest,
    *,
    timeout_s: float,
    usage: Usage,
    on_audio: Callable[[bytes], Awaitable[None]],
) -> None:
    """Sends the request and hands its audio over as it arrives.

    Cancelling the task in it closes the connection at once, which makes servers stop generating.

    Args:
        client: To send with; its own timeouts do not count.
        request: What to send.
        timeout_s: Seconds to the first audio, and from any audio to the next. Comments and empty
            events do not count as life, and the time in `on_audio` not as the server's.
        usage: Where to put the tokens that the server counted.
        on_audio: Given 16-bit mono samples at the request's rate, at most 4 KB at a time.

    Raises:
        APITimeoutError: No audio came in time.
        APIConnectionError: The server was not reached, or the connection broke.
        APIStatusError: The server refused.
        APIError: The answer is no audio, or has none.
    """
    loop = asyncio.get_running_loop()
    empty = True
    try:
        async with (
            asyncio.timeout(timeout_s) as deadline,
            client.stream(
                "POST",
                request.url,
                json=dict(request.body),
                headers=dict(request.headers),
                timeout=None,
            ) as response,
        ):

            async def hand_over(samples: bytes) -> None:
                nonlocal empty
                empty = False
                deadline.reschedule(None)
                for start in range(0, len(samples), CHUNK_BYTES):
                    await on_audio(samples[start : start + CHUNK_BYTES])
                deadline.reschedule(loop.time() + timeout_s)

            body = await _open_body(response, request, usage)
            async for data in response.aiter_bytes():
                if samples := body.feed(data):
                    await hand_over(samples)
            if samples := body.finish():
                await hand_over(samples)
    except TimeoutError as e:
        raise APITimeoutError(f"the speech server sent no audio for {timeout_s:g} s") from e
    except (httpx.InvalidURL, httpx.UnsupportedProtocol) as e:
        raise APIConnectionError(f"{request.url} is no address", retryable=False) from e
    except httpx.HTTPError as e:
        raise APIConnectionError(f"no speech from {request.url}") from e
    except (WavError, SseError) as e:
        raise APIError(f"the speech server's audio is broken: {e}") from e
    if empty:
        raise APIError("the speech server answered without any audio")


async def _open_body(response: httpx.Response, request: SpeechRequest, usage: Usage) -> Body:
    """Chooses by what the response says it is; what was asked for only breaks the tie."""
    request_id = response.headers.get("x-request-id")
    if not response.is_success:
        said = await _read_start(response)
        raise failures.status_error(response.status_code, said, request_id)
    content_type = response.headers.get("content-type", "").lower()
    kind = content_type.partition(";")[0].strip()
    if kind == "application/json":
        return JsonBody(sample_rate=request.sample_rate, request_id=request_id)
    says_audio = kind.startswith("audio/")
    if kind == "text/event-stream" or (request.expect_events and not says_audio):
        return EventBody(sample_rate=request.sample_rate, usage=usage, request_id=request_id)
    if kind.startswith("text/") or kind in CODED_TYPES:
        raise failures.wrong_content(kind, b"" if says_audio else await _read_start(response))
    return raw_body(content_type, sample_rate=request.sample_rate, expect_wav=request.expect_wav)


async def _read_start(response: httpx.Response) -> bytes:
    body = bytearray()
    async for data in response.aiter_bytes():
        body += data
        if len(body) >= failures.MAX_BODY_BYTES:
            break
    return bytes(body)
