"""A client of the WebSocket, as someone writes it from the documents alone.

It names no session, sends what a browser's script processor gives it, plays at 24 kHz without
asking, and knows of the subprotocol nothing.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest
from livekit.agents.voice import SpeechHandle
from livekit.agents.voice.agent_activity import _SpeechHandleContextVar
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from agent_worker.gateway.callers import caller_of
from agent_worker.gateway.words import WordsTap
from agent_worker.serving.access import Access

from .fake_voice_stack import FakeStack, ScriptLLM, tone
from .test_gateway import Server, serving

CHUNK = 4096
PLAYED_AT = 24_000


class DocumentsClient:
    """Sends JSON and chunks of PCM16; keeps what comes."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.events: list[dict[str, Any]] = []
        self.playing = b""
        self._news = asyncio.Condition()
        self.listening = asyncio.create_task(self._listen())

    async def _listen(self) -> None:
        try:
            async for data in self.socket:
                async with self._news:
                    if isinstance(data, bytes):
                        self.playing += data
                    else:
                        self.events.append(json.loads(data))
                    self._news.notify_all()
        except ConnectionClosed:
            pass

    async def send(self, message: dict[str, Any]) -> None:
        await self.socket.send(json.dumps(message))

    async def say(self, seconds: float = 0.5, rate: int = 16_000) -> None:
        voice = tone(seconds, rate) + bytes(CHUNK * 2)
        for start in range(0, len(voice), CHUNK * 2):
            await self.socket.send(voice[start : start + CHUNK * 2])
            await asyncio.sleep(CHUNK / rate)

    async def event(self, kind: str, nth: int = 1) -> dict[str, Any]:
        await self.when(lambda: len(self.all(kind)) >= nth)
        return self.all(kind)[nth - 1]

    async def when(self, ready: Callable[[], bool]) -> None:
        async with asyncio.timeout(20), self._news:
            await self._news.wait_for(ready)

    def all(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["type"] == kind]

    def written(self) -> str:
        return "".join(event["token"] for event in self.all("llm_token"))


@asynccontextmanager
async def visiting(server: Server, **options: Any) -> AsyncIterator[DocumentsClient]:
    async with connect(server.url, **options) as socket:
        client = DocumentsClient(socket)
        yield client
    await client.listening


def pitch(pcm: bytes, rate: int) -> float:
    """The loudest tone of a sound that is played at this rate, in Hertz."""
    samples = np.frombuffer(pcm, dtype=np.int16).astype(np.float64)
    spectrum = np.abs(np.fft.rfft(samples))
    return float(np.argmax(spectrum) * rate / len(samples))


async def test_a_session_needs_no_id_and_its_voice_is_right_at_24_khz() -> None:
    async with serving(FakeStack(voice_s=0.5)) as server, visiting(server) as client:
        await client.send({"type": "session_start"})
        assert len((await client.event("session_started"))["session_id"]) >= 16
        await client.say()
        final = await client.event("asr_final")
        assert final["text"] == "hello there" and final["confidence"] == 0.9
        await client.event("response_end")
        assert (await client.event("audio_stream_start"))["sample_rate"] == PLAYED_AT
        assert pitch(client.playing, PLAYED_AT) == pytest.approx(440, abs=10)
        assert client.written().strip() == "Good day."


async def test_each_client_that_names_no_session_gets_one_of_its_own() -> None:
    async with serving() as server, visiting(server) as one, visiting(server) as two:
        ids = set()
        for client, start in ((one, {}), (two, {"session_id": None})):
            await client.send({"type": "session_start", **start})
            ids.add((await client.event("session_started"))["session_id"])
        assert len(ids) == 2


