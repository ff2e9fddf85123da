"""Hostile requests to the flow server."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
from langchain_core.runnables import RunnableConfig
from langgraph.config import get_stream_writer
from langgraph.graph import START, MessagesState, StateGraph

from flows.flow import Flow
from flows.graphs import offline
from flows.memory import Memory, open_memory
from flows.server import FlowServer, ServerOptions
from tests.flow_server import ask, served, spoken

from . import requests, wire
from .report import Beside, Report

STREAM = "/api/flows/offline/stream/hostile"
PATIENCE_S = 3.0
"""The server's with who sends or reads nothing: this process plays all sides at once, and the
well-behaved may be behind by a second where others have the cores."""


@dataclass
class Target:
    """A flow server, and the sessions whose endless answers are under way."""

    server: FlowServer
    address: str
    talking: set[str]


def endless_flow(memory: Memory, talking: set[str]) -> Flow:
    """A flow that talks faster than anybody reads, until it is stopped."""

    async def talk(state: MessagesState, config: RunnableConfig) -> dict[str, Any]:
        write = get_stream_writer()
        session = config["configurable"]["thread_id"]
        talking.add(session)
        try:
            while True:
                write({"type": "speak", "text": "word " * 2000})
                await asyncio.sleep(0.001)
        finally:
            talking.discard(session)

    builder = StateGraph(MessagesState)
    builder.add_node("talk", talk)
    builder.add_edge(START, "talk")
    return Flow("endless", "", builder.compile(checkpointer=memory.checkpointer), ("talk",))


@contextlib.asynccontextmanager
async def target() -> AsyncIterator[Target]:
    """A flow server with little patience, so that the attack need not have much."""
    talking: set[str] = set()
    async with open_memory() as memory:
        graph = offline.build(store=memory.store, checkpointer=memory.checkpointer)
        flows = [
            Flow("offline", "", graph, offline.SPEAKABLE_NODES),
            endless_flow(memory, talking),
        ]
        options = ServerOptions(body_timeout_s=PATIENCE_S, session_ttl_s=2.0, max_sessions=200)
        server = FlowServer({flow.id: flow for flow in flows}, memory, options)
        async with served(server.app(), patience_s=PATIENCE_S) as address:
            yield Target(server, address, talking)


async def attack_flows(count: int, rng: random.Random, report: Report) -> None:
    """Attacks a flow server of its own, with about as many requests as told."""
    beside = Beside("the flow server")
    report.beside.append(beside)
    async with target() as aim:
        done = asyncio.Event()
        caller = asyncio.create_task(talk_beside(aim.address, report, beside, done))
        while len(beside.quiet_s) < 5 and not caller.done():
            await asyncio.sleep(0.02)
        beside.attacked = True
        few = max(2, min(40, count // 40))
        await asyncio.gather(
            send_requests(aim.address, rng, count * 6 // 10, report),
            send_raw(aim.address, rng, count * 2 // 10, report),
            send_large(aim.address, rng, few, report),
            many_sessions(aim.address, count // 10, report),
            slow_senders(aim.address, few, report),
            leavers(aim, few, report),
            deaf_readers(aim, few, report),
            out_of_order(aim.address, few, report),
        )
        done.set()
        await caller
        await nothing_left(aim, report)


async def talk_beside(address: str, report: Report, beside: Beside, done: asyncio.Event) -> None:
    """A well-behaved caller: each of its turns has to be answered, and rightly."""
    number = 0
    async with httpx.AsyncClient(base_url=address, trust_env=False, timeout=30) as client:
        while not done.is_set() or not beside.delays_s:
            number += 1
            started = time.monotonic()
            try:
                events = await ask(client, "offline", "beside", f"what is {number} plus 100")
            except (httpx.HTTPError, AssertionError) as fault:
                report.fault(f"the other caller was not answered: {fault!r}")
                return
            results = [json.loads(e["output"])["result"] for e in events if e["type"] == "tool_end"]
            if results != [str(number + 100)] or events[-1]["reason"] != "completed":
                report.fault(f"the other caller got {spoken(events)!r}")
            beside.answered(time.monotonic() - started)
            await asyncio.sleep(0.02)


async def send_requests(address: str, rng: random.Random, count: int, report: Report) -> None:
    """Requests that are HTTP, but wrong in every other way."""
    async with httpx.AsyncClient(base_url=address, trust_env=False, timeout=30) as client:
        for _ in range(count):
            request = requests.hostile_request(rng)
            async with client.stream(
                request.method, request.url, content=request.body, headers=request.headers
            ) as answer:
                report.sent += 1
                body = await _read_all(answer)
            if answer.status_code == 200 and request.may_pass:
                report.answers["flows: harmless after all"] += 1
                if answer.headers["content-type"].startswith("text/event-stream"):
                    check_stream(body, request, report)
            else:
                words = wire.words_of(body)
                report.refused("flows", answer.status_code, body, words)
                if not 400 <= answer.status_code < 500:
                    report.fault(f"{request}"[:300])


async def _read_all(answer: httpx.Response) -> bytes:
    received = bytearray()
    async for chunk in answer.aiter_bytes():
        received += chunk
        if len(received) > 1_000_000:
            break  # of the endless flow
    return bytes(received)


def check_stream(body: bytes, request: requests.Request, report: Report) -> None:
    """A stream is JSON events to its end."""
    if len(body) > 1_000_000:
        return
    lines = [line for line in body.split(b"\n") if line.startswith(b"data: ")]
    try:
        last = lines[-1].removeprefix(b"data: ")
        for line in lines:
            if line != b"data: [DONE]":
                json.loads(line.removeprefix(b"data: "))
        whole = last == b"[DONE]" or json.loads(last)["type"] == "done"
    except (IndexError, KeyError, ValueError):
        whole = False
    if not whole:
        report.fault(f"a broken stream: {body[-200:]!r} for {request}")


async def send_raw(address: str, rng: random.Random, count: int, report: Report) -> None:
    """Bytes that are HTTP in part only; many at once, for the server waits for the rest."""

    async def send(data: bytes, refused: bool, half_close: bool) -> None:
        async with at_once:
            answer = await wire.exchange(address, data, half_close=half_close)
        report.sent += 1
        status = wire.status_of(answer)
        report.answers[f"flows, raw: {status or 'cut'}"] += 1
        if status >= 500 or (refused and 200 <= status < 400):
            report.fault(f"raw: {status} for {data[:120]!r}")

    at_once = asyncio.Semaphore(32)
    await asyncio.gather(
        *(send(*requests.hostile_bytes(rng), rng.random() < 0.5) for _ in range(count))
    )


async def send_large(address: str, rng: random.Random, count: int, report: Report) -> None:
    """Bodies of 10 MB, and lengths that are announced only."""
    async with httpx.AsyncClient(base_url=address, trust_env=False, timeout=30) as client:
        for number in range(count):
            padding = b"x" * 10_000_000
            body = b'{"messages": [{"role": "user", "content": "' + padding + b'"}]}'
            path = rng.choice([STREAM, f"{STREAM}/commit", "/v1/chat/completions"])
            chunked = number % 2 == 1
            try:
                answer = await client.post(path, content=_pieces(body) if chunked else body)
            except httpx.TransportError:
                # Refused and closed before all of it was sent.
                report.answers["flows, 10 MB: cut"] += 1
            else:
                words = wire.words_of(answer.content)
                report.refused("flows, 10 MB", answer.status_code, answer.content, words)
            report.sent += 1


async def _pieces(body: bytes) -> AsyncIterator[bytes]:
    for at in range(0, len(body), 65536):
        yield body[at : at + 65536]


async def many_sessions(address: str, count: int, report: Report) -> None:
    """A session for each request, many at once."""
    limits = httpx.Limits(max_connections=20)
    async with httpx.AsyncClient(
        base_url=address, trust_env=False, timeout=60, limits=limits
    ) as client:

        async def once(number: int) -> None:
            events = await ask(client, "offline", f"many-{number}", "hello")
            report.sent += 1
            report.answers[f"flows, many sessions: {events[-1]['reason']}"] += 1
            if events[-1]["reason"] != "completed":
                report.fault(f"one of many sessions: {events[-1]}")

        await asyncio.gather(*(once(number) for number in range(count)))


async def slow_senders(address: str, count: int, report: Report) -> None:
    """Half a request, and then nothing or a byte now and then."""

    async def send(number: int) -> None:
        head = f"POST {STREAM} HTTP/1.1\r\nHost: x\r\nContent-Length: 900\r\n".encode()
        body = head + b'\r\n{"messages": ['
        data = [body, head[:25], head + b"\r\n", head, b""][number % 5]
        answer = await wire.exchange(address, data, drip=number % 2 == 1)
        report.sent += 1
        status = wire.status_of(answer)
        report.answers[f"flows, slow: {status or 'cut'}"] += 1
        if status not in (0, 400, 408):
            report.fault(f"slow sender: {answer[:100]!r}")

    await asyncio.gather(*(send(number) for number in range(count)))


async def leavers(aim: Target, count: int, report: Report) -> None:
    """Clients that vanish in the middle of an answer, or of their question."""
    for number in range(count):
        data = requests.post(f"/api/flows/endless/stream/leaver-{number}", requests.turn("talk"))
        reader, writer = await wire.open_to(aim.address)
        writer.write(data if number % 4 else data[:-5])
        await writer.drain()
        if number % 4:
            await reader.readuntil(b"word")
        writer.transport.abort()
        report.sent += 1
        report.answers["flows: left"] += 1


async def deaf_readers(aim: Target, count: int, report: Report) -> None:
    """Clients that ask for an endless answer and never read it: they are cut off."""

    async def ask_and_wait(number: int) -> None:
        session = f"deaf-{number}"
        path = f"/api/flows/endless/stream/{session}"
        with wire.deaf_socket(aim.address) as deaf:
            loop = asyncio.get_running_loop()
            await loop.sock_sendall(deaf, requests.post(path, requests.turn("talk")))
            report.sent += 1
            # The socket can't tell that it was cut: that comes after what it has not read.
            try:
                async with asyncio.timeout(20):
                    while f"endless:{session}" not in aim.talking:
                        await asyncio.sleep(0.01)
                    while f"endless:{session}" in aim.talking:
                        await asyncio.sleep(0.05)
                report.answers["flows: deaf, cut"] += 1
            except TimeoutError:
                report.fault("a client that never reads was not cut off")

    await asyncio.gather(*(ask_and_wait(number) for number in range(count)))


async def out_of_order(address: str, count: int, report: Report) -> None:
    """Commits, cancellations and deletions of turns and sessions that are not there."""
    async with httpx.AsyncClient(base_url=address, trust_env=False, timeout=30) as client:
        for number in range(count):
            for action in ("commit", "cancel"):
                # The other caller's session, by a turn that it does not have.
                for session in ("beside", f"nobody-{number}"):
                    path = f"/api/flows/offline/stream/{session}/{action}"
                    answer = await client.post(path, json={"turn_id": f"foreign-{number}"})
                    report.sent += 1
                    report.answers[f"flows, {action}: {answer.json()}"] += 1
                    if answer.json().get("running") or answer.json().get("cancelled"):
                        report.fault(f"a foreign {action} was carried out")
            answer = await client.delete(f"/api/flows/offline/stream/nobody-{number}")
            report.sent += 1
            if answer.json() != {"forgotten": True}:
                report.fault(f"forgetting nobody: {answer.text[:100]}")


async def nothing_left(aim: Target, report: Report) -> None:
    """Answers end with their readers, and sessions with their time."""
    try:
        async with asyncio.timeout(20):
            while aim.talking or aim.server.sessions:
                await asyncio.sleep(0.05)
    except TimeoutError:
        report.fault(f"{len(aim.talking)} answers and {aim.server.sessions} sessions were left")
