"""The main job as a user starts it, on a machine without any network."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import time
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from agent_worker.demo import CONVERSATION, INTERRUPTION
from agent_worker.livekit_server import RunningServer

pytestmark = pytest.mark.timeout(240)

_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1


def bring_loopback_up() -> None:
    """In a fresh network namespace even loopback is down."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        request = struct.pack("16sh22x", b"lo", 0)
        (flags,) = struct.unpack_from("h", fcntl.ioctl(s, _SIOCGIFFLAGS, request), 16)
        fcntl.ioctl(s, _SIOCSIFFLAGS, struct.pack("16sh22x", b"lo", flags | _IFF_UP))


def without_network(*command: str) -> list[str]:
    """The command in a network namespace that has nothing but loopback."""
    up = "from tests.integration.test_demo import bring_loopback_up as up; up()"
    script = f'import os, sys; {up}; os.execvp(sys.argv[1], sys.argv[1:])'
    user = [] if os.geteuid() == 0 else ["--map-root-user"]
    return ["unshare", "--net", *user, sys.executable, "-c", script, *command]


@pytest.fixture(scope="module")
def demo(
    livekit_server: RunningServer, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
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


@pytest.mark.parametrize("moment", ["Starting the worker", "Rendering", "heard:"])
def test_ctrl_c_at_any_time_leaves_no_process_behind(
    demo_that_stays: tuple[subprocess.Popen[str], str], moment: str, livekit_server: RunningServer
) -> None:
    process, marker = demo_that_stays
    assert process.stdout is not None
    for line in process.stdout:
        if moment in line:
            break
    else:
        pytest.fail(f"the demo never came to {moment!r}")
    assert len(_processes_of(marker)) > 1
    process.send_signal(signal.SIGINT)
    rest = process.stdout.read()
    assert process.wait(30) == 130, rest
    assert "Traceback" not in rest
    assert not _processes_of(marker)