@pytest.mark.parametrize(
    ("start", "options", "rate"),
    [
        # The rate of what it sends, where it has agreed on nothing else.
        ({"audio": {"sample_rate": 16000, "format": "pcm16", "channels": 1}}, {}, 24_000),
        ({"language": "en", "output_sample_rate": 48000}, {}, 48_000),
        ({"audio": {"sample_rate": 16000}}, {"subprotocols": ["s2s.v1"]}, 16_000),
        ({"audio": {}}, {"subprotocols": ["s2s.v1"]}, 24_000),
        (
            {"audio": {"sample_rate": 16000}, "output_sample_rate": 24000},
            {"subprotocols": ["s2s.v1"]},
            24_000,
        ),
    ],
)
async def test_the_voice_has_the_rate_that_the_client_plays(
    start: dict[str, Any], options: dict[str, Any], rate: int
) -> None:
    stack = FakeStack(greeting="Welcome.", voice_s=0.3)
    async with serving(stack) as server, visiting(server, **options) as client:
        await client.send({"type": "session_start", **start})
        await client.event("response_end")
        assert (await client.event("audio_stream_start"))["sample_rate"] == rate
        assert pitch(client.playing, rate) == pytest.approx(440, abs=10)


async def test_a_chunk_of_a_48_khz_microphone_is_heard() -> None:
    async with serving() as server, visiting(server) as client:
        await client.send({"type": "session_start", "audio": {"sample_rate": 48000}})
        await client.event("session_started")
        await client.say(rate=48_000)
        assert (await client.event("asr_final"))["text"] == "hello there"


async def test_a_second_of_sound_is_taken_and_more_is_refused_with_the_limit() -> None:
    async with serving() as server, visiting(server) as client:
        await client.send({"type": "session_start"})
        await client.event("session_started")
        await client.socket.send(tone(1.0))
        await client.event("asr_final")
        await client.socket.send(bytes(32_002))
        assert "32000" in (await client.event("error"))["message"]


@pytest.mark.parametrize("name", ["interrupt", "tts_interrupt"])
async def test_the_agent_is_interrupted_by_either_name(name: str) -> None:
    stack = FakeStack(greeting="A long story.", voice_s=20.0)
    async with serving(stack) as server, visiting(server) as client:
        await client.send({"type": "session_start"})
        await client.when(lambda: len(client.playing) > 0)
        await client.send({"type": name})
        assert (await client.event("response_end"))["interrupted"] is True


async def test_words_are_told_when_they_are_written_and_told_apart_from_those_spoken() -> None:
    answer = "One two three four five six seven eight nine ten."
    stack = FakeStack(answer=answer, voice_s=20.0)
    async with serving(stack) as server, visiting(server) as client:
        await client.send({"type": "session_start"})
        await client.event("session_started")
        model = stack.calls[0].session.llm
        assert isinstance(model, ScriptLLM)
        model.words_due = asyncio.Semaphore(0)
        await client.say()
        model.words_due.release()
        first = await client.event("llm_token")
        # The model has not written the next word yet, and nothing can be spoken without it.
        assert (first["token"].strip(), first["is_first"]) == ("One", True)
        assert not client.playing and not client.all("audio_stream_start")
        for _ in answer.split():
            model.words_due.release()
        await client.event("spoken")
        await client.event("llm_token", nth=10)
        assert client.written().split() == answer.split()
        await client.send({"type": "interrupt"})
        await client.event("response_end")
        spoken = "".join(event["text"] for event in client.all("spoken"))
        # Twenty seconds of voice were cut off at their beginning.
        assert spoken and answer.startswith(spoken.strip()) and len(spoken) < len(answer) / 2


async def test_what_no_model_wrote_is_told_too() -> None:
    stack = FakeStack(greeting="Welcome to the show.", voice_s=0.3)
    async with serving(stack) as server, visiting(server) as client:
        await client.send({"type": "session_start"})
        await client.event("response_end")
        assert client.written().strip() == "Welcome to the show."
        spoken = "".join(event["text"] for event in client.all("spoken"))
        assert spoken.strip() == "Welcome to the show."


