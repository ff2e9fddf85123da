"""`python -m flows` as a process: settings, refusals, a turn, and a clean end."""

import asyncio
import contextlib
import json
import os
import re
import signal
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from flows import studio
from flows.__main__ import main, settings_help
from flows.settings import FlowSettings
from tests.fake_openai_server import FakeOpenAIServer, Reply
from tests.flow_server import ask, spoken

ROOT = Path(__file__).parent.parent


@contextlib.asynccontextmanager
async def command(*arguments: str, **settings: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """The command with these settings and no others."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    given = {f"FLOWS_{name.upper()}": value for name, value in settings.items()}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "flows",
        *arguments,
        cwd=ROOT,
        env=kept | {"FLOWS_DATABASE_URL": "memory", "FLOWS_DISCOVERY": "false"} | given,
        stderr=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def listening_at(process: asyncio.subprocess.Process) -> str:
    assert process.stderr is not None
    while line := (await process.stderr.readline()).decode():
        if found := re.search(r"running on (http://\S+)", line):
            return found[1]
    raise AssertionError("the server ended before it listened")


async def test_the_command_serves_a_turn_and_ends_at_sigterm() -> None:
    async with FakeOpenAIServer(Reply("Here I am.")) as upstream:
        settings = {"model_url": upstream.base_url, "port": "0", "token": "s3cret"}
        async with command(**settings) as process:
            url = await listening_at(process)
            headers = {"Authorization": "Bearer s3cret"}
            async with httpx.AsyncClient(base_url=url, headers=headers, trust_env=False) as client:
                listed = (await client.get("/api/flows")).json()["flows"]
                assert {flow["id"] for flow in listed if flow["available"]} == {
                    "offline",
                    "assistant",
                    "router",
                    "persona",
                }
                events = await ask(client, "assistant", "s1", "are you there")
            assert spoken(events) == "Here I am."
            process.send_signal(signal.SIGTERM)
            _, stderr = await process.communicate()
            assert process.returncode in (0, -signal.SIGTERM)
            assert b"Traceback" not in stderr
            assert b"are you there" not in stderr
            assert b"Here I am" not in stderr
            assert b"s3cret" not in stderr


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"host": "0.0.0.0"}, "needs a bearer token"),
        ({"port": "many"}, "FLOWS_PORT"),
        ({"prot": "8123"}, "no setting FLOWS_PROT"),
        ({"database_url": "nowhere"}, "database URL"),
        ({"personas": "/nowhere/cast.toml"}, "can't be read"),
        ({"mcp_servers": '[{"name": "x", "command": ["/nowhere"]}]'}, "'x' does not answer"),
    ],
)
async def test_a_setting_that_is_not_right_is_one_line(settings: dict[str, str], said: str) -> None:
    async with command(**settings) as process:
        _, stderr = await process.communicate()
    lines = [line for line in stderr.decode().splitlines() if line.startswith("flows: ")]
    assert len(lines) == 1
    assert said in lines[0]
    assert "Traceback" not in stderr.decode()
    assert process.returncode in (1, 2)


async def test_a_taken_port_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        async with command(port=str(taken.getsockname()[1])) as process:
            _, stderr = await process.communicate()
    assert process.returncode
    assert b"address already in use" in stderr
    assert b"Traceback" not in stderr


def test_every_setting_is_documented(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help-settings"]) == 0
    told = capsys.readouterr().out
    assert told == settings_help()
    for name, field in FlowSettings.model_fields.items():
        assert field.description
        assert f"FLOWS_{name.upper()}: " in told


async def test_langgraph_json_names_graphs_that_build(monkeypatch: pytest.MonkeyPatch) -> None:
    configured: dict[str, Any] = json.loads((ROOT / "langgraph.json").read_text(encoding="utf-8"))
    monkeypatch.setenv("FLOWS_MODEL_URL", "http://127.0.0.1:1/v1")
    monkeypatch.setenv("FLOWS_MODEL", "qwen3")
    for name, place in configured["graphs"].items():
        path, _, function = place.partition(":")
        assert (ROOT / path).resolve() == Path(studio.__file__).resolve()
        built = getattr(studio, function)()
        graph = await built if asyncio.iscoroutine(built) else built
        assert graph.name == name
