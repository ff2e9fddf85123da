"""Sends malformed and hostile messages to the servers, and tells how they took it.

    python -m tests.hostile            # 10,000 messages
    python -m tests.hostile --count 400

A well-behaved caller talks beside them all the time. Exits with 1 if a server crashed, a refusal
was unclear, the other caller was disturbed, or tasks or memory were left behind.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import random
import resource
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from agent_worker.gateway import Gateway, GatewayConfig
from agent_worker.web import WebConfig, create_app
from agent_worker.web.access import RateLimit
from agent_worker.web.server import serve_app
from tests.fake_voice_stack import FakeStack, tone

START = {"type": "session_start", "session_id": "hostile"}


@dataclass
class Report:
    """What was sent, and what came back."""

    sent: int = 0
    answers: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    turns_beside: int = 0
    tasks_left: int = 0
    megabytes_grown: float = 0.0

    @property
    def ok(self) -> bool:
        return not self.faults


def hostile_text(rng: random.Random) -> str | bytes:
    """One message that no honest client sends."""
    noise = rng.randbytes(rng.randrange(1, 2000))
    choices: list[str | bytes] = [
        noise,
        noise.decode("latin-1"),
        "{" * rng.randrange(1, 5000),
        json.dumps({"type": noise.hex()[:20]}),
        json.dumps({**START, "audio": {"sample_rate": rng.randrange(-(2**40), 2**40)}}),
        json.dumps({**START, "session_id": f"h{noise.hex()[:8]}", "audio": {"channels": 2}}),
        json.dumps({**START, "session_id": "a b"}),
        json.dumps({**START, "lang": noise.hex()}),
        json.dumps({"type": "audio_chunk", "seq": rng.choice([-1, 2**70, 0.5, None, "1"])}),
        '{"type": "audio_chunk", "seq": 1, "timestamp_ms": NaN}',
        '{"type": "asr_final", "text": NaN}',
        json.dumps({"type": "session_resume", "session_id": "beside", "last_seq": -1}),
        json.dumps({"type": "session_resume", "session_id": "nobody", "last_seq": 3}),
        json.dumps({"type": "audio_end"}),
        json.dumps({"type": "interrupt"}),
        json.dumps([START]),
        bytes(rng.choice([0, 1, 3, 641, 7000])),
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
                if rng.random() < 0.3:
                    socket.transport.abort()
                    continue
                await collect(socket, report)
        except ConnectionClosed:
            report.answers["closed"] += 1
        except InvalidHandshake as refusal:
            report.faults.append(f"refused at the door: {refusal}")
            return


async def collect(socket: Any, report: Report) -> None:
    try:
        async with asyncio.timeout(0.2):
            async for message in socket:
                if isinstance(message, str):
                    content = json.loads(message)
                    kind = content["type"]
                    if kind == "error" and not (content["code"] and content["message"]):
                        report.faults.append(f"an unclear refusal: {message}")
                    report.answers[str(content.get("code", kind))] += 1
    except TimeoutError:
        pass


async def attack_with_size(url: str, report: Report) -> None:
    """10 MB in one message, and a client that never reads."""
    async with connect(url) as socket:
        await socket.send(json.dumps({**START, "session_id": "large"}))
        try:
            await socket.send('{"type": "' + "x" * 10_000_000 + '"}')
            report.sent += 1
            async with asyncio.timeout(20):
                async for message in socket:
                    if isinstance(message, str) and "too_large" in message:
                        report.answers["10 MB: too_large"] += 1
                        break
        except ConnectionClosed:
            report.answers["10 MB: closed"] += 1
    async with connect(url, max_queue=1) as deaf:
        await deaf.send(json.dumps({**START, "session_id": "deaf"}))
        try:
            for _ in range(5000):
                await deaf.send("{")
                report.sent += 1
        except ConnectionClosed:
            report.answers["slow reader: closed"] += 1
        deaf.transport.abort()


async def attack_tokens(address: str, rng: random.Random, count: int, report: Report) -> None:
    """Asks for tokens in every wrong way."""
    async with httpx.AsyncClient(base_url=address, timeout=20) as client:
        for _ in range(count):
            kind = rng.choice(["application/json", "text/plain", ""])
            answer = await client.post(
                "/api/token", content=hostile_body(rng), headers={"Content-Type": kind}
            )
            report.sent += 1
            report.answers[f"token {answer.status_code}"] += 1
            if not 400 <= answer.status_code < 500 or not answer.json()["error"]:
                report.faults.append(f"token: {answer.status_code} {answer.text[:80]}")
        huge = await client.post("/api/token", content=b"x" * 10_000_000)
        if huge.status_code != 413:
            report.faults.append(f"10 MB token request: {huge.status_code}")


async def half_open(address: str, count: int) -> list[asyncio.StreamWriter]:
    """Connections that begin a handshake and then say nothing."""
    host, port = address.removeprefix("http://").split(":")
    writers = []
    for _ in range(count):
        _, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"GET /ws/s2s HTTP/1.1\r\nHost: x\r\nUpgrade: web")
        await writer.drain()
        writers.append(writer)
    return writers


async def talk_beside(url: str, report: Report, done: asyncio.Event) -> None:
    """A well-behaved caller: each of its turns has to be answered, and only its own."""
    async with connect(url) as socket:
        await socket.send(json.dumps({"type": "session_start", "session_id": "beside"}))
        while not done.is_set() or report.turns_beside == 0:
            pcm = tone(0.3)
            for at in range(0, len(pcm), 640):
                await socket.send(pcm[at : at + 640])
                await asyncio.sleep(0.02)
            async with asyncio.timeout(60):
                async for message in socket:
                    content = json.loads(message) if isinstance(message, str) else {"type": "audio"}
                    if content["type"] == "error":
                        report.faults.append(f"the other caller got {message!r}")
                    if content["type"] == "response_end":
                        report.turns_beside += 1
                        break


@asynccontextmanager
async def target() -> AsyncIterator[tuple[str, Gateway]]:
    stack = FakeStack(voice_s=0.1)
    generous = RateLimit(burst=10**9)
    config = GatewayConfig(limit=generous, resume_s=0.2, max_sessions=64, start_timeout_s=2.0)
    gateway = Gateway(stack.build_call, config)
    web = WebConfig(
        livekit_url="ws://127.0.0.1:1", api_key="devkey", api_secret="x" * 32, limit=generous
    )
    app = create_app(web, gateway=gateway)
    async with serve_app(app, host="127.0.0.1", port=0) as address:
        yield address, gateway


async def attack(count: int, *, seed: int = 1) -> Report:
    """Attacks a gateway and a token endpoint of its own."""
    report = Report()
    rng = random.Random(seed)
    before = len(asyncio.all_tasks())
    async with target() as (address, gateway):
        url = address.replace("http", "ws") + "/ws/s2s"
        done = asyncio.Event()
        beside = asyncio.create_task(talk_beside(url, report, done))
        await attack_socket(url, rng, count // 10, report)
        warm_mb = _peak_mb()
        silent = await half_open(address, 20)
        await asyncio.gather(
            *(
                attack_socket(url, random.Random(rng.random()), count * 6 // 40, report)
                for _ in range(4)
            ),
            attack_tokens(address, rng, count * 3 // 10, report),
        )
        await attack_with_size(url, report)
        done.set()
        await beside
        for writer in silent:
            writer.close()
        async with asyncio.timeout(30):
            while gateway.sessions:
                await asyncio.sleep(0.05)
        report.megabytes_grown = _peak_mb() - warm_mb
    await asyncio.sleep(0.5)
    gc.collect()
    report.tasks_left = len(asyncio.all_tasks()) - before
    if report.tasks_left > 0:
        report.faults.append(f"{report.tasks_left} tasks were left")
    if report.megabytes_grown > 200:
        report.faults.append(f"memory grew by {report.megabytes_grown:.0f} MB")
    return report


def say(line: str) -> None:
    """Prints a line for people."""
    sys.stdout.write(line + "\n")


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> int:
    """Runs the attack and prints what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    report = asyncio.run(attack(options.count, seed=options.seed))
    say(f"{report.sent} messages; {report.turns_beside} turns of another caller beside them")
    for answer, times in report.answers.most_common():
        say(f"  {times:6} {answer}")
    say(f"tasks left: {report.tasks_left}; peak memory grew by {report.megabytes_grown:.0f} MB")
    for fault in report.faults:
        say(f"FAULT: {fault}")
    return 0 if report.ok else 1


if __name__ == "__main__":
    sys.exit(main())
