"""The main job as a user starts it, on a machine without any network."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import httpx
import numpy as np
import pytest

from agent_worker.commands.demo_conversation import CONVERSATION, INTERRUPTION
from agent_worker.commands.livekit_server import RunningServer

pytestmark = pytest.mark.timeout(240)

# WebRTC's clients leave loopback out when they look for networks: a pair of interfaces that leads
# nowhere gives them one
_LEADS_NOWHERE = """
ip link set lo up
ip link add here type veth peer name nowhere
ip addr add 192.0.2.1/32 dev here
ip link set here up
ip link set nowhere up
exec "$@"
"""


def without_network(*command: str) -> list[str]:
    """The command in a network namespace from which nothing but itself can be reached."""
    user = [] if os.geteuid() == 0 else ["--map-root-user"]
    return ["unshare", "--net", *user, "sh", "-ec", _LEADS_NOWHERE, "sh", *command]


@pytest.fixture(scope="module")
def demo(livekit_server: RunningServer, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The result of one `demo --once --json`. The server's program is there already."""
    folder = tmp_path_factory.mktemp("demo")
    command = [sys.executable, "-m", "agent_worker", "demo", "--once", "--json"]
    done = subprocess.run(
        without_network(*command, "--folder", str(folder)),
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 1, "stdout carries one JSON object and nothing else"
    result: dict[str, Any] = json.loads(done.stdout)
    result["stderr"] = done.stderr
    return result


def _words(text: str) -> str:
    return " ".join(re.findall(r"[a-z']+", text.lower()))


def test_every_turn_is_heard_right(demo: dict[str, Any]) -> None:
    said = [turn["said"] for turn in demo["turns"]]
    assert set(said) == {*CONVERSATION, INTERRUPTION}
    for turn in demo["turns"]:
        assert _words(turn["heard"]) == turn["said"]


def test_every_turn_is_answered_by_the_tools(demo: dict[str, Any]) -> None:
    answers = {turn["said"]: turn["answered"] for turn in demo["turns"]}
    assert all(answers.values())
    assert "five" in answers["what is two plus three"].lower()
    assert "alice" in answers["what is my name"].lower()
    assert "oodbye" in answers["goodbye"]


def test_the_waterfall_is_in_order_and_measured_at_the_caller(demo: dict[str, Any]) -> None:
    for turn in demo["turns"]:
        stages = turn["waterfall_ms"]
        answering = ["first_token", "first_phrase", "first_audio_sent", "first_audio_received"]
        values = [stages[name] for name in answering]
        assert values == sorted(values)
        assert 0 < stages["final"] <= stages["first_audio_sent"]
        assert turn["end_to_end_ms"] == stages["first_audio_received"]
    assert 0 < demo["end_to_end_ms"]["p50"] <= demo["end_to_end_ms"]["p95"]


def test_the_agent_falls_silent_when_spoken_over(demo: dict[str, Any]) -> None:
    cut = next(t for t in demo["turns"] if t["said"] == "tell me a story")
    assert demo["barge_in"]["silent_after_ms"] > 0
    # the whole story takes more than ten seconds, about forty words
    assert 0 < len(cut["answered"].split()) < 20


def test_both_sides_are_recorded_with_a_voice_in_each(demo: dict[str, Any]) -> None:
    for name in ("caller.wav", "agent.wav"):
        with wave.open(str(Path(demo["folder"]) / name)) as file:
            samples = np.frombuffer(file.readframes(file.getnframes()), np.int16)
            seconds = len(samples) / file.getframerate()
        assert seconds > 20
        windows = samples[: len(samples) // 480 * 480].reshape(-1, 480).astype(float)
        voiced_s = 0.02 * np.count_nonzero(np.sqrt((windows**2).mean(1)) > 200)
        assert voiced_s > 3, name


def test_the_folder_holds_transcript_timings_and_a_picture(demo: dict[str, Any]) -> None:
    folder = Path(demo["folder"])
    transcript = json.loads((folder / "transcript.json").read_text())
    assert [t["said"] for t in transcript] == [t["said"] for t in demo["turns"]]
    assert json.loads((folder / "timings.json").read_text())["barge_in"] == demo["barge_in"]
    svg = ElementTree.parse(folder / "waterfall.svg").getroot()
    assert svg.tag.endswith("svg")
    assert "what time is it" in "".join(svg.itertext())


def test_the_engines_are_named_with_reason_and_advice(demo: dict[str, Any]) -> None:
    assert set(demo["engines"]) == {"stt", "llm", "tts"}
    assert "bundled" in demo["engines"]["stt"]
    assert "hears wrong words" in demo["stderr"]
    assert "download-files" in demo["stderr"]


def test_nothing_private_is_in_the_log(demo: dict[str, Any]) -> None:
    log = (Path(demo["folder"]) / "worker.log").read_text().lower()
    assert "registered worker" in log
    for private in ("alice", "plus three", "lighthouse", "local-development-secret"):
        assert private not in log


def _processes_of(marker: str) -> set[int]:
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if marker.encode() in (entry / "environ").read_bytes():
                    found.add(int(entry.name))
    return found


@pytest.fixture
def demo_that_stays(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    marker = f"DEMO_TEST_MARKER={time.monotonic_ns()}"
    name, _, value = marker.partition("=")
    process = subprocess.Popen(
        [sys.executable, "-m", "agent_worker", "demo", "--folder", str(tmp_path)],
        env={**os.environ, name: value},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    yield process, marker
    process.kill()
    process.wait()
    assert process.stdout is not None
    process.stdout.close()


def _read_until(process: subprocess.Popen[str], moment: str) -> list[str]:
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if moment in line:
            return lines
    return pytest.fail(f"the demo never came to {moment!r}: {''.join(lines)}")


def test_the_demo_stays_up_and_serves_its_page(
    demo_that_stays: tuple[subprocess.Popen[str], str], livekit_server: RunningServer
) -> None:
    process, marker = demo_that_stays
    lines = _read_until(process, "Ctrl-C ends it")
    text = "".join(lines)
    found = re.search(r"in a browser: (http://127\.0\.0\.1:\d+)", text)
    assert found is not None
    address = found[1]
    assert "text/html" in httpx.get(address).headers["content-type"]
    answer = httpx.post(f"{address}/api/token", json={})
    assert answer.status_code == 201
    assert answer.json()["server_url"].startswith("ws://127.0.0.1:")
    assert "lk room join" in text
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 130
    assert not _processes_of(marker)
    with pytest.raises(httpx.ConnectError):
        httpx.get(address)


@pytest.mark.parametrize("moment", ["Starting the worker", "Rendering"])
def test_ctrl_c_at_any_time_leaves_no_process_behind(
    demo_that_stays: tuple[subprocess.Popen[str], str], moment: str, livekit_server: RunningServer
) -> None:
    process, marker = demo_that_stays
    _read_until(process, moment)
    assert process.stdout is not None
    assert len(_processes_of(marker)) > 1
    process.send_signal(signal.SIGINT)
    rest = process.stdout.read()
    assert process.wait(30) == 130, rest
    assert "Traceback" not in rest
    assert not _processes_of(marker)
