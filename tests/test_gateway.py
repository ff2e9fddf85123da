"""The WebSocket gateway over real sockets, in front of an AgentSession without models."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import httpx
import numpy as np
import pytest
import uvicorn
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from agent_worker.gateway import Gateway, GatewayConfig
from agent_worker.gateway.client_outlet import ClientOutlet
from agent_worker.gateway.opus import OpusDecoder, OpusEncoder
from agent_worker.gateway.protocol import MAX_ERRORS, SUBPROTOCOL
from agent_worker.serving.access import Access, AccessDeniedError, RateLimit
from agent_worker.serving.connections import server_config
from agent_worker.web import WebConfig, create_app

from .fake_voice_stack import FakeStack, ScriptLLM, tone

WEB = WebConfig(livekit_url="ws://127.0.0.1:7880", api_key="devkey", api_secret="x" * 32)
FRAME = 640


class Server:
    def __init__(self, stack: FakeStack, gateway: Gateway, port: int) -> None:
        self.stack = stack
        self.gateway = gateway
        self.url = f"ws://127.0.0.1:{port}/ws/s2s"


@asynccontextmanager
async def serving(stack: FakeStack | None = None, **changes: Any) -> AsyncIterator[Server]:
    stack = stack or FakeStack()
    changes.setdefault("limit", RateLimit(burst=1000))
    gateway = Gateway(stack.build_call, replace(GatewayConfig(), **changes))
    app = create_app(WEB, gateway=gateway)
    server = uvicorn.Server(server_config(app, port=0, log_level="error"))
    before = asyncio.all_tasks()
    serve = asyncio.create_task(server.serve())
    try:
        async with asyncio.timeout(10):
            while not server.started:
                await asyncio.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield Server(stack, gateway, port)
    finally:
        server.should_exit = True
        await asyncio.wait_for(serve, 20)
    left = {task for task in asyncio.all_tasks() - before if not task.done()}
    assert not left, left


class Client:
    """A thin client: sends frames in time, and keeps what comes."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.messages: list[dict[str, Any]] = []
        self.audio: list[bytes] = []
        self._changed = asyncio.Condition()
        self.reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        try:
            async for message in self.socket:
                async with self._changed:
                    if isinstance(message, bytes):
                        self.audio.append(message)
                    else:
                        self.messages.append(json.loads(message))
                    self._changed.notify_all()
        except ConnectionClosed:
            pass

    async def send(self, kind: str, **fields: Any) -> None:
        await self.socket.send(json.dumps({"type": kind, **fields}))

    async def start(self, session_id: str = "session-one", **fields: Any) -> None:
        await self.send("session_start", session_id=session_id, **fields)
        await self.until("session_started")

    async def speak(self, seconds: float = 0.3) -> None:
        pcm = tone(seconds)
        for at in range(0, len(pcm), FRAME):
            await self.socket.send(pcm[at : at + FRAME])
            await asyncio.sleep(0.02)

    async def until(self, kind: str, *, count: int = 1) -> dict[str, Any]:
        def found() -> list[dict[str, Any]]:
            return [m for m in self.messages if m["type"] == kind]

        messages: list[dict[str, Any]] = await self.when(lambda: len(found()) >= count, found)
        return messages[count - 1]

    async def when(self, ready: Callable[[], bool], found: Callable[[], Any]) -> Any:
        async with asyncio.timeout(20), self._changed:
            await self._changed.wait_for(ready)
        return found()

    def kinds(self) -> list[str]:
        return [message["type"] for message in self.messages]


@asynccontextmanager
async def client(server: Server, **options: Any) -> AsyncIterator[Client]:
    async with connect(server.url, **options) as socket:
        one = Client(socket)
        yield one
    await one.reader


async def test_what_a_caller_writes_interrupts_and_is_answered() -> None:
    async with serving(FakeStack(voice_s=3.0)) as server, client(server) as caller:
        await caller.start()
        await caller.send("text", text="good morning")
        await caller.until("audio_stream_start")
        await caller.send("text", text="no, wait")
        assert (await caller.until("response_end"))["interrupted"]
        await caller.until("audio_stream_start", count=2)
        asked = server.stack.calls[0].session.llm.asked  # type: ignore[union-attr]
        assert asked[0][-1] == "good morning" and asked[-1][-1] == "no, wait"
        assert "asr_final" not in caller.kinds()


