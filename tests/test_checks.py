"""What `doctor` tries: it ends non-zero when a call would fail, and says what to do."""

from __future__ import annotations

import contextlib
import email.utils
import importlib.metadata
import json
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
from aiohttp import web

from agent_worker.__main__ import main
from agent_worker.commands.checks import (
    Finding,
    look_at_installation,
    run_checks,
    try_program,
)
from agent_worker.commands.checks.conversation import ears_finding, model_finding
from agent_worker.commands.checks.installation import (
    WHAT_FOR,
    extras_finding,
    owner_findings,
    packages_of,
)
from agent_worker.commands.checks.machine import disk_finding, page_findings, port_finding
from agent_worker.commands.checks.server import clock_finding, try_server
from agent_worker.engines.choice import choose
from agent_worker.engines.inventory import Found
from agent_worker.settings import load_settings
from tests.fake_openai_server import FakeOpenAIServer, Reply, ToolCall
from tests.fake_speech_server import FakeSpeechServer
from tests.fake_speech_server import Reply as Speech
from tests.test_simulate import write_wav
from tests.voices_at_hand import ESPEAK

NOW = 1_700_000_000.0
KEYS = {"livekit_api_key": "key", "livekit_api_secret": "swordfish" * 4}


def states(findings: list[Finding]) -> dict[str, str]:
    return {finding.what: finding.state for finding in findings}


@pytest.mark.parametrize(
    ("off_s", "state"), [(0, "ok"), (4, "ok"), (-10, "doubtful"), (59, "doubtful"), (-90, "broken")]
)
def test_a_clock_that_is_off_is_found_by_the_servers_own(off_s: float, state: str) -> None:
    (found,) = clock_finding(email.utils.formatdate(NOW + off_s, usegmt=True), NOW)
    assert found.state == state


@pytest.mark.parametrize("date", [None, "", "yesterday"])
def test_a_server_that_tells_no_time_is_no_finding(date: str | None) -> None:
    assert clock_finding(date, NOW) == []


@contextlib.asynccontextmanager
async def livekit_that_answers(status: int, *, off_s: float = 0.0) -> AsyncIterator[str]:
    """Something that answers where a LiveKit server is expected."""

    async def answer(_: web.Request) -> web.Response:
        headers = {"Date": email.utils.formatdate(time.time() + off_s, usegmt=True)}
        if status == 200:
            # no rooms, as protobuf
            return web.Response(body=b"", content_type="application/protobuf", headers=headers)
        body = {"code": "unauthenticated", "msg": "no"}
        return web.json_response(body, status=status, headers=headers)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        port = runner.addresses[0][1]
        yield f"ws://127.0.0.1:{port}"
    finally:
        await runner.cleanup()


async def test_a_server_is_asked_with_the_key_and_for_its_time() -> None:
    async with livekit_that_answers(200) as url:
        found = await try_server(load_settings(livekit_url=url, **KEYS))
        assert states(found) == {"server": "ok", "clock": "ok"}
    async with livekit_that_answers(401, off_s=-300) as url:
        found = await try_server(load_settings(livekit_url=url, **KEYS))
        assert states(found) == {"server": "broken", "clock": "broken"}
        assert "refuses the API key" in found[0].text
    gone = await try_server(load_settings(livekit_url=url, **KEYS))
    assert states(gone) == {"server": "broken"}
    assert url in gone[0].text
    assert states(await try_server(load_settings())) == {"server": "doubtful"}, (
        "the demo needs none"
    )


async def test_a_server_that_is_set_is_tried_without_its_keys_too_and_half_a_pair_is_a_fault() -> (
    None
):
    async with livekit_that_answers(200) as url:
        (found,) = await try_server(load_settings(livekit_url=url))
        assert (found.state, "are not set" in found.text) == ("broken", True)
    (gone,) = await try_server(load_settings(livekit_url=url))
    assert "no LiveKit server answers" in gone.text
    (half,) = await try_server(load_settings(livekit_api_key="key"))
    assert (half.state, half.text) == ("broken", "LIVEKIT_API_SECRET is not set")


async def test_something_else_where_the_server_should_be_is_a_fault() -> None:
    async with livekit_that_answers(404) as url:
        found = await try_server(load_settings(livekit_url=url, **KEYS))
    assert states(found) == {"server": "broken"}
    assert "not as a LiveKit server does" in found[0].text


