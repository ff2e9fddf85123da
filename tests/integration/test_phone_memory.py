"""A phone's caller is known again by the number, in a new room of a real server."""

from __future__ import annotations

import re
import uuid
from pathlib import Path

import pytest

from agent_worker.caller.client import SimulatedCaller
from agent_worker.commands.livekit_server import RunningServer
from livekit import api
from tests import real
from tests.integration.test_call import ask, greeted

pytestmark = pytest.mark.timeout(180)

AGENT = "phone-agent"


def phone_token(server: RunningServer, number: str) -> str:
    """As LiveKit's SIP service joins a room for a phone."""
    grants = api.VideoGrants(room_join=True, room=f"call-{uuid.uuid4().hex[:8]}")
    dispatch = api.RoomAgentDispatch(agent_name=AGENT)
    return (
        api.AccessToken(server.api_key, server.api_secret)
        .with_identity(f"sip_{number}")
        .with_kind("sip")
        .with_attributes({"sip.phoneNumber": number})
        .with_grants(grants)
        .with_room_config(api.RoomConfiguration(agents=[dispatch]))
        .to_jwt()
    )


async def test_a_phone_is_known_again_by_its_number(
    livekit_server: RunningServer, tmp_path: Path
) -> None:
    settings = real.worker_settings(
        livekit_server,
        agent_name=AGENT,
        caller_id="sip.phoneNumber, identity",
        database_url=f"sqlite:///{tmp_path}/callers.sqlite3",
    )
    with real.worker(settings, tmp_path / "worker.log"):

        async def call(number: str, said: str) -> str:
            token = phone_token(livekit_server, number)
            async with SimulatedCaller(livekit_server.url, token) as caller:
                await greeted(caller)
                return await ask(caller, said)

        told = await call("+441134960001", "remember that my name is alice")
        assert "Alice" in told
        assert re.findall("Alice", await call("+441134960001", "what is my name")) == ["Alice"]
    assert "lice" not in (tmp_path / "worker.log").read_text()
