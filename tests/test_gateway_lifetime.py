"""A call of ours on the WebSocket ends as one in a room does; settings and agent are real."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from websockets.asyncio.client import connect

from agent_worker.commands.serve_web import open_gateway, page, serve_app
from agent_worker.engines.choice import choose
from agent_worker.engines.inventory import Found
from agent_worker.gateway import Gateway
from agent_worker.settings import load_settings
from agent_worker.telemetry.outlets import Telemetry

from .test_gateway import Client
from .voices_at_hand import ESPEAK


@asynccontextmanager
async def served(**changes: object) -> AsyncIterator[tuple[str, Gateway]]:
    settings = load_settings(
        llm="offline",
        stt="bundled",
        tts="espeak",
        database_url="memory",
        livekit_api_key="devkey",
        livekit_api_secret="x" * 32,
        greeting="",
        **changes,
    )
    gateway = await open_gateway(settings, choose(settings, Found(voices=ESPEAK)), Telemetry())
    app = page(settings, gateway=gateway)
    async with serve_app(app, host="127.0.0.1", port=0) as address:
        yield address.replace("http", "ws", 1) + "/ws/s2s", gateway


async def test_a_silent_call_says_goodbye_and_ends_for_that() -> None:
    async with (
        served(session_timeout_s=1.5, goodbye="Goodbye then.") as (url, _),
        connect(url) as socket,
    ):
        caller = Client(socket)
        await caller.start()
        await caller.send("text", text="what is two plus three")
        await caller.until("response_end")
        written = "".join(m["token"] for m in caller.messages if m["type"] == "llm_token")
        assert "five" in written.lower()
        async with asyncio.timeout(30):
            last = await caller.until("error")
        assert last["code"] == "session_timeout"
        told = [m["text"] for m in caller.messages if m["type"] == "spoken"]
        assert "".join(told).strip().endswith("Goodbye then.")
        await asyncio.wait_for(caller.reader, 10)
        assert socket.close_code == 1000


async def test_a_call_is_kept_for_as_long_as_the_setting_says() -> None:
    async with served(return_within_s=1.0) as (url, gateway):
        for _ in range(2):
            async with connect(url) as socket:
                caller = Client(socket)
                if gateway.sessions:
                    await caller.send("session_resume", session_id="session-one", last_seq=-1)
                    assert (await caller.until("session_started"))["resumed"] is True
                else:
                    await caller.start()
                socket.transport.abort()
                await caller.reader
            await asyncio.sleep(0.2)
            assert gateway.sessions == 1
        async with asyncio.timeout(20):
            while gateway.sessions:
                await asyncio.sleep(0.05)
        async with connect(url) as socket:
            late = Client(socket)
            await late.send("session_resume", session_id="session-one", last_seq=-1)
            assert (await late.until("error"))["code"] == "unknown_session"
            socket.transport.abort()
            await late.reader