async def test_a_speculation_that_is_thrown_away_is_never_told() -> None:
    told: list[str] = []
    tap = WordsTap(told.append)
    for stands in (False, True):
        speech = SpeechHandle.create()
        token = _SpeechHandleContextVar.set(speech)
        try:
            written = tap.begins()
            written("never ")
            written("mind")
        finally:
            _SpeechHandleContextVar.reset(token)
        tap.release()
        assert told == []
        if stands:
            speech._mark_scheduled()
            tap.release()
    assert told == ["never ", "mind"]


async def lose(client: DocumentsClient) -> None:
    client.socket.transport.abort()
    await client.listening


async def take_up(client: DocumentsClient, last_seq: int) -> dict[str, Any]:
    """Asks until the server has noticed that the old line is gone."""
    async with asyncio.timeout(20):
        while not client.all("session_started"):
            await client.send({"type": "session_resume", "last_seq": last_seq})
            await asyncio.sleep(0.1)
    return await client.event("session_started")


@pytest.mark.parametrize("by", ["address", "key", "browser"])
async def test_a_lost_session_is_taken_up_without_its_id(by: str) -> None:
    access = Access(bearer_token="open sesame") if by == "key" else Access()
    async with serving(FakeStack(greeting="Welcome."), access=access) as server:
        headers = {}
        if by == "key":
            headers = {"Authorization": "Bearer open sesame"}
        elif by == "browser":
            headers = {"Origin": server.url.replace("ws:", "http:").removesuffix("/ws/s2s")}
        async with connect(server.url, additional_headers=headers) as socket:
            client = DocumentsClient(socket)
            await client.send({"type": "session_start"})
            started = await client.event("session_started")
            await client.event("response_end")
            if by == "browser":
                assert socket.response is not None
                cookie = socket.response.headers["Set-Cookie"].split(";")
                assert {" HttpOnly", " SameSite=Strict"} <= set(cookie)
                headers["Cookie"] = f"theme=dark; {cookie[0]}"
            await lose(client)
        last_seq = client.all("tts_audio")[-1]["seq"]
        async with visiting(server, additional_headers=headers) as again:
            resumed = await take_up(again, last_seq)
            assert resumed["resumed"] is True
            assert resumed["session_id"] == started["session_id"]
            await again.say()
            await again.event("response_end")
            assert again.all("tts_audio")[0]["seq"] == resumed["last_seq"] + 1
        assert len(server.stack.calls) == 1


@pytest.mark.parametrize("stranger", ["another browser", "behind a proxy", "never spoke so far"])
async def test_nobody_else_gets_a_session_whose_id_they_do_not_know(stranger: str) -> None:
    async with serving() as server:
        origin = server.url.replace("ws:", "http:").removesuffix("/ws/s2s")
        mine: dict[str, str] = {}
        theirs: dict[str, str] = {}
        if stranger == "another browser":
            mine = theirs = {"Origin": origin}
        elif stranger == "behind a proxy":
            mine = theirs = {"X-Forwarded-For": "192.0.2.1"}
        async with connect(server.url, additional_headers=mine) as socket:
            client = DocumentsClient(socket)
            await client.send({"type": "session_start"})
            await client.event("session_started")
            await lose(client)
        async with visiting(server, additional_headers=theirs) as other:
            last_seq = 7 if stranger == "never spoke so far" else -1
            await other.send({"type": "session_resume", "last_seq": last_seq})
            refusal = await other.event("error")
            assert refusal["code"] == "unknown_session" and "session_id" in refusal["message"]


async def test_of_two_lost_sessions_of_one_caller_none_is_guessed() -> None:
    async with serving() as server:
        for _ in range(2):
            async with connect(server.url) as socket:
                client = DocumentsClient(socket)
                await client.send({"type": "session_start"})
                await client.event("session_started")
                await lose(client)
        async with visiting(server) as again:
            await again.send({"type": "session_resume", "last_seq": -1})
            assert (await again.event("error"))["code"] == "unknown_session"


