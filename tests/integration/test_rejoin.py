"""Callers who leave and come back: the same agent, the same conversation, no second greeting."""

from __future__ import annotations

import asyncio
import time
import uuid
from pathlib import Path

import pytest

from agent_worker.caller.client import SimulatedCaller
from agent_worker.commands.demo_conversation import render
from agent_worker.commands.livekit_server import RunningServer
from agent_worker.commands.worker_process import room_token, run_worker
from livekit import api
from tests import real
from tests.integration.test_call import TIMEOUT_S, ask, greeted

pytestmark = pytest.mark.timeout(180)


class Line:
    """A way into one room, by any name, as often as wanted."""

    def __init__(self, server: RunningServer, *, agent: str = real.AGENT) -> None:
        self._server = server
        self._agent = agent
        self._room = f"room-{uuid.uuid4().hex[:8]}"

    def token(self, identity: str = "caller") -> str:
        """Lets somebody in."""
        return room_token(self._server, room=self._room, identity=identity, agent_name=self._agent)

    def caller(self, identity: str = "caller") -> SimulatedCaller:
        return SimulatedCaller(self._server.url, self.token(identity))

    def _service(self) -> api.LiveKitAPI:
        return api.LiveKitAPI(self._server.url, self._server.api_key, self._server.api_secret)

    async def is_open(self) -> bool:
        """Whether the server still has the room."""
        async with self._service() as service:
            rooms = await service.room.list_rooms(api.ListRoomsRequest(names=[self._room]))
        return len(rooms.rooms) > 0

    async def agents(self) -> list[str]:
        """Who in the room is an agent."""
        async with self._service() as service:
            there = await service.room.list_participants(
                api.ListParticipantsRequest(room=self._room)
            )
        return [p.identity for p in there.participants if p.kind == api.ParticipantInfo.AGENT]

    async def take_back_dispatches(self) -> None:
        """Of all agents; the server then ends their jobs."""
        async with self._service() as service:
            for dispatch in await service.agent_dispatch.list_dispatch(self._room):
                await service.agent_dispatch.delete_dispatch(dispatch.id, self._room)

    async def dispatch(self, agent: str) -> None:
        """Calls an agent into the room."""
        async with self._service() as service:
            await service.agent_dispatch.create_dispatch(
                api.CreateAgentDispatchRequest(agent_name=agent, room=self._room)
            )


async def test_a_caller_comes_back_twice_to_a_silent_agent_that_knows_them(
    livekit_server: RunningServer, worker_pid: int
) -> None:
    line = Line(livekit_server)
    async with line.caller() as caller:
        await greeted(caller)
        await ask(caller, "remember that my name is alice")
        await caller.silent(for_s=0.7, timeout_s=TIMEOUT_S)
        spoken = await caller.speak(await render("tell me a story"))
        await caller.audible_after(spoken.ended_at, timeout_s=TIMEOUT_S)
    async with line.caller() as caller:
        back_at = time.time()
        await caller.wait_for_agent_state("listening", timeout_s=TIMEOUT_S)
        assert "Alice" in await ask(caller, "what is my name")
        assert "Hello" not in caller.answered(back_at)
        assert "lighthouse" not in caller.answered(back_at)
    async with line.caller("after-reload") as caller:
        back_at = time.time()
        assert "Alice" in await ask(caller, "what is my name")
        assert "Hello" not in caller.answered(back_at)


async def test_a_caller_who_is_back_before_their_loss_is_noticed_goes_on(
    livekit_server: RunningServer, worker_pid: int
) -> None:
    line = Line(livekit_server)
    async with line.caller() as lost:
        await greeted(lost)
        await ask(lost, "remember that my name is alice")
        # The rest of this sentence is never said to anyone.
        await lost.speak(await render("please remember that my name is"))
        async with line.caller() as caller:
            assert "Alice" in await ask(caller, "what is my name")
            assert "remember" not in caller.heard(0.0)


async def test_a_call_that_waits_takes_no_place_and_ends_with_the_worker(
    livekit_server: RunningServer, tmp_path: Path
) -> None:
    settings = real.worker_settings(livekit_server, agent_name="small", max_sessions=1)
    log_file = tmp_path / "worker.log"
    away, here = Line(livekit_server, agent="small"), Line(livekit_server, agent="small")

    async def logged(message: str, times: int = 1) -> None:
        while log_file.read_text().count(message) < times:
            await asyncio.sleep(0.05)

    async with run_worker(settings, log_file=log_file):
        async with away.caller() as caller:
            await greeted(caller)
            await logged("worker is at full capacity")
        await logged("worker is below capacity")
        async with here.caller() as caller:
            await greeted(caller)
            assert "the call is over" not in log_file.read_text()
            await caller.call_agent("end_call")
            await caller.wait_for_agent_to_leave(timeout_s=TIMEOUT_S)
        while await here.is_open():
            await asyncio.sleep(0.05)
        assert await away.is_open()
        await logged("worker is below capacity", times=2)
        # an agent is called as a room opens: in the old one nobody would have come
        async with here.caller() as caller:
            assert "How can I help you?" in await greeted(caller)
    assert log_file.read_text().count("the call is over") == 3