async def test_who_writes_too_much_at_once_is_told_and_the_session_goes_on() -> None:
    async with serving() as server, client(server) as caller:
        await caller.start()
        for number in range(8):
            await caller.send("text", text=f"message {number}")
        refusal = await caller.until("error")
        assert refusal["code"] == "too_fast" and refusal["recoverable"]
        await caller.until("llm_token")


async def test_the_client_is_told_of_engines_latency_and_who_speaks_and_again_after_a_break() -> (
    None
):
    outlet = ClientOutlet()
    await outlet.set_attributes({"agent.engines": "[]"})
    async with serving(FakeStack(outlet=outlet)) as server:
        async with client(server) as caller:
            await caller.start()
            told = await caller.until("attributes")
            assert told["attributes"] == {"agent.engines": "[]"}
            await outlet.send("agent.latency", '{"turn": 1}')
            await outlet.send("agent.speaker", '{"name": "Mira", "at": 0}')
            await outlet.send("agent.other", "{}")
            await outlet.set_attributes({"agent.hearing": "lost"})
            assert (await caller.until("latency"))["record"] == {"turn": 1}
            assert (await caller.until("speaker"))["name"] == "Mira"
            await caller.until("attributes", count=2)
            await caller.socket.close(1001)
        async with client(server) as caller:
            await caller.send("session_resume", session_id="session-one", last_seq=-1)
            told = await caller.until("attributes")
            assert told["attributes"] == {"agent.engines": "[]", "agent.hearing": "lost"}