async def test_the_program_of_the_server_is_run_and_it_is_said_whether_it_is_in_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "livekit-server"
    program.write_text("#!/bin/sh\necho livekit-server version 9.9\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    found = await try_program(load_settings())
    assert found.state == "ok"
    assert found.text.startswith(f"livekit-server version 9.9, {program} (PATH); `demo` starts it")
    elsewhere = await try_program(load_settings(livekit_url="ws://127.0.0.1:1"))
    assert "not in use: LIVEKIT_URL names ws://127.0.0.1:1" in elsewhere.text
    program.write_text("#!/bin/sh\nexit 3\n")
    assert (await try_program(load_settings())).state == "broken"
    assert (await try_program(load_settings(livekit_url="ws://127.0.0.1:1"))).state == "doubtful"


def test_a_port_that_is_taken_is_said_and_may_be_our_own_worker() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        found = port_finding("health_port", "127.0.0.1", taken.getsockname()[1])
    assert (found.state, "in use" in found.text) == ("doubtful", True)
    assert port_finding("web_port", "192.0.2.1", 8088).state == "broken"
    assert port_finding("web_port", "127.0.0.1", 0).state == "ok"


@pytest.mark.parametrize(("free", "state"), [(9e9, "ok"), (1e9, "doubtful"), (1e7, "broken")])
def test_a_full_disk_is_said(free: float, state: str) -> None:
    assert disk_finding(int(free), Path("/cache")).state == state


@pytest.mark.parametrize(
    ("settings", "state"),
    [
        ({}, "ok"),
        ({"web_host": "0.0.0.0"}, "doubtful"),
        ({"livekit_url": "ws://livekit.example.org"}, "doubtful"),
        ({"livekit_url": "wss://livekit.example.org", "web_host": "0.0.0.0"}, "ok"),
    ],
)
def test_a_page_that_can_not_work_from_elsewhere_is_said(
    settings: dict[str, str], state: str
) -> None:
    (found,) = page_findings(load_settings(**settings))
    assert found.state == state


@pytest.mark.parametrize(
    ("heard", "state"),
    [
        ("What is two plus three?", "ok"),
        ("what is 2 + 3", "ok"),
        ("What's too plus free?", "ok"),
        ("A horse stood there.", "doubtful"),
        ("  ", "broken"),
    ],
)
def test_what_the_ears_heard_of_the_voice_is_judged(heard: str, state: str) -> None:
    assert ears_finding("What is two plus three?", heard, 0.1).state == state


def test_a_model_that_says_nothing_is_broken_and_one_without_tools_is_doubtful() -> None:
    assert model_finding("", True, 1, rules_only=False).state == "ok"
    assert model_finding("Hello.", False, 1, rules_only=False).state == "doubtful"
    assert model_finding("Five.", False, 1, rules_only=True).state == "ok"
    assert model_finding(" ", False, 1, rules_only=False).state == "broken"


async def test_a_whole_machine_is_tried() -> None:
    call = Reply(tool_calls=[ToolCall("check_line")])
    async with FakeOpenAIServer(call) as server:
        settings = load_settings(
            llm="assistant", llm_url=server.base_url, llm_model="m", stt="bundled", tts="espeak",
            caller_id="identity", database_url="memory", health_port=0, web_port=0,
        )  # fmt: skip
        found = Found(voices=ESPEAK, llm_endpoint=server.base_url, llm_models=("m",))
        findings = await run_checks(settings, choose(settings, found))
        asked = server.requests[0].body
    assert states(findings) == {
        "server": "doubtful",
        "disk": "ok",
        "ports": "ok",
        "origins": "ok",
        "memory": "ok",
        "voice": "ok",
        "ears": "ok",
        "model": "ok",
    }
    assert "check_line" in [tool["function"]["name"] for tool in asked["tools"]]


async def test_a_voice_and_a_model_that_fail_are_not_hidden_by_what_stands_in_for_them() -> None:
    async with FakeOpenAIServer() as model, FakeSpeechServer().serve() as voice:
        model.default = Reply(status=500)
        voice.enqueue(Speech(status=500))
        settings = load_settings(
            llm="assistant", llm_url=model.base_url, llm_model="m", stt="bundled",
            tts="speech-api", tts_url=voice.url, health_port=0, web_port=0,
        )  # fmt: skip
        found = Found(voices=ESPEAK, llm_endpoint=model.base_url, llm_models=("m",))
        findings = await run_checks(settings, choose(settings, found))
    assert (states(findings)["voice"], states(findings)["model"]) == ("broken", "broken")


def test_doctor_ends_non_zero_when_a_call_would_fail(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], unused_tcp_port: int
) -> None:
    for name, value in {
        "AGENT_WORKER_LLM": "offline",
        "AGENT_WORKER_STT": "bundled",
        "AGENT_WORKER_TTS": "espeak",
        "LIVEKIT_URL": f"ws://127.0.0.1:{unused_tcp_port}",
        "LIVEKIT_API_KEY": "key",
        "LIVEKIT_API_SECRET": "swordfish" * 4,
    }.items():
        monkeypatch.setenv(name, value)
    assert main(["doctor"]) == 1
    said = capsys.readouterr().out
    assert "[--] server     no LiveKit server answers" in said
    assert "[ok] ears" in said
    assert "swordfish" not in said


