"""The speech server plugin against a local server."""

from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from livekit.agents import (
    APIConnectionError,
    APIConnectOptions,
    APIError,
    APIStatusError,
    APITimeoutError,
    metrics,
    tokenize,
    tts,
)

from livekit.plugins import speech_api
from livekit.plugins.speech_api.body import Usage
from livekit.plugins.speech_api.request import speak
from tests.fake_speech_server import FakeSpeechServer, Reply, frames_of, speech_for, wav_header

ONCE = APIConnectOptions(max_retry=0, timeout=10)
QUICK_RETRY = APIConnectOptions(max_retry=2, retry_interval=0.01, timeout=10)


@pytest.fixture
async def server() -> AsyncIterator[FakeSpeechServer]:
    async with FakeSpeechServer().serve() as running:
        yield running


def make(server: FakeSpeechServer, **options: Any) -> speech_api.TTS:
    return speech_api.TTS(**{"base_url": server.url, "model": "m", "voice": "v", **options})


async def heard(stream: tts.ChunkedStream | tts.SynthesizeStream) -> bytes:
    return b"".join([bytes(frame.data) for frame in await frames_of(stream)])


async def say(voice: tts.TTS[Any], *texts: str, conn_options: APIConnectOptions = ONCE) -> bytes:
    stream = voice.stream(conn_options=conn_options)
    for text in texts:
        stream.push_text(text)
    stream.end_input()
    return await heard(stream)


class WholePushes(tokenize.SentenceTokenizer):
    """Takes each push_text() as one piece, as the agent's own tokenizer does."""

    def tokenize(self, text: str, *, language: str | None = None) -> list[str]:
        return [text]

    def stream(self, *, language: str | None = None) -> _WholePushStream:
        return _WholePushStream()


class _WholePushStream(tokenize.tokenizer.SentenceStream):
    def push_text(self, text: str) -> None:
        self._event_ch.send_nowait(tokenize.TokenData(token=text))

    def flush(self) -> None:
        pass

    def end_input(self) -> None:
        self._do_close()

    async def aclose(self) -> None:
        self._do_close()


async def test_a_whole_text_is_spoken_in_one_request(server: FakeSpeechServer) -> None:
    async with make(server) as voice:
        audio = await heard(voice.synthesize("Good morning, how are you?", conn_options=ONCE))
    assert audio == speech_for("Good morning, how are you?")
    assert server.texts == ["Good morning, how are you?"]


async def test_a_streamed_text_is_spoken_piece_by_piece_in_order(server: FakeSpeechServer) -> None:
    pieces = ["First things first.", "Then comes the second.", "And this is the third."]
    async with make(server, tokenizer=WholePushes()) as voice:
        audio = await say(voice, *pieces)
    assert server.texts == pieces
    assert audio == b"".join(speech_for(piece) for piece in pieces)


async def test_speech_starts_while_the_text_is_still_being_written(
    server: FakeSpeechServer,
) -> None:
    async with make(server) as voice:
        stream = voice.stream(conn_options=ONCE)
        stream.push_text("The first sentence is here. The second is")
        first = await stream.__anext__()
        assert first.frame.duration > 0
        assert server.texts == ["The first sentence is here."]
        stream.push_text(" not finished.")
        stream.end_input()
        await heard(stream)
    assert server.texts[1:] == ["The second is not finished."]


async def test_the_next_request_is_on_its_way_while_one_is_played(
    server: FakeSpeechServer,
) -> None:
    first, second = asyncio.Event(), asyncio.Event()
    server.enqueue(Reply(gate=first), Reply(gate=second), Reply())
    async with make(server, tokenizer=WholePushes()) as voice:
        speaking = asyncio.create_task(say(voice, "One is here.", "Two is here.", "Three."))
        await server.wait_for(lambda: server.open == 2)
        assert len(server.requests) == 2
        second.set()
        await server.wait_for(lambda: server.open == 1)
        assert len(server.requests) == 2, "a third request although the first is not played"
        first.set()
        audio = await speaking
    assert audio == b"".join(map(speech_for, ["One is here.", "Two is here.", "Three."]))
    assert server.most_open == 2