async def test_a_turn_goes_through_hearing_thinking_and_speaking_in_order() -> None:
    async with serving() as server, client(server) as caller:
        await caller.start(
            lang="en", audio={"sample_rate": 16000, "format": "pcm16", "channels": 1}
        )
        await caller.speak()
        await caller.until("response_end")
        kinds = caller.kinds()
        first = {kind: kinds.index(kind) for kind in set(kinds)}
        order = ["session_started", "asr_partial", "asr_final", "llm_token", "audio_stream_start"]
        order += ["tts_audio", "spoken", "audio_stream_stop", "response_end"]
        assert sorted(first, key=first.__getitem__) == order
        assert (await caller.until("asr_final"))["text"] == "hello there"
        assert (await caller.until("asr_partial"))["confidence"] == 0.9
        tokens = [m for m in caller.messages if m["type"] == "llm_token"]
        assert "".join(t["token"] for t in tokens).strip() == "Good day."
        assert [t["is_first"] for t in tokens] == [True] + [False] * (len(tokens) - 1)
        heard = np.frombuffer(b"".join(caller.audio), dtype=np.int16)
        assert 0.2 <= len(heard) / 24_000 < 0.3 and np.abs(heard).max() > 8000
        seqs = [m["seq"] for m in caller.messages if m["type"] == "tts_audio"]
        assert seqs == list(range(len(caller.audio)))
        assert {len(frame) for frame in caller.audio} == {24_000 * 2 // 50}
        assert server.stack.languages == ["en"]


async def test_the_greeting_is_not_missed() -> None:
    async with serving(FakeStack(greeting="Welcome.")) as server, client(server) as caller:
        await caller.start()
        await caller.until("response_end")
        assert caller.kinds()[0] == "session_started"
        assert caller.audio


async def test_an_interruption_stops_the_voice_at_once_and_says_so() -> None:
    async with serving(FakeStack(voice_s=20.0)) as server, client(server) as caller:
        await caller.start()
        await caller.speak()
        await caller.until("tts_audio", count=5)
        await caller.send("interrupt")
        assert (await caller.until("audio_stream_stop"))["interrupted"] is True
        assert (await caller.until("response_end"))["interrupted"] is True
        frames = len(caller.audio)
        assert frames < 10 / 0.02
        server.stack.calls[0].session.llm.answer = "Yes."  # type: ignore[union-attr]
        await caller.speak()
        await caller.until("audio_stream_start", count=2)
        assert caller.messages[-1]["type"] in ("audio_stream_start", "tts_audio")


async def test_the_voice_is_sent_only_a_little_ahead_of_its_playout() -> None:
    async with serving(FakeStack(voice_s=20.0)) as server, client(server) as caller:
        await caller.start()
        await caller.speak()
        await caller.until("tts_audio")
        started = asyncio.get_running_loop().time()
        await caller.until("tts_audio", count=40)
        # 800 ms of voice, of which at most 300 ms may be ahead: a slow machine only takes longer.
        assert asyncio.get_running_loop().time() - started >= 0.45


async def test_a_lost_connection_is_taken_up_without_old_sound() -> None:
    async with serving(FakeStack(voice_s=20.0)) as server:
        async with connect(server.url) as socket:
            caller = Client(socket)
            await caller.start()
            await caller.speak()
            await caller.until("tts_audio", count=5)
            # What the client sent just before the line broke must not be heard after it.
            socket.transport.abort()
            await caller.reader
        last = max(m["seq"] for m in caller.messages if m["type"] == "tts_audio")
        server.stack.calls[0].session.llm.answer = "Yes."  # type: ignore[union-attr]
        async with client(server) as again:
            # Until the server has noticed, the session is in use: the client asks again.
            async with asyncio.timeout(10):
                while "session_started" not in again.kinds():
                    await again.send("session_resume", session_id="session-one", last_seq=last)
                    await asyncio.sleep(0.1)
            started = await again.until("session_started")
            assert started["resumed"] is True and started["last_seq"] >= last
            assert not again.audio
            await again.speak()
            await again.until("tts_audio")
            first = next(m["seq"] for m in again.messages if m["type"] == "tts_audio")
            assert first > started["last_seq"]
        assert len(server.stack.calls) == 1


async def test_a_recogniser_that_knows_no_confidence_claims_none() -> None:
    async with serving(FakeStack(confidence=0.0)) as server, client(server) as caller:
        await caller.start()
        await caller.speak()
        assert (await caller.until("asr_partial"))["confidence"] is None


async def resume(caller: Client, *, last_seq: int = -1) -> dict[str, Any]:
    # Until the server has noticed the loss, the session is in use: the client asks again.
    async with asyncio.timeout(10):
        while "session_started" not in caller.kinds():
            await caller.send("session_resume", session_id="session-one", last_seq=last_seq)
            await asyncio.sleep(0.1)
    return await caller.until("session_started")


async def test_an_answer_to_what_was_said_before_a_break_is_not_heard_after_it() -> None:
    async with serving(FakeStack(think_s=0.5, voice_s=20.0)) as server:
        async with connect(server.url) as socket:
            caller = Client(socket)
            await caller.start()
            await caller.speak()
            await caller.until("asr_final")
            socket.transport.abort()
            await caller.reader
        async with client(server) as again:
            await resume(again)
            model = server.stack.calls[0].session.llm
            model.think_s, model.answer = 0.0, "New words."  # type: ignore[union-attr]
            await again.speak()
            await again.until("tts_audio")
            kinds = [kind for kind in again.kinds() if kind not in ("error", "asr_partial")]
            order = ["session_started", "asr_final", "llm_token"]
            assert kinds[:3] == order and "audio_stream_start" in kinds
            tokens = [m for m in again.messages if m["type"] == "llm_token"]
            assert tokens[0] == {"type": "llm_token", "token": "New ", "is_first": True}


async def test_the_agent_does_not_talk_to_nobody() -> None:
    async with serving(FakeStack(voice_s=20.0)) as server:
        async with connect(server.url) as socket:
            caller = Client(socket)
            await caller.start()
            session = server.stack.calls[0].session
            states: asyncio.Queue[str] = asyncio.Queue()
            session.on("agent_state_changed", lambda event: states.put_nowait(event.new_state))
            # The words are complete in the silence after them, when the line is broken already.
            await caller.speak()
            socket.transport.abort()
            await caller.reader
        async with asyncio.timeout(10):
            while await states.get() != "thinking":
                pass
            while await states.get() != "listening":
                pass
        assert [m.text_content for m in session.history.messages() if m.role == "assistant"] == []


async def test_an_answer_that_began_before_a_break_does_not_go_on_after_it() -> None:
    async with serving(FakeStack(voice_s=20.0)) as server:
        async with connect(server.url) as socket:
            caller = Client(socket)
            await caller.start()
            await caller.speak()
            await caller.until("tts_audio", count=3)
            socket.transport.abort()
            await caller.reader
        async with client(server) as again:
            started = await resume(again)
            await again.speak()
            first = await again.until("tts_audio")
            kinds = again.kinds()
            assert "audio_stream_stop" not in kinds[: kinds.index("audio_stream_start")]
            assert kinds.index("audio_stream_start") < kinds.index("tts_audio")
            assert first["seq"] == started["last_seq"] + 1


async def test_a_client_may_come_back_before_its_old_connection_has_broken() -> None:
    async with serving(stale_s=0.3) as server, connect(server.url) as socket:
        lost = Client(socket)
        await lost.start()
        # As if the network were gone: nothing of what it is sent is answered.
        socket.transport.pause_reading()
        async with client(server) as again:
            await resume(again)
            socket.transport.resume_reading()
            assert (await lost.until("error"))["code"] == "session_moved"
            await asyncio.wait_for(lost.reader, 10)
            assert socket.close_code == 1000
            # The end of the old connection is not the end of the session.
            await again.speak()
            await again.until("response_end")
        assert len(server.stack.calls) == 1


async def test_a_client_that_is_there_keeps_its_session_however_quiet_it_is() -> None:
    async with serving(stale_s=0.0) as server, client(server) as quiet, client(server) as other:
        await quiet.start()
        await other.send("session_resume", session_id="session-one", last_seq=-1)
        assert (await other.until("error"))["code"] == "session_in_use"
        await quiet.speak()
        await quiet.until("response_end")


async def test_half_a_character_is_refused_like_any_other_nonsense() -> None:
    async with serving() as server, client(server) as caller:
        await caller.socket.send('{"type": "\\ud800"}')
        assert (await caller.until("error"))["code"] == "bad_message"
        await caller.start()


async def test_a_model_that_writes_half_a_character_does_not_bring_the_line_down() -> None:
    async with serving(FakeStack(answer="Good \ud83d day.")) as server, client(server) as caller:
        await caller.start()
        await caller.speak()
        await caller.until("response_end")
        tokens = [m["token"] for m in caller.messages if m["type"] == "llm_token"]
        assert "".join(tokens).split() == ["Good", "?", "day."]


@pytest.mark.parametrize("host", [None, "", "127.0.0.1"])
def test_a_page_without_an_origin_is_no_page_of_ours(host: str | None) -> None:
    with pytest.raises(AccessDeniedError):
        Access().check_origin("null", host)


async def test_a_session_that_nobody_takes_up_again_ends() -> None:
    async with serving(FakeStack(return_within_s=0.1)) as server:
        async with connect(server.url) as socket:
            caller = Client(socket)
            await caller.start()
            socket.transport.abort()
            await caller.reader
        async with asyncio.timeout(10):
            while server.gateway.sessions:
                await asyncio.sleep(0.01)
        assert server.stack.calls[0].closed
        async with client(server) as late:
            await late.send("session_resume", session_id="session-one", last_seq=-1)
            assert (await late.until("error"))["code"] == "unknown_session"


async def test_closing_on_purpose_ends_the_session() -> None:
    async with serving() as server:
        async with client(server) as caller:
            await caller.start()
        async with asyncio.timeout(10):
            while server.gateway.sessions:
                await asyncio.sleep(0.01)
        assert server.stack.calls[0].closed


async def test_silence_on_both_sides_ends_the_session() -> None:
    async with serving(FakeStack(silence_s=0.3)) as server, client(server) as caller:
        await caller.start()
        last = await caller.until("error")
        assert last["code"] == "session_timeout" and last["recoverable"] is False
        await asyncio.wait_for(caller.reader, 10)
        assert caller.socket.close_code == 1000


async def test_the_goodbye_is_heard_before_silence_ends_the_session() -> None:
    stack = FakeStack(silence_s=0.5, goodbye="Goodbye then.", voice_s=0.4)
    async with serving(stack) as server, client(server) as caller:
        await caller.start()
        last = await caller.until("error")
        assert last["code"] == "session_timeout"
        kinds = caller.kinds()
        assert kinds.index("audio_stream_start") < kinds.index("audio_stream_stop")
        assert kinds[-1] == "error" and kinds.count("audio_stream_start") == 1
        spoken = "".join(m["text"] for m in caller.messages if m["type"] == "spoken")
        assert spoken.split() == ["Goodbye", "then."]
        assert len(b"".join(caller.audio)) >= 2 * 0.4 * 24_000
        await asyncio.wait_for(caller.reader, 10)
        assert caller.socket.close_code == 1000


async def test_who_writes_during_the_goodbye_keeps_the_session() -> None:
    stack = FakeStack(silence_s=0.5, goodbye="Goodbye then.", voice_s=1.5)
    async with serving(stack) as server, client(server) as caller:
        await caller.start()
        await caller.until("audio_stream_start")
        await caller.send("text", text="wait")
        await caller.until("audio_stream_start", count=2)
        model = stack.calls[0].session.llm
        assert isinstance(model, ScriptLLM) and model.asked[0][-1] == "wait"
        assert "error" not in caller.kinds()
        assert not stack.calls[0].lifetime.over


async def test_a_call_waits_for_its_client_for_as_long_as_the_setting_says() -> None:
    stack = FakeStack(return_within_s=1.5)
    async with serving(stack) as server:
        for comes_back_after_s, expected in ((0.3, "session_started"), (2.5, "error")):
            async with connect(server.url) as socket:
                caller = Client(socket)
                if not stack.calls:
                    await caller.start()
                else:
                    await caller.send("session_resume", session_id="session-one", last_seq=-1)
                    await caller.until("session_started")
                socket.transport.abort()
                await caller.reader
            await asyncio.sleep(comes_back_after_s)
            async with connect(server.url) as socket:
                late = Client(socket)
                await late.send("session_resume", session_id="session-one", last_seq=-1)
                answer = await late.until(expected)
                socket.transport.abort()
                await late.reader
            if expected == "error":
                assert answer["code"] == "unknown_session" and stack.calls[0].closed
            else:
                assert answer["resumed"] is True and not stack.calls[0].closed


async def test_two_callers_hear_only_their_own_answers() -> None:
    async with serving() as server, client(server) as one, client(server) as two:
        await one.start("one")
        await two.start("two")
        await one.speak()
        await one.until("response_end")
        assert two.kinds() == ["session_started"] and not two.audio


async def test_an_id_in_use_opens_no_second_session_and_can_not_be_taken_over() -> None:
    async with serving() as server, client(server) as one, client(server) as two:
        await one.start("same")
        await two.send("session_start", session_id="same")
        assert (await two.until("error"))["code"] == "session_exists"
        await two.send("session_resume", session_id="same", last_seq=-1)
        assert (await two.until("error", count=2))["code"] == "session_in_use"


async def test_sessions_beyond_the_limit_are_told_to_wait() -> None:
    async with serving(max_sessions=1) as server, client(server) as one, client(server) as two:
        await one.start("one")
        await two.send("session_start", session_id="two")
        refusal = await two.until("error")
        assert refusal["code"] == "busy" and refusal["recoverable"] is True


async def test_opus_is_spoken_both_ways_when_asked_for() -> None:
    encoder, decoder = OpusEncoder(), OpusDecoder()
    async with serving() as server, client(server) as caller:
        await caller.start(audio={"sample_rate": 16000, "format": "opus", "channels": 1})
        pcm = tone(0.4)
        for at in range(0, len(pcm), FRAME):
            for packet in encoder.encode(pcm[at : at + FRAME]):
                await caller.socket.send(packet)
            await asyncio.sleep(0.02)
        await caller.until("response_end")
        assert max(len(packet) for packet in caller.audio) < FRAME / 2
        heard = np.frombuffer(b"".join(map(decoder.decode, caller.audio)), dtype=np.int16)
        assert np.abs(heard).max() > 6000
        await caller.socket.send(b"\xff\xff\xff")
        assert (await caller.until("error"))["code"] == "bad_audio"


async def test_a_connection_without_a_session_is_closed() -> None:
    async with serving(start_timeout_s=0.1) as server, client(server) as caller:
        assert (await caller.until("error"))["code"] == "start_timeout"
        await asyncio.wait_for(caller.reader, 10)
        assert caller.socket.close_code == 1008


async def test_a_session_that_can_not_start_says_so_and_leaves_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with serving(FakeStack(fail=RuntimeError("no model"))) as server:
        async with client(server) as caller:
            await caller.send("session_start", session_id="x")
            assert (await caller.until("error"))["code"] == "start_failed"
            await asyncio.wait_for(caller.reader, 10)
        assert server.gateway.sessions == 0


async def test_a_language_that_is_not_served_is_named() -> None:
    stack = FakeStack(fail=ValueError("languages: en"))
    async with serving(stack) as server, client(server) as caller:
        await caller.send("session_start", session_id="x", lang="xx")
        refusal = await caller.until("error")
        assert (refusal["code"], refusal["message"]) == ("unsupported_lang", "languages: en")


async def test_the_key_comes_as_a_header_or_from_browsers_as_a_subprotocol() -> None:
    async with serving(access=Access(bearer_token="open sesame")) as server:
        with pytest.raises(InvalidStatus) as refusal:
            await connect(server.url)
        assert refusal.value.response.status_code == 401
        async with client(server, additional_headers={"Authorization": "Bearer open sesame"}) as c:
            await c.start("one")
        key = base64.urlsafe_b64encode(b"open sesame").decode().rstrip("=")
        async with client(server, subprotocols=[SUBPROTOCOL, f"bearer.{key}"]) as c:
            assert c.socket.subprotocol == SUBPROTOCOL
            await c.start("two")


@pytest.mark.parametrize(
    "headers", [{"Origin": "https://evil.example"}, {"Host": "evil.example:80"}]
)
async def test_another_sites_page_can_not_connect(headers: dict[str, str]) -> None:
    async with serving() as server:
        async with httpx.AsyncClient() as browser:
            upgrade = {
                "Connection": "Upgrade",
                "Upgrade": "websocket",
                "Sec-WebSocket-Version": "13",
                "Sec-WebSocket-Key": base64.b64encode(b"0" * 16).decode(),
            }
            url = server.url.replace("ws:", "http:")
            answer = await browser.get(url, headers={**upgrade, **headers})
        assert answer.status_code in (403, 421)


async def test_connections_beyond_the_rate_wait() -> None:
    async with serving(limit=RateLimit(burst=1, per_minute=1)) as server:
        async with client(server) as caller:
            await caller.start()
        with pytest.raises(InvalidStatus) as refusal:
            await connect(server.url)
        assert refusal.value.response.status_code == 429


async def test_a_client_that_sends_only_rubbish_is_let_go() -> None:
    async with serving() as server, client(server) as caller:
        try:
            for _ in range(MAX_ERRORS + 10):
                await caller.socket.send("{")
        except ConnectionClosed:
            pass
        await asyncio.wait_for(caller.reader, 10)
        assert caller.kinds().count("error") == MAX_ERRORS
        assert caller.messages[-1]["recoverable"] is False
        assert caller.socket.close_code == 1008


async def test_stopping_the_server_ends_every_session() -> None:
    async with serving() as server:
        async with connect(server.url) as socket:
            caller = Client(socket)
            await caller.start()
            await server.gateway.aclose()
            await asyncio.wait_for(caller.reader, 10)
        assert server.gateway.sessions == 0
        assert server.stack.calls[0].closed
