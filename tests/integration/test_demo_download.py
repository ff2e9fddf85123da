"""The demo on a terminal, with a mirror of the hub: it asks once, and uses what came at once."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pty
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from agent_worker.caller.client import SimulatedCaller
from agent_worker.commands.livekit_server import RunningServer
from agent_worker.settings import load_settings
from livekit.plugins.faster_whisper.models import BUNDLED_DIR
from tests import tiny_piper
from tests.fake_model_hub import ModelHub

VOICE = "en_US-ljspeech-medium"
SIZES = ("tiny", "base", "small", "medium", "large-v3")


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[ModelHub]:
    """The bundled Whisper under the name of every size, and a tiny voice."""
    voice = tiny_piper.build(tmp_path / "made" / f"{VOICE}.onnx")
    place = f"rhasspy/piper-voices/en/en_US/ljspeech/medium/{VOICE}.onnx"
    files = {place: voice.read_bytes(), f"{place}.json": Path(f"{voice}.json").read_bytes()}
    for name in ("config.json", "tokenizer.json", "model.bin", "vocabulary.json"):
        if (BUNDLED_DIR / name).is_file():
            content = (BUNDLED_DIR / name).read_bytes()
            files |= {f"Systran/faster-whisper-{size}/{name}": content for size in SIZES}
            files[f"mobiuslabsgmbh/faster-whisper-large-v3-turbo/{name}"] = content
    served = ModelHub(files)
    yield served
    served.close()


class Terminal:
    """A program on a terminal of its own."""

    def __init__(self, command: list[str], environment: dict[str, str]) -> None:
        self._master, slave = pty.openpty()
        self.process = subprocess.Popen(
            command, stdin=slave, stdout=slave, stderr=slave, env=environment, process_group=0
        )
        os.close(slave)
        self.text = ""
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        # At the end of the program a terminal gives an error.
        with contextlib.suppress(OSError):
            while data := os.read(self._master, 4096):
                with self._changed:
                    self.text += data.decode(errors="replace")
                    self._changed.notify_all()

    def until(self, pattern: str, *, timeout_s: float = 120) -> re.Match[str]:
        with self._changed:
            self._changed.wait_for(lambda: re.search(pattern, self.text), timeout_s)
        found = re.search(pattern, self.text)
        assert found is not None, f"never came to {pattern!r}: {self.text[-3000:]}"
        return found

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self._thread.join(5)
        os.close(self._master)


def own_cache(folder: Path) -> Path:
    """This machine's cache, but for what was downloaded: the LiveKit server is needed."""
    folder.mkdir()
    for entry in load_settings().cache_dir.iterdir():
        if entry.name not in ("voices", "downloads"):
            (folder / entry.name).symlink_to(entry)
    return folder


@pytest.fixture
def terminal(tmp_path: Path, mirror: ModelHub, livekit_server: RunningServer) -> Iterator[Terminal]:
    environment = {
        **os.environ,
        "HF_ENDPOINT": mirror.url,
        "HF_HOME": str(tmp_path / "hf"),
        "AGENT_WORKER_CACHE_DIR": str(own_cache(tmp_path / "cache")),
        "AGENT_WORKER_LLM": "offline",
        "AGENT_WORKER_CALL_PROCESSES": "1",
    }
    command = [sys.executable, "-m", "agent_worker", "demo", "--folder", str(tmp_path / "demo")]
    started = Terminal(command, environment)
    yield started
    started.close()


@pytest.mark.timeout(300)
async def test_real_models_come_beside_the_conversation_and_serve_the_next_call(
    terminal: Terminal, mirror: ModelHub, tmp_path: Path
) -> None:
    # the network breaks in the middle of Whisper
    mirror.cut_after = [100_000]
    mirror.gate.clear()
    asked = await wait_for(terminal, r"Download real models .*\? \[Y/n\] ")
    assert f"Piper {VOICE}" in asked[0] and "Whisper" in asked[0]
    terminal.type("\n")
    # The models wait at the gate: the conversation is held with what is here, above the bar.
    page = (await wait_for(terminal, r"in a browser: (http://127\.0\.0\.1:\d+)"))[1]
    await wait_for(terminal, "Next: talk; real models are on their way.*Ctrl-C ends it")
    assert "bundled" in terminal.text and "MB" in terminal.text
    before = (await asyncio.to_thread(httpx.get, f"{page}/api/config")).json()
    mirror.gate.set()
    await wait_for(terminal, "New calls are served by them")
    after = (await asyncio.to_thread(httpx.get, f"{page}/api/config")).json()
    assert mirror.ranges("model.bin") == [None, "bytes=100000-"]
    # advice on how to get what is on its way would be noise
    assert "for open speech" not in terminal.text[: terminal.text.index("Download real models")]
    toy, heard = before["engines"][0], after["engines"][0]
    assert toy["toy"] and toy["command"] == "" and "on their way" in toy["note"]
    assert not heard["toy"]
    token = (await asyncio.to_thread(httpx.post, f"{page}/api/token", json={})).json()
    async with SimulatedCaller(token["server_url"], token["participant_token"]) as caller:
        await caller.audible_after(0.0, timeout_s=60)
    log = (tmp_path / "demo" / "worker-real.log").read_text()
    assert f"speaking: piper ({VOICE})" in log
    assert "received job request" in log
    os.killpg(terminal.process.pid, signal.SIGINT)
    assert await asyncio.to_thread(terminal.process.wait, 60) == 130


async def wait_for(terminal: Terminal, pattern: str) -> re.Match[str]:
    return await asyncio.to_thread(terminal.until, f"(?s){pattern}")