@pytest.mark.parametrize(
    ("variable", "value", "stage", "told", "still_tried"),
    [
        ("STT_MODEL", "large-v9", "hearing", "did you mean large-v3?", {"voice", "model"}),
        ("STT_MODEL", "/nowhere", "hearing", "folder '/nowhere' not found", {"voice", "model"}),
        (
            "STT_MODEL",
            "no/such/folder",
            "hearing",
            "'no/such/folder' not found",
            {"voice", "model"},
        ),
        ("STT_MODEL", "medium", "hearing", "agent-worker download-files", {"voice", "model"}),
        ("TTS_VOICE", "nobody", "speaking", "no voice for 'nobody'", {"model"}),
        ("TTS_VOICE", "en_US-nobody-low", "speaking", "download-files", {"model"}),
        ("TTS", "xtts", "speaking", "pip install", {"model"}),
        ("LLM", "assistant", "thinking", "set llm_url", {"voice", "ears"}),
    ],
)
def test_each_thing_that_can_not_be_had_is_said_with_the_rest_tried_all_the_same(
    variable: str,
    value: str,
    stage: str,
    told: str,
    still_tried: set[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.setenv("AGENT_WORKER_LLM_DISCOVERY", "false")
    monkeypatch.setenv("AGENT_WORKER_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv(f"AGENT_WORKER_{variable}", value)
    assert main(["doctor", "--json"]) == 1
    shown = capsys.readouterr()
    report = json.loads(shown.out)
    assert report["healthy"] is False
    by_name = {finding["what"]: finding for finding in report["findings"]}
    assert [f["what"] for f in report["findings"] if f["state"] == "broken"] == [stage]
    assert told in str(by_name[stage])
    assert still_tried <= by_name.keys()
    assert ("ears" in by_name) == ("ears" in still_tried)


@pytest.mark.parametrize("command", [["start"], ["talk", "in.wav"], ["demo", "--once"]])
def test_a_wrong_model_path_is_an_error_at_the_start_and_not_the_toy_model(
    command: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AGENT_WORKER_LLM", "offline")
    monkeypatch.setenv("AGENT_WORKER_STT_MODEL", str(tmp_path / "no-such-model"))
    for name, value in KEYS.items():
        monkeypatch.setenv(name.upper(), value)
    write_wav(tmp_path / "in.wav", np.zeros(1600), 16_000)
    assert main(command) == 1
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith(f"agent-worker {command[0]}: hearing: stt_model: Whisper model folder")


def test_each_extra_is_told_with_what_it_brings_and_how_to_get_it() -> None:
    ours = importlib.metadata.metadata("livekit-agent-worker").get_all("Provides-Extra") or []
    assert set(ours) <= WHAT_FOR.keys(), "each in words"
    found = extras_finding(["espeak"], ["piper"])
    assert (found.state, found.text) == ("ok", "installed: espeak")
    assert found.details == ("not installed: piper: natural voices (GPL-3.0)",)
    assert "livekit-agent-worker[NAME]" in found.advice
    assert extras_finding(["espeak"], []).advice == ""
    lines = ['piper-tts<2,>=1.8; extra == "piper"', "onnx>=1.17; extra == 'piper'", "httpx>=0.28"]
    assert packages_of("piper", lines) == ["piper-tts", "onnx"]


def test_another_project_with_a_package_of_our_name_is_found() -> None:
    assert owner_findings({"flows": {"livekit-agent-worker"}}) == []
    (found,) = owner_findings({"flows": {"livekit-agent-worker", "flows-of-others"}})
    assert found.state == "broken"
    assert "flows-of-others" in found.text
    assert [f.what for f in look_at_installation()] == ["extras"]