@pytest.mark.parametrize("stream_format", ["audio", "sse"])
@pytest.mark.parametrize("response_format", ["pcm", "wav"])
async def test_every_form_of_answer_gives_the_same_samples(
    server: FakeSpeechServer, stream_format: str, response_format: str
) -> None:
    async with make(server, stream_format=stream_format, response_format=response_format) as voice:
        audio = await heard(voice.synthesize("The same samples.", conn_options=ONCE))
    assert audio == speech_for("The same samples.")


async def test_all_fields_are_sent_and_extra_fields_win(
    server: FakeSpeechServer, tmp_path: Path
) -> None:
    recording = tmp_path / "me.wav"
    recording.write_bytes(wav_header(16000) + b"\0\0")
    async with make(
        server,
        api_key="secret",
        speed=1.25,
        instructions="Whisper.",
        stream=True,
        ref_audio=recording,
        ref_text="It is me.",
        extra_fields={"lang_code": "e", "voice": "other", "response_format": None},
        extra_headers={"X-Team": "night"},
    ) as voice:
        await heard(voice.synthesize("Hello there.", conn_options=ONCE))
    body = server.requests[0].body
    assert body.pop("ref_audio").startswith("data:audio/wav;base64,UklGR")
    assert body == {
        "model": "m",
        "input": "Hello there.",
        "voice": "other",
        "speed": 1.25,
        "instructions": "Whisper.",
        "stream": True,
        "ref_text": "It is me.",
        "lang_code": "e",
    }
    headers = server.requests[0].headers
    assert headers["Authorization"] == "Bearer secret"
    assert headers["X-Team"] == "night"
    assert headers["X-Request-ID"]


async def test_the_rate_in_the_header_wins_over_the_one_that_was_expected() -> None:
    async with (
        FakeSpeechServer(sample_rate=16000).serve() as server,
        make(server, response_format="wav", sample_rate=24000) as voice,
        voice.synthesize("Not a chipmunk.", conn_options=ONCE) as stream,
    ):
        frame = await stream.collect()
    assert frame.sample_rate == 24000
    assert frame.duration == pytest.approx(0.01 * len("Not a chipmunk."), abs=0.012)


async def test_a_wav_where_raw_samples_were_asked_for_is_still_read_as_wav() -> None:
    server = FakeSpeechServer()
    server.enqueue(Reply(body=wav_header(48000) + speech_for("Stubborn server.", 48000)))
    async with (
        server.serve(),
        make(server) as voice,
        voice.synthesize("Stubborn server.", conn_options=ONCE) as stream,
    ):
        frame = await stream.collect()
    assert frame.duration == pytest.approx(0.16, abs=0.012)
    assert abs(int(np.frombuffer(frame.data, np.int16)[0])) > 0


async def test_the_content_type_tells_the_rate_of_raw_samples(server: FakeSpeechServer) -> None:
    server.enqueue(
        Reply(
            body=speech_for("Sixteen.", 16000),
            headers={"Content-Type": "audio/L16; rate=16000; channels=1"},
        )
    )
    async with make(server) as voice, voice.synthesize("Sixteen.", conn_options=ONCE) as stream:
        frame = await stream.collect()
    assert frame.duration == pytest.approx(0.08, abs=0.012)


async def test_frames_are_small(server: FakeSpeechServer) -> None:
    for sample_rate in (8000, 16000, 22050, 24000, 44100, 48000):
        async with (
            make(server, sample_rate=sample_rate) as voice,
            voice.synthesize("A text of some length." * 5, conn_options=ONCE) as stream,
        ):
            frames = [event.frame async for event in stream]
        assert max(frame.duration for frame in frames) <= 0.0931
        assert max(len(bytes(frame.data)) for frame in frames) <= 4096


async def test_metrics_name_model_and_server_and_count(server: FakeSpeechServer) -> None:
    collected: list[metrics.TTSMetrics] = []
    async with make(server, stream_format="sse") as voice:
        voice.on("metrics_collected", collected.append)
        await heard(voice.synthesize("Count me in.", conn_options=ONCE))
        await say(voice, "Count me in as well.")
    whole, streamed = collected
    for found in collected:
        assert found.metadata is not None
        assert found.metadata.model_name == "m"
        assert found.metadata.model_provider == server.url.split("/")[2]
        assert found.label == "livekit.plugins.speech_api.tts.TTS"
        assert found.ttfb > 0
        assert found.request_id
        assert (found.input_tokens, found.output_tokens) == (7, 11)
    assert whole.request_id != streamed.request_id
    assert (whole.streamed, streamed.streamed) == (False, True)
    assert whole.characters_count == len("Count me in.")
    assert streamed.audio_duration == pytest.approx(0.2, abs=0.011)


