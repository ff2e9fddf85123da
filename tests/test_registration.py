"""A worker registers as soon as its server is there, and not after a wait that grows."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from livekit.agents import AgentServer
from livekit.agents.cli.log import JsonFormatter

from agent_worker.commands.worker_process import ready_lines
from agent_worker.dispatch.registration import PatientSession, say_when_ready


def _free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


async def _server(port: int, *, status: int = 0) -> web.AppRunner:
    async def agent(request: web.Request) -> web.StreamResponse:
        if status:
            return web.Response(status=status)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_str("registered")
        await socket.close()
        return socket

    app = web.Application()
    app.router.add_get("/agent", agent)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    return runner


async def test_a_worker_that_is_there_before_its_server_waits_in_one_attempt() -> None:
    port = _free_port()
    async with aiohttp.ClientSession() as session:
        patient = PatientSession(session, retry_s=0.02)
        attempt = asyncio.create_task(patient.ws_connect(f"ws://127.0.0.1:{port}/agent"))
        await asyncio.sleep(0.2)
        assert not attempt.done()
        runner = await _server(port)
        async with asyncio.timeout(10):
            connection = await attempt
        assert await connection.receive_str() == "registered"
        await connection.close()
        await runner.cleanup()
        assert not patient.closed, "everything else is the session's own"


async def test_a_server_that_refuses_the_key_is_not_waited_for() -> None:
    port = _free_port()
    runner = await _server(port, status=401)
    async with aiohttp.ClientSession() as session:
        patient = PatientSession(session, retry_s=0.02)
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await asyncio.wait_for(patient.ws_connect(f"ws://127.0.0.1:{port}/agent"), 10)
    await runner.cleanup()


async def test_it_stops_waiting_when_the_worker_ends() -> None:
    session = aiohttp.ClientSession()
    patient = PatientSession(session, retry_s=0.02)
    attempt = asyncio.create_task(patient.ws_connect(f"ws://127.0.0.1:{_free_port()}/agent"))
    await asyncio.sleep(0.1)
    attempt.cancel()
    await asyncio.gather(attempt, return_exceptions=True)
    assert attempt.cancelled()
    await session.close()


def test_a_worker_that_registers_says_so_in_a_field_of_its_log(
    caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    server = AgentServer()
    say_when_ready(server)
    log = tmp_path / "worker.log"
    log.write_text('{"message": "calls are taken", "level": "INFO"}\nready\n{"ready": 1}\n')
    assert ready_lines(log) == 0
    with caplog.at_level("INFO"):
        for _ in range(2):
            server.emit("worker_registered", "id", None)
    formatter = JsonFormatter()
    with log.open("a") as lines:
        for record in caplog.records:
            lines.write(formatter.format(record) + "\n")
    assert ready_lines(log) == 2
