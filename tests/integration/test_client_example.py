"""`examples/clients/client.py` against the real server and a real worker."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from agent_worker.caller.client import SAMPLE_RATE
from agent_worker.caller.wav import write_wav
from agent_worker.commands.demo_conversation import render
from agent_worker.commands.livekit_server import RunningServer
from agent_worker.commands.serve_web import serve_app
from agent_worker.web import WebConfig, create_app
from tests import real

CLIENT = Path(__file__).parents[2] / "examples/clients/client.py"


@pytest.mark.timeout(120)
async def test_the_client_in_python_prints_both_sides(
    livekit_server: RunningServer, worker_pid: int, tmp_path: Path
) -> None:
    question = tmp_path / "question.wav"
    write_wav(question, await render("what is two plus three"), SAMPLE_RATE)
    config = WebConfig(
        livekit_url=livekit_server.url,
        api_key=livekit_server.api_key,
        api_secret=livekit_server.api_secret,
        agent_name=real.AGENT,
    )
    async with serve_app(create_app(config), host="127.0.0.1", port=0) as page:
        client = await asyncio.create_subprocess_exec(
            *(sys.executable, str(CLIENT), page, str(question), "12"),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        printed, complaint = await client.communicate()
    assert client.returncode == 0, complaint.decode()
    lines = printed.decode().splitlines()
    assert any(line.startswith("I said: ") for line in lines), lines
    assert "It said: Hello. How can I help you?" in lines