async def test_cancelling_closes_the_request_at_once(server: FakeSpeechServer) -> None:
    server.enqueue(Reply(pause_after=4004), Reply(gate=asyncio.Event()))
    async with make(server, tokenizer=WholePushes()) as voice:
        stream = voice.stream(conn_options=ONCE)
        stream.push_text("This will be interrupted.")
        stream.push_text("This is asked for ahead.")
        await stream.__anext__()
        await server.wait_for(lambda: server.open == 2)
        await stream.aclose()
        await server.wait_for(lambda: server.open == 0)
    assert server.cancelled == 2


async def test_nothing_is_left_after_closing_midway(server: FakeSpeechServer) -> None:
    before = asyncio.all_tasks()
    server.enqueue(Reply(pause_after=100), Reply(pause_after=100))
    voice = make(server)
    streamed, whole = voice.stream(conn_options=ONCE), voice.synthesize("Hi.", conn_options=ONCE)
    streamed.push_text("Never to be finished. Nor this")
    voice.prewarm()
    await server.wait_for(lambda: server.open == 2)
    await voice.aclose()
    await voice.aclose()
    await server.wait_for(lambda: server.open == 0)
    del streamed, whole
    gc.collect()
    left = {
        task
        for task in asyncio.all_tasks() - before
        # the server's own may still be on their way out
        if not task.done()
        and not any(its in repr(task) for its in ("aiohttp", "RequestHandler", "FakeSpeechServer"))
    }
    assert left == set()
    with pytest.raises(APIConnectionError, match="closed"):
        await heard(voice.synthesize("Too late.", conn_options=ONCE))


@pytest.mark.parametrize("text", ["", "   ", "\n", "😀🎉", "--- ...", "👍🏽"])
async def test_text_without_sound_ends_without_an_error_or_a_request(
    server: FakeSpeechServer, text: str
) -> None:
    async with make(server) as voice:
        await heard(voice.synthesize(text, conn_options=ONCE))
        audio = await say(voice, text, conn_options=ONCE)
    # a text of signs alone is a turn that was said; without a text there is none
    assert set(audio) <= ({0} if text.strip() else set())
    assert server.requests == []


async def test_leading_dashes_and_markup_are_passed_on(server: FakeSpeechServer) -> None:
    async with make(server) as voice:
        await heard(voice.synthesize("--help <b>&amp;</b>", conn_options=ONCE))
    assert server.texts == ["--help <b>&amp;</b>"]


@pytest.mark.parametrize("text", ["word " * 2000, "字" * 10_000, "Short ones. " * 834])
async def test_ten_thousand_characters_are_all_spoken(server: FakeSpeechServer, text: str) -> None:
    async with make(server, max_characters=500) as voice:
        await heard(voice.synthesize(text, conn_options=ONCE))
    assert max(map(len, server.texts)) <= 500
    assert "".join("".join(server.texts).split()) == "".join(text.split())


async def test_changed_options_count_from_the_next_stream_on(server: FakeSpeechServer) -> None:
    async with make(server) as voice:
        begun = voice.stream(conn_options=ONCE)
        voice.update_options(model="n", voice="w", speed=2.0)
        assert voice.model == "n"
        begun.push_text("With the old voice.")
        begun.end_input()
        await heard(begun)
        await say(voice, "With the new voice.")
        voice.update_options(speed=None)
        await say(voice, "At the old speed.")
    old, new, slow = (request.body for request in server.requests)
    assert (old["model"], old["voice"], "speed" in old) == ("m", "v", False)
    assert (new["model"], new["voice"], new["speed"]) == ("n", "w", 2.0)
    assert "speed" not in slow


@pytest.mark.parametrize(
    "options",
    [
        {"base_url": "localhost:8000"},
        {"response_format": "mp3"},
        {"stream_format": "raw"},
        {"speed": 9.0},
        {"sample_rate": 100},
        {"model": ""},
        {"requests_ahead": -1},
        {"ref_audio": Path("/no/such/voice.wav")},
    ],
)
def test_arguments_that_make_no_sense_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        speech_api.TTS(**options)


