"""What the documents show is tried: settings load, commands exist, messages are understood."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from prometheus_client import REGISTRY, CollectorRegistry

from agent_worker.__main__ import main
from agent_worker.gateway.protocol import AudioFormat, Connection, Send
from agent_worker.settings import Settings, load_settings
from agent_worker.telemetry.latency import STAGES, TurnRecord
from agent_worker.telemetry.metrics import Metrics

ROOT = Path(__file__).parents[1]
DOCS = sorted((ROOT / "docs").glob("*.md"))
KOKORO_VOICE = re.compile(r"[a-z][fm]_[a-z]+")
"""Its voices' names: the language, a woman's or a man's voice, and a name."""
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
    assert used <= {"bash", "toml", "json", "tsx", "yaml"}


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
    if "turn" in message:
        record = TurnRecord(message["turn"], message["speech_ended_at"], message["at"])
        assert message["stages_ms"] == pytest.approx(record.stages_ms)
        assert message.keys() == record.to_dict().keys()
    if "type" not in message:
        return
    connection = Connection()
    if not message["type"].startswith("session_"):
        connection.receive_text('{"type": "session_start", "session_id": "s"}')
        connection.opened(AudioFormat())
    assert not any(isinstance(action, Send) for action in connection.receive_text(text))


@pytest.mark.parametrize("text", blocks("yaml"))
def test_shown_scrapes_ask_for_the_ports_that_the_settings_beside_them_serve(text: str) -> None:
    jobs = yaml.safe_load(text)["scrape_configs"]
    targets = {
        target for job in jobs for part in job["static_configs"] for target in part["targets"]
    }
    doc = (ROOT / "docs" / "observability.md").read_text()
    ports = re.findall(r"(?:metrics_port ?=|METRICS_PORT=) ?(\d+)", doc)
    assert targets == {f"127.0.0.1:{port}" for port in ports}


@pytest.mark.parametrize("doc", DOCS, ids=lambda doc: doc.stem)
def test_named_settings_and_linked_files_exist(doc: Path) -> None:
    text = doc.read_text()
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", text):
        assert (doc.parent / target).exists(), target
    for name in re.findall(r"`([a-z]+_[a-z_]+)`", text):
        known = name in Settings.model_fields or name in PROTOCOL or name.startswith("secrets/")
        known = known or name in METHODS or name in SERVERS_SETTINGS or name in MODULES
        known = known or KOKORO_VOICE.fullmatch(name) is not None
        assert known or name in TOLD or name in LIVEKITS_FIGURES, name


def test_every_figure_of_a_turn_is_explained() -> None:
    text = (ROOT / "docs" / "observability.md").read_text()
    assert {name for name in TOLD if f"`{name}" not in text} == set()


def figures() -> set[str]:
    registry = CollectorRegistry()
    Metrics(registry)
    families = registry.collect()
    return {f.name + ("_total" if f.type == "counter" else "") for f in families}


METHODS = {"start_turn", "end_turn", "cancel_turn", "end_call"}
"""Of the agent, over RPC; tests/integration calls each of them."""
MODULES = {path.stem for path in (ROOT / "agent_worker").rglob("*.py")}
SERVERS_SETTINGS = set(yaml.safe_load((ROOT / "livekit.yaml").read_text())["room"])
LIVEKITS_FIGURES = {family.name for family in REGISTRY.collect()}
TOLD = {*figures(), *STAGES, *TurnRecord(1, 0.0, {}).to_dict()}
PROTOCOL = {
    name
    for source in (ROOT / "agent_worker" / "gateway").glob("*.py")
    for name in re.findall(r'"([a-z_]+)"', source.read_text())
}