def test_a_browser_brings_its_cookie_to_another_site_over_an_encrypted_line_only() -> None:
    headers = {"host": "agent.example", "origin": "https://app.example"}
    for secure, rule in ((True, "SameSite=None; Secure"), (False, "SameSite=Strict")):
        caller = caller_of(headers, user=None, peer="192.0.2.1", secure=secure)
        assert str(caller.set_cookie).endswith(rule)
    near = {"host": "localhost:8088", "origin": "http://localhost:3000"}
    caller = caller_of(near, user=None, peer="127.0.0.1", secure=False)
    assert str(caller.set_cookie).endswith("SameSite=Strict")
    signed_in = caller_of(near, user="ann", peer="127.0.0.1", secure=False)
    assert signed_in.key == ("user", "ann") and signed_in.set_cookie is None


async def test_a_reset_begins_a_conversation_that_knows_nothing() -> None:
    stack = FakeStack(words="my name is Alice", voice_s=20.0)
    async with serving(stack, max_sessions=1) as server, visiting(server) as client:
        await client.send({"type": "session_start"})
        started = await client.event("session_started")
        await client.say()
        await client.when(lambda: len(client.playing) > 0)
        await client.send({"type": "reset"})
        reset = await client.event("session_reset")
        assert reset["session_id"] == started["session_id"]
        kinds = [event["type"] for event in client.events]
        # What was being said has ended for the client before.
        assert kinds.index("response_end") < kinds.index("session_reset")
        async with asyncio.timeout(20):
            while not stack.calls[0].closed:
                await asyncio.sleep(0.01)
        before = client.all("tts_audio")[-1]["seq"]
        await client.say()
        await client.when(lambda: client.all("tts_audio")[-1]["seq"] > before)
        seqs = [event["seq"] for event in client.all("tts_audio")]
        assert seqs == list(range(len(seqs)))
        first, second = (call.session.llm for call in stack.calls)
        assert isinstance(first, ScriptLLM) and isinstance(second, ScriptLLM)
        assert "my name is Alice" in first.asked[-1]
        assert [text for text in second.asked[-1] if "Alice" in text] == ["my name is Alice"]
        assert server.gateway.sessions == 1
        await client.send({"type": "interrupt"})


async def test_resets_in_a_row_leave_one_conversation() -> None:
    stack = FakeStack()
    async with serving(stack) as server, visiting(server) as client:
        await client.send({"type": "session_start"})
        for _ in range(5):
            await client.send({"type": "reset"})
        await client.event("session_reset", nth=5)
        # Closing may take its time; the next but one does not begin before it is done.
        assert sum(call.closed > 0 for call in stack.calls) >= 4
        assert server.gateway.sessions == 1
        await client.say()
        await client.event("response_end")


async def test_a_reset_that_is_not_to_be_had_leaves_the_conversation_as_it_was() -> None:
    stack = FakeStack()
    async with serving(stack) as server, visiting(server) as client:
        await client.send({"type": "session_start"})
        await client.event("session_started")
        stack.fail = ValueError("languages: en")
        await client.send({"type": "reset"})
        assert (await client.event("error"))["message"] == "languages: en"
        await client.say()
        await client.event("response_end")


@pytest.mark.parametrize(
    ("message", "named"),
    [
        ({"type": "tts_pause"}, "tts_pause"),
        ({"type": "session_start", "audio": {"format": "flac"}}, "flac"),
        ({"type": "session_start", "audio": {"sample_rate": 11025}}, "11025"),
        ({"type": "session_start", "output_sample_rate": 22050}, "22050"),
        ({"type": "session_start", "session_id": ""}, "session_id"),
        ({"type": "session_resume"}, "last_seq"),
    ],
)
async def test_a_message_that_is_not_understood_is_refused_by_name(
    message: dict[str, Any], named: str
) -> None:
    async with serving() as server, visiting(server) as client:
        await client.send(message)
        assert named in (await client.event("error"))["message"]