def test_an_address_without_a_path_gets_the_usual_one() -> None:
    assert speech_api.TTS(base_url="http://box:8880").provider == "box:8880"
    assert speech_api.TTS(base_url="http://box:8880/")._base_url == "http://box:8880/v1"
    assert speech_api.TTS(base_url="http://box/tts/v1/")._base_url == "http://box/tts/v1"


def test_a_key_is_not_shown_by_repr() -> None:
    voice = speech_api.TTS(api_key="sk-private", extra_headers={"X-Key": "private"})
    assert "private" not in repr(voice._voice())


@pytest.mark.parametrize(
    ("status", "retryable"), [(400, False), (401, False), (404, False), (429, True), (503, True)]
)
async def test_a_refusal_is_a_status_error_in_the_servers_words(
    server: FakeSpeechServer, status: int, retryable: bool
) -> None:
    server.enqueue(
        Reply(
            status=status,
            content_type="application/json",
            body=b'{"error": {"message": "no such voice: v"}}',
            headers={"X-Request-ID": "their-id"},
        )
    )
    async with make(server) as voice:
        with pytest.raises(APIStatusError, match="no such voice") as caught:
            await heard(voice.synthesize("Hello there.", conn_options=ONCE))
    assert caught.value.status_code == status
    assert caught.value.retryable is retryable
    assert caught.value.request_id == "their-id"
    assert caught.value.body == {"error": {"message": "no such voice: v"}}


@pytest.mark.parametrize(
    ("content_type", "body", "retryable"),
    [
        ("application/json", {"error": {"message": "bad voice", "code": 400}}, False),
        ("application/json", {"error": {"message": "bad voice", "type": "invalid_x"}}, False),
        ("application/json", {"error": {"message": "bad voice: overloaded"}}, True),
        ("application/json", {"detail": [{"msg": "bad voice", "type": "missing"}]}, True),
        ("text/event-stream", {"error": {"message": "bad voice", "code": 404}}, False),
        ("text/event-stream", {"type": "error", "message": "bad voice"}, True),
    ],
)
async def test_an_error_inside_a_success_is_an_error(
    server: FakeSpeechServer, content_type: str, body: dict[str, Any], retryable: bool
) -> None:
    data = json.dumps(body).encode()
    if content_type == "text/event-stream":
        data = b"data: " + data + b"\n\n"
    server.enqueue(Reply(content_type=content_type, body=data))
    async with make(server) as voice:
        with pytest.raises(APIError, match="bad voice") as caught:
            await heard(voice.synthesize("Hello there.", conn_options=ONCE))
    assert caught.value.retryable is retryable


@pytest.mark.parametrize("content_type", ["text/html", "audio/mpeg"])
async def test_an_answer_that_is_not_samples_is_not_played_as_noise(
    server: FakeSpeechServer, content_type: str
) -> None:
    server.enqueue(Reply(content_type=content_type, body=b"<html>It works!</html>" * 50))
    async with make(server) as voice:
        with pytest.raises(APIError, match="where audio was expected") as caught:
            await heard(voice.synthesize("Hello there.", conn_options=ONCE))
    assert caught.value.retryable is False


@pytest.mark.parametrize("pause_after", [0, 2002])
async def test_a_server_that_hangs_is_a_timeout(server: FakeSpeechServer, pause_after: int) -> None:
    server.enqueue(Reply(pause_after=pause_after))
    options = APIConnectOptions(max_retry=0, timeout=0.2)
    async with make(server) as voice:
        with pytest.raises(APITimeoutError) as caught:
            await heard(voice.synthesize("Hello there.", conn_options=options))
        await server.wait_for(lambda: server.open == 0)
    assert caught.value.retryable is True
    assert server.cancelled == 1


async def test_a_server_that_does_not_answer_at_all_is_a_timeout(
    server: FakeSpeechServer,
) -> None:
    server.enqueue(Reply(gate=asyncio.Event()))
    async with make(server) as voice:
        with pytest.raises(APITimeoutError):
            await say(
                voice, "Hello there.", conn_options=APIConnectOptions(max_retry=0, timeout=0.2)
            )


