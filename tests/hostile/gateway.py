"""Hostile messages to `/ws/s2s`, and hostile requests for tokens."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from agent_worker.commands.serve_web import serve_app
from agent_worker.gateway import Gateway, GatewayConfig
from agent_worker.serving.access import RateLimit
from agent_worker.web import WebConfig, create_app
from tests.fake_voice_stack import FakeStack, tone

from . import wire
from .report import Beside, Report

START = {"type": "session_start", "session_id": "hostile"}
VOICE_S = 0.1


def hostile_text(rng: random.Random) -> str | bytes:
    """One message that no honest client sends."""
    noise = rng.randbytes(rng.randrange(1, 2000))
    choices: list[str | bytes] = [
        noise,
        noise.decode("latin-1"),
        "{" * rng.randrange(1, 5000),
        json.dumps({"type": noise.hex()[:20]}),
        '{"type": "\\ud800"}',
        json.dumps({**START, "audio": {"sample_rate": rng.randrange(-(2**40), 2**40)}}),
        json.dumps({**START, "session_id": f"h{noise.hex()[:8]}", "audio": {"channels": 2}}),
        json.dumps({**START, "session_id": "a b"}),
        json.dumps({**START, "session_id": "../" * 2000}),
        json.dumps({**START, "lang": noise.hex()}),
        json.dumps({**START, "audio": None}),
        json.dumps({"type": "audio_chunk", "seq": rng.choice([-1, 2**70, 0.5, None, "1"])}),
        '{"type": "audio_chunk", "seq": 1, "timestamp_ms": NaN}',
        '{"type": "audio_chunk", "seq": ' + "9" * 6000 + "}",
        '{"type": "asr_final", "text": NaN}',
        json.dumps({"type": "session_resume", "session_id": "beside", "last_seq": -1}),
        json.dumps({"type": "session_resume", "session_id": "nobody", "last_seq": 3}),
        json.dumps({"type": "session_resume", "last_seq": 2**40}),
        json.dumps({**START, "output_sample_rate": rng.choice([0, -1, 2**40, 0.5, "24000"])}),
        json.dumps({"type": "reset"}),
        json.dumps({"type": "audio_end"}),
        json.dumps({"type": "interrupt"}),
        json.dumps([START]),
        bytes(rng.choice([0, 1, 2, 3, 641, 33_000])),
    ]
    return rng.choice(choices)


def hostile_body(rng: random.Random) -> bytes:
    """One request body for the token endpoint."""
    text = hostile_text(rng)
    body = text if isinstance(text, bytes) else text.encode()
    if not body.strip():
        body = b"{"  # an empty body is an honest request
    fields = rng.choice(
        [
            {"room_name": "x" * rng.randrange(65, 3000)},
            {"room_name": {"$ne": None}},
            {"room_name": "\ud800"},
            {"participant_identity": "a\u0000b"},
            {"participant_attributes": {"lk.agent.state": "idle"}},
            {"room_config": {"agents": [{"agent_name": "other"}]}},
            {"video": {"roomAdmin": True}},
        ]
    )
    return rng.choice([body, json.dumps(fields).encode(), b"[" * 9000, b'{"room_name": NaN}'])


async def attack_socket(url: str, rng: random.Random, count: int, report: Report) -> None:
    """Sends messages over as many connections as it takes; each is refused in words."""
    while count > 0:
        try:
            async with connect(url) as socket:
                if rng.random() < 0.5:
                    own = {**START, "session_id": f"hostile-{rng.getrandbits(64):x}"}
                    await socket.send(json.dumps(own))
                for _ in range(min(count, rng.randrange(20, 150))):
                    await socket.send(hostile_text(rng))
                    report.sent += 1
                    count -= 1
                if count > 0 and rng.random() < 0.3:
                    socket.transport.abort()
                    continue
                await collect(socket, report)
        except ConnectionClosed:
            report.answers["gateway: closed"] += 1
        except InvalidHandshake as refusal:
            report.fault(f"refused at the door: {refusal}")
            return


async def collect(socket: Any, report: Report) -> None:
    """Notes what comes, until nothing does."""
    patience_s = 2.0
    while True:
        try:
            message = await asyncio.wait_for(socket.recv(), patience_s)
        except TimeoutError:
            return
        patience_s = 0.2
        if isinstance(message, str):
            content = json.loads(message)
            kind = content["type"]
            if kind == "error" and not (content["code"] and content["message"]):
                report.fault(f"an unclear refusal: {message}")
            report.answers[f"gateway: {content.get('code', kind)}"] += 1


async def attack_with_size(url: str, report: Report) -> None:
    """10 MB in one message."""
    async with connect(url) as socket:
        await socket.send(json.dumps({**START, "session_id": "large"}))
        try:
            report.sent += 1
            await socket.send('{"type": "' + "x" * 10_000_000 + '"}')
            async with asyncio.timeout(20):
                async for _ in socket:
                    pass
        except ConnectionClosed as closed:
            code = closed.rcvd.code if closed.rcvd else None
            report.answers[f"gateway: 10 MB: closed with {code}"] += 1


async def deaf_callers(url: str, count: int, report: Report) -> None:
    """Callers who have the agent speak, send what they can, and never read."""

    async def call(number: int) -> None:
        async with connect(url, max_queue=1, ping_interval=None) as deaf:
            try:
                await deaf.send(json.dumps({**START, "session_id": f"deaf-{number}"}))
                deaf.transport.pause_reading()
                for _ in range(200):
                    await deaf.send(tone(0.2))
                    await deaf.send("{")
                    report.sent += 2
                    await asyncio.sleep(0)
                report.answers["gateway: deaf"] += 1
            except ConnectionClosed:
                report.answers["gateway: deaf, closed"] += 1
            deaf.transport.abort()

    await asyncio.gather(*(call(number) for number in range(count)))


async def resume_storm(url: str, rng: random.Random, count: int, report: Report) -> None:
    """A session that is lost and resumed again and again, by several at once."""
    name = f"storm-{rng.getrandbits(32):x}"
    async with connect(url) as first:
        await first.send(json.dumps({**START, "session_id": name}))
        await first.send(tone(0.2))
        await asyncio.wait_for(first.recv(), 20)
        first.transport.abort()

    async def resume() -> None:
        async with connect(url) as socket:
            request = {"type": "session_resume", "session_id": name, "last_seq": -1}
            await socket.send(json.dumps(request))
            report.sent += 1
            answer = json.loads(await asyncio.wait_for(socket.recv(), 20))
            report.answers[f"gateway, resume: {answer.get('code', answer['type'])}"] += 1
            if rng.random() < 0.8:
                socket.transport.abort()

    at_once = asyncio.Semaphore(8)

    async def one() -> None:
        async with at_once:
            await resume()

    await asyncio.gather(*(one() for _ in range(count)))


async def half_open(address: str, count: int, report: Report) -> None:
    """Connections that begin a handshake, or complete it, and then say nothing: they are cut."""
    key = "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDAwMDAwMDAwMDAwMDAwMA=="
    upgrade = "Connection: Upgrade\r\nUpgrade: websocket"
    whole = f"GET /ws/s2s HTTP/1.1\r\nHost: 127.0.0.1\r\n{upgrade}\r\n{key}\r\n\r\n".encode()

    async def wait(number: int) -> None:
        data = [b"", whole[:40], whole[:-2], whole][number % 4]
        answer = await wire.exchange(address, data)
        report.sent += 1
        report.answers[f"gateway, half open: {wire.status_of(answer) or 'cut'}"] += 1
        if data == whole and b"start_timeout" not in answer:
            report.fault(f"a silent connection was not told why it was closed: {answer!r}")

    await asyncio.gather(*(wait(number) for number in range(count)))


async def attack_tokens(address: str, rng: random.Random, count: int, report: Report) -> None:
    """Asks for tokens in every wrong way."""
    async with httpx.AsyncClient(base_url=address, trust_env=False, timeout=20) as client:
        for _ in range(count):
            kind = rng.choice([*["application/json"] * 3, "text/plain", ""])
            answer = await client.post(
                "/api/token", content=hostile_body(rng), headers={"Content-Type": kind}
            )
            report.sent += 1
            words = wire.words_of(answer.content)
            report.refused("token", answer.status_code, answer.content, words)
        huge = await client.post("/api/token", content=b"x" * 10_000_000)
        if huge.status_code != 413:
            report.fault(f"10 MB token request: {huge.status_code}")


async def talk_beside(url: str, report: Report, beside: Beside, done: asyncio.Event) -> None:
    """A well-behaved caller: each of its turns has to be answered wholly, and only its own."""
    seq = 0
    async with connect(url) as socket:
        await socket.send(json.dumps({"type": "session_start", "session_id": "beside"}))
        await asyncio.wait_for(socket.recv(), 20)
        while not done.is_set() or not beside.delays_s:
            pcm = tone(0.3)
            for at in range(0, len(pcm), 640):
                await socket.send(pcm[at : at + 640])
                await asyncio.sleep(0.02)
            spoken_at, first_at = time.monotonic(), None
            text, sound = "", b""
            async with asyncio.timeout(60):
                async for message in socket:
                    if isinstance(message, bytes):
                        first_at = first_at or time.monotonic()
                        sound += message
                        continue
                    content = json.loads(message)
                    match content["type"]:
                        case "error":
                            report.fault(f"the other caller got {message!r}")
                        case "llm_token":
                            text += content["token"]
                        case "tts_audio":
                            if content["seq"] != seq:
                                report.fault(f"frame {content['seq']} came instead of {seq}")
                            seq = content["seq"] + 1
                        case "response_end":
                            break
            if text.strip() != "Good day." or len(sound) < VOICE_S * 32_000 or first_at is None:
                report.fault(f"the other caller got {text!r} and {len(sound)} bytes of voice")
                return
            beside.answered(first_at - spoken_at)


@asynccontextmanager
async def target() -> AsyncIterator[tuple[str, Gateway]]:
    """A gateway with little patience, so that the attack need not have much."""
    stack = FakeStack(voice_s=VOICE_S, return_within_s=0.5)
    generous = RateLimit(burst=10**9)
    config = GatewayConfig(limit=generous, max_sessions=64, start_timeout_s=2.0)
    gateway = Gateway(stack.build_call, config)
    web = WebConfig(
        livekit_url="ws://127.0.0.1:1", api_key="devkey", api_secret="x" * 32, limit=generous
    )
    app = create_app(web, gateway=gateway)
    async with serve_app(app, host="127.0.0.1", port=0, patience_s=1.0) as address:
        yield address, gateway


async def attack_gateway(count: int, rng: random.Random, report: Report) -> None:
    """Attacks a gateway and a token endpoint of its own, with about as many messages as told."""
    beside = Beside("the gateway")
    report.beside.append(beside)
    async with target() as (address, gateway):
        url = address.replace("http", "ws") + "/ws/s2s"
        done = asyncio.Event()
        caller = asyncio.create_task(talk_beside(url, report, beside, done))
        while len(beside.quiet_s) < 3 and not caller.done():
            await asyncio.sleep(0.02)
        beside.attacked = True
        few = max(2, min(20, count // 40))
        await asyncio.gather(
            *(
                attack_socket(url, random.Random(rng.random()), count * 5 // 40, report)
                for _ in range(4)
            ),
            attack_tokens(address, rng, count * 3 // 10, report),
            half_open(address, 2 * few, report),
            deaf_callers(url, max(1, few // 4), report),
            resume_storm(url, rng, count // 20, report),
            attack_with_size(url, report),
        )
        done.set()
        try:
            await caller
        except (ConnectionClosed, TimeoutError) as fault:
            report.fault(f"the other caller was disturbed: {fault!r}")
        try:
            async with asyncio.timeout(30):
                while gateway.sessions:
                    await asyncio.sleep(0.05)
        except TimeoutError:
            report.fault(f"{gateway.sessions} sessions were left")
