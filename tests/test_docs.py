"""What the documents show is tried: settings load, commands exist, messages are understood."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from agent_worker.__main__ import main
from agent_worker.gateway.protocol import AudioFormat, Connection, Send
from agent_worker.settings import Settings, load_settings

ROOT = Path(__file__).parents[1]
DOCS = sorted((ROOT / "docs").glob("*.md"))
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(language: str) -> list[object]:
    return [
        pytest.param(text, id=f"{doc.stem}-{n}")
        for doc in DOCS
        for n, (found, text) in enumerate(BLOCK.findall(doc.read_text()))
        if found == language
    ]


def test_there_are_documents_and_only_languages_that_are_tried() -> None:
    assert len(DOCS) >= 8
    used = {language for doc in DOCS for language, _ in BLOCK.findall(doc.read_text())}
    # tsx is rendered in a browser by test_react_hooks.py
    assert used <= {"bash", "toml", "json", "tsx"}


@pytest.mark.parametrize("text", blocks("toml"))
def test_shown_settings_load(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "agent-worker.toml").write_text(text)
    monkeypatch.chdir(tmp_path)
    assert isinstance(load_settings(), Settings)


@pytest.mark.parametrize("text", blocks("bash"))
def test_shown_commands_are_shell_and_exist(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    shell = shutil.which("bash") or "sh"
    check = subprocess.run([shell, "-n"], input=text, text=True, capture_output=True, timeout=10)
    assert check.returncode == 0, check.stderr
    for command in re.findall(r"agent-worker ([a-z-]+)", text):
        try:
            status: object = main([command, "--help"])
        except SystemExit as end:
            status = end.code
        assert status in (0, None), command
        assert capsys.readouterr().out
    for profile in re.findall(r"profiles/\w+\.toml", text):
        assert (ROOT / profile).is_file()


@pytest.mark.parametrize("text", blocks("json"))
def test_shown_messages_are_understood(text: str) -> None:
    message = json.loads(text)
    if "type" not in message:
        return
    connection = Connection()
    if not message["type"].startswith("session_"):
        connection.receive_text('{"type": "session_start", "session_id": "s"}')
        connection.opened(AudioFormat())
    assert not any(isinstance(action, Send) for action in connection.receive_text(text))


@pytest.mark.parametrize("doc", DOCS, ids=lambda doc: doc.stem)
def test_named_settings_and_linked_files_exist(doc: Path) -> None:
    text = doc.read_text()
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", text):
        assert (doc.parent / target).exists(), target
    for name in re.findall(r"`([a-z]+_[a-z_]+)`", text):
        known = name in Settings.model_fields or name in PROTOCOL or name.startswith("secrets/")
        assert known, name


PROTOCOL = {"audio_chunk", "session_id", "audio_end", "audio_overflow"}