async def test_keeping_the_line_open_without_audio_is_not_life(server: FakeSpeechServer) -> None:
    server.chunk_bytes = 1
    server.enqueue(Reply(content_type="text/event-stream", body=b": wait\n\n", pause_after=8))
    async with make(server) as voice:
        with pytest.raises(APITimeoutError):
            await say(
                voice, "Hello there.", conn_options=APIConnectOptions(max_retry=0, timeout=0.2)
            )


async def test_a_listener_that_is_slow_is_not_the_servers_delay(server: FakeSpeechServer) -> None:
    heard_bytes = 0

    async def listen(samples: bytes) -> None:
        nonlocal heard_bytes
        if not heard_bytes:
            await asyncio.sleep(0.5)
        heard_bytes += len(samples)

    async with make(server) as voice:
        request = voice._voice().request("Take your time.", "id")
        client = voice.http_client()
        await speak(client, request, timeout=0.3, usage=Usage(), on_audio=listen)
    assert heard_bytes == len(speech_for("Take your time."))


async def test_a_dropped_connection_is_a_connection_error(server: FakeSpeechServer) -> None:
    server.enqueue(Reply(abort_after=2002))
    async with make(server) as voice:
        with pytest.raises(APIConnectionError) as caught:
            await heard(voice.synthesize("Hello there.", conn_options=ONCE))
    assert caught.value.retryable is True


async def test_each_attempt_has_a_request_id_of_its_own(server: FakeSpeechServer) -> None:
    server.enqueue(Reply(status=503), Reply(status=503))
    errors: list[tts.TTSError] = []
    async with make(server) as voice:
        voice.on("error", errors.append)
        audio = await say(voice, "Third time lucky.", conn_options=QUICK_RETRY)
    assert audio == speech_for("Third time lucky.")
    assert len({request.headers["X-Request-ID"] for request in server.requests}) == 3
    assert [error.recoverable for error in errors] == [True, True]


async def test_a_later_piece_that_fails_is_asked_for_again(server: FakeSpeechServer) -> None:
    server.enqueue(Reply(), Reply(status=503), Reply())
    async with make(server, tokenizer=WholePushes()) as voice:
        audio = await say(voice, "The first.", "The second.", conn_options=QUICK_RETRY)
    assert audio == speech_for("The first.") + speech_for("The second.")


async def test_a_later_piece_that_cannot_be_had_is_an_error(server: FakeSpeechServer) -> None:
    server.enqueue(Reply(), Reply(status=400))
    async with make(server, tokenizer=WholePushes()) as voice:
        with pytest.raises(APIStatusError):
            await say(voice, "The first.", "The second.", conn_options=QUICK_RETRY)
    assert len(server.requests) == 2


async def test_prewarm_warns_of_a_model_that_the_server_does_not_have(
    server: FakeSpeechServer, caplog: pytest.LogCaptureFixture
) -> None:
    server.models = ["kokoro"]
    async with make(server, model="koroko") as voice:
        voice.prewarm()
        assert voice._check is not None
        await voice._check
        assert "koroko" in caplog.text
        assert "kokoro" in caplog.text
        caplog.clear()
        voice.update_options(model="kokoro")
        voice.prewarm()
        await voice._check
    assert caplog.text == ""


def test_prewarm_before_there_is_a_loop_does_nothing() -> None:
    voice = speech_api.TTS()
    voice.prewarm()
    assert voice._check is None


async def test_a_client_that_was_given_is_used_and_not_closed(server: FakeSpeechServer) -> None:
    async with httpx.AsyncClient(headers={"X-Mine": "1"}) as client:
        voice = make(server, http_client=client)
        await heard(voice.synthesize("Hello there.", conn_options=ONCE))
        await voice.aclose()
        assert not client.is_closed
    assert server.requests[0].headers["X-Mine"] == "1"


async def test_two_streams_speak_at_the_same_time_without_mixing(
    server: FakeSpeechServer,
) -> None:
    async with make(server) as voice:
        one, two = await asyncio.gather(
            say(voice, "This is one room."), say(voice, "This is the other room.")
        )
    assert one == speech_for("This is one room.")
    assert two == speech_for("This is the other room.")
