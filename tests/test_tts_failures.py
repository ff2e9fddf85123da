"""What users report of local voices - mute, chipmunk, stuck - does not happen with these plugins.

An unknown model name, a wrong sample rate, a server that is down, empty audio, and a text of only
emoji: each alone, behind LiveKit's FallbackAdapter, and where a turn could hang, in a session.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest
from livekit.agents import (
    Agent,
    AgentSession,
    APIConnectionError,
    APIConnectOptions,
    APIError,
    APIStatusError,
    tts,
)
from livekit.agents.voice import io
from livekit.agents.voice.agent_session import SessionConnectOptions

from livekit import rtc
from livekit.plugins import speech_api, xtts
from tests import fake_xtts_model
from tests.fake_speech_server import FakeSpeechServer, Reply, frames_of, speech_for, wav_header
from tests.test_xtts import FACTORY

TEXT = "This has to be heard."
OPTIONS = APIConnectOptions(max_retry=0, retry_interval=0.01, timeout=10)
RETRIES = APIConnectOptions(max_retry=2, retry_interval=0.01, timeout=10)


@pytest.fixture
async def server() -> AsyncIterator[FakeSpeechServer]:
    async with FakeSpeechServer().serve() as running:
        yield running


@pytest.fixture
async def second() -> AsyncIterator[FakeSpeechServer]:
    async with FakeSpeechServer().serve() as running:
        yield running


def make(url: str, **options: Any) -> speech_api.TTS:
    return speech_api.TTS(**{"base_url": url, "model": "kokoro", "voice": "v", **options})


async def frames(
    voice: tts.TTS[Any], how: str, text: str = TEXT, options: APIConnectOptions = OPTIONS
) -> list[rtc.AudioFrame]:
    if how == "synthesize":
        return await frames_of(voice.synthesize(text, conn_options=options))
    stream = voice.stream(conn_options=options)
    stream.push_text(text)
    stream.end_input()
    return await frames_of(stream)


def samples(found: list[rtc.AudioFrame]) -> bytes:
    return b"".join(bytes(frame.data) for frame in found)


both = pytest.mark.parametrize("how", ["synthesize", "stream"])


@both
async def test_an_unknown_model_name_is_an_error_at_once(
    server: FakeSpeechServer, how: str
) -> None:
    server.models = ["kokoro"]
    errors: list[tts.TTSError] = []
    async with make(server.url, model="koroko") as voice:
        voice.on("error", errors.append)
        with pytest.raises(APIStatusError, match="koroko"):
            await frames(voice, how, options=RETRIES)
    assert [error.recoverable for error in errors] == [False]
    assert len(server.requests) == 1, "asked again for what can't be had"


@both
async def test_after_an_unknown_model_name_the_next_engine_speaks(
    server: FakeSpeechServer, second: FakeSpeechServer, how: str
) -> None:
    server.models = ["kokoro"]
    async with (
        make(server.url, model="koroko") as wrong,
        make(second.url) as right,
        tts.FallbackAdapter([wrong, right]) as voice,
    ):
        assert samples(await frames(voice, how)) == speech_for(TEXT)


async def test_a_model_name_that_only_the_server_knows_is_no_reason_to_be_mute(
    server: FakeSpeechServer,
) -> None:
    async with make(server.url, model="my-own/finetune:v3") as voice:
        assert samples(await frames(voice, "stream")) == speech_for(TEXT)


@both
@pytest.mark.parametrize("rate", [16000, 22050, 44100, 48000])
async def test_a_server_of_another_sample_rate_does_not_sound_like_a_chipmunk(
    server: FakeSpeechServer, second: FakeSpeechServer, how: str, rate: int
) -> None:
    seconds = np.arange(rate) / rate
    tone = (9000 * np.sin(2 * np.pi * 440 * seconds)).astype("<i2").tobytes()
    server.enqueue(Reply(body=wav_header(rate) + tone))
    async with (
        make(server.url) as voice,
        make(second.url, sample_rate=48000) as other,
        tts.FallbackAdapter([voice, other]) as adapter,
    ):
        found = await frames(adapter, how)
    assert {frame.sample_rate for frame in found} == {48000}
    heard = np.frombuffer(samples(found), np.int16).astype(float)
    assert len(heard) == pytest.approx(48000, abs=600)
    spectrum = np.abs(np.fft.rfft(heard * np.hanning(len(heard)), 48000))
    assert np.argmax(spectrum) == pytest.approx(440, abs=2)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@both
async def test_a_server_that_is_down_is_an_error_after_retries(how: str) -> None:
    errors: list[tts.TTSError] = []
    async with make(f"http://127.0.0.1:{free_port()}/v1") as voice:
        voice.on("error", errors.append)
        with pytest.raises(APIConnectionError, match=r"127\.0\.0\.1"):
            await frames(voice, how, options=RETRIES)
    assert [error.recoverable for error in errors] == [True, True, False]


@both
async def test_a_server_that_is_down_is_replaced_and_comes_back(
    second: FakeSpeechServer, how: str
) -> None:
    port = free_port()
    changes: list[bool] = []
    async with (
        make(f"http://127.0.0.1:{port}/v1") as first,
        make(second.url) as other,
        tts.FallbackAdapter([first, other], max_retry_per_tts=1) as voice,
    ):
        voice.on("tts_availability_changed", lambda event: changes.append(event.available))
        assert samples(await frames(voice, how)) == speech_for(TEXT)
        assert changes == [False]
        async with FakeSpeechServer().serve(port) as back:
            while True not in changes:
                await frames(voice, how)
                await asyncio.sleep(0.01)
            asked = len(back.requests)
            await frames(voice, how, "The old voice is back.")
            assert back.texts[asked:] == ["The old voice is back."]


@both
async def test_when_all_servers_are_down_it_is_said_and_ends_when_they_are_up(how: str) -> None:
    ports = [free_port(), free_port()]
    one, two = (make(f"http://127.0.0.1:{port}/v1") for port in ports)
    async with one, two, tts.FallbackAdapter([one, two], max_retry_per_tts=0) as voice:
        with pytest.raises(APIConnectionError, match="all TTSs failed"):
            await frames(voice, how)
        async with FakeSpeechServer().serve(ports[1]):
            assert samples(await frames(voice, how)) == speech_for(TEXT)


EMPTY = {
    "nothing": Reply(body=b""),
    "a header alone": Reply(body=wav_header(24000)),
    "half a sample": Reply(body=b"\x01"),
    "events without audio": Reply(
        content_type="text/event-stream", body=b'data: {"type": "speech.audio.done"}\n\n'
    ),
    "an empty answer": Reply(content_type="application/json", body=b"{}"),
}


@both
@pytest.mark.parametrize("reply", EMPTY.values(), ids=EMPTY)
async def test_empty_audio_is_an_error_and_the_next_engine_speaks(
    server: FakeSpeechServer, second: FakeSpeechServer, how: str, reply: Reply
) -> None:
    async with make(server.url) as voice, make(second.url) as other:
        server.enqueue(reply)
        with pytest.raises(APIError):
            await frames(voice, how)
        server.enqueue(reply)
        async with tts.FallbackAdapter([voice, other], max_retry_per_tts=0) as adapter:
            assert samples(await frames(adapter, how)) == speech_for(TEXT)


@both
async def test_xtts_that_stays_silent_or_dies_is_replaced(
    second: FakeSpeechServer, how: str
) -> None:
    for text in ("MUTE as a fish is what it is.", "This will CRASH the process."):
        voice = xtts.TTS(accept_license=True, model_factory=FACTORY)
        async with (
            voice,
            make(second.url) as other,
            tts.FallbackAdapter([voice, other], max_retry_per_tts=0) as adapter,
        ):
            assert samples(await frames(adapter, how, text)) == speech_for(text)


@both
@pytest.mark.parametrize("text", ["😀", "👍🏽🎉 ❤️", "  —  "])
async def test_only_emoji_ends_in_silence_without_troubling_an_engine(
    server: FakeSpeechServer, how: str, text: str
) -> None:
    async with make(server.url) as voice, tts.FallbackAdapter([voice]) as adapter:
        found = await frames(adapter, how, text)
        assert set(samples(found)) == {0}
        assert samples(await frames(adapter, how)) == speech_for(TEXT)
    assert server.texts == [TEXT]


async def test_xtts_with_only_emoji_ends_in_silence() -> None:
    async with xtts.TTS(accept_license=True, model_factory=FACTORY) as voice:
        assert set(samples(await frames(voice, "stream", "🎉🎉"))) == {0}
        assert samples(await frames(voice, "stream")) == fake_xtts_model.speech_for(TEXT)


class Speaker(io.AudioOutput):
    """A loudspeaker that plays as fast as it is given."""

    def __init__(self) -> None:
        super().__init__(
            label="speaker",
            capabilities=io.AudioOutputCapabilities(pause=False),
            sample_rate=24000,
        )
        self.heard = bytearray()
        self._since_flush = 0.0

    async def capture_frame(self, frame: rtc.AudioFrame) -> None:
        await super().capture_frame(frame)
        self.heard += bytes(frame.data)
        self._since_flush += frame.duration

    def flush(self) -> None:
        super().flush()
        if self._since_flush:
            self.on_playback_finished(playback_position=self._since_flush, interrupted=False)
            self._since_flush = 0.0

    def clear_buffer(self) -> None:
        self.flush()


async def test_no_turn_is_stuck_on_emoji_or_empty_audio(server: FakeSpeechServer) -> None:
    speaker = Speaker()
    async with make(server.url) as voice:
        session: AgentSession[None] = AgentSession(
            tts=voice, conn_options=SessionConnectOptions(tts_conn_options=OPTIONS)
        )
        session.output.audio = speaker
        await session.start(Agent(instructions=""), record=False)
        try:
            await session.say("😀", add_to_chat_ctx=False)
            server.enqueue(Reply(body=b""))
            failed = session.say("This one comes back empty.", add_to_chat_ctx=False)
            await failed
            # Nobody else asks for it, and asyncio would log it whenever it is collected.
            (error,) = [task.exception() for task in failed._tasks]
            await session.say(TEXT, add_to_chat_ctx=False)
        finally:
            await session.aclose()
    assert isinstance(error, APIError)
    assert speech_for(TEXT) in bytes(speaker.heard)
    assert server.texts == ["This one comes back empty.", TEXT]
