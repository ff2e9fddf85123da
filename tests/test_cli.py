from __future__ import annotations

import logging
import re
from pathlib import Path

import numpy as np
import pytest

from agent_worker.__main__ import LIVEKIT_COMMANDS, main
from agent_worker.commands.quiet_logs import tells_of_trouble
from agent_worker.telemetry.waterfall import COLUMNS, stages_text, waterfall_svg, waterfall_text
from tests.test_simulate import write_wav


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        main(["--help"])
    assert raised.value.code == 0
    shown = capsys.readouterr().out
    for command in ("demo", "talk", "web", "doctor", "download-files", *LIVEKIT_COMMANDS):
        assert command in shown


def test_a_bad_setting_is_one_line_and_status_2(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AGENT_WORKER_MAX_SESSIONS", "many")
    assert main(["doctor"]) == 2
    shown = capsys.readouterr()
    assert shown.err.startswith("max_sessions: must be a whole number")
    assert shown.err.count("\n") == 1


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        main(["--version"])
    assert raised.value.code == 0
    assert re.fullmatch(r"agent-worker \d+\.\d+\.\d+\n", capsys.readouterr().out)


def test_where_no_setting_was_changed_that_is_said(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for asked in ([], ["tts"]):
        assert main(["settings", *asked, "--changed"]) == 0
        shown = capsys.readouterr()
        assert shown.out == ""
        assert "have their defaults" in shown.err
    assert main(["settings", "nothing-of-the-kind"]) == 1


def test_a_terminal_shows_what_is_amiss_and_not_what_livekit_warns_of_in_any_call() -> None:
    def shown(message: str, name: str = "livekit.agents", level: int = logging.WARNING) -> bool:
        return tells_of_trouble(logging.LogRecord(name, level, "", 0, message, (), None))

    assert not shown("skipping user input, speech scheduling is paused")
    assert not shown("preemptive generation invalidated after `on_user_turn_completed` because …")
    assert shown("a voice hangs")
    assert shown("skipping user input, speech scheduling is paused", level=logging.ERROR)
    assert shown("skipping user input, speech scheduling is paused", name="mine")


def test_settings_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["settings"]) == 0
    assert "greeting" in capsys.readouterr().out


def test_doctor_says_what_was_chosen_and_why(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AGENT_WORKER_LLM", "offline")
    assert main(["doctor"]) == 0
    shown = capsys.readouterr().out
    for stage in ("program", "server", "hearing", "thinking", "speaking"):
        assert stage in shown
    assert "chosen because" in shown


def test_doctor_fails_when_the_worker_could_not_run(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AGENT_WORKER_LLM", "remote")
    assert main(["doctor"]) == 1
    assert "llm=remote needs flow_url" in capsys.readouterr().out


def test_talk_says_that_there_is_no_such_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["talk", "missing.wav"]) == 1
    assert capsys.readouterr().err == "agent-worker talk: missing.wav: no such file\n"


def test_the_page_without_keys_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["web"]) == 1
    assert "LIVEKIT_API_KEY" in capsys.readouterr().err


def test_the_waterfall_has_a_row_for_each_turn_and_the_percentiles() -> None:
    rows = [(f"turn {n}", dict.fromkeys(COLUMNS, float(n))) for n in range(1, 21)]
    lines = waterfall_text(rows).splitlines()
    assert len([line for line in lines if line.startswith("turn")]) == 20
    assert next(line for line in lines if line.startswith("p50")).split()[1:] == ["10"] * len(
        COLUMNS
    )
    assert next(line for line in lines if line.startswith("p95")).split()[1:] == ["19"] * len(
        COLUMNS
    )
    assert waterfall_svg(rows).count("<text") > 20


def test_a_turns_stages_are_told_in_the_order_of_time() -> None:
    stages = {"preflight": 70.0, "final": 140.0, "committed": 160.0, "first_token": 90.4}
    told = stages_text({**stages, "first_audio_received": 160.0})
    assert told == (
        "preflight 70 → first_token 90 → final 140 → committed 160 → first_audio_received 160 ms"
    )


def test_the_columns_of_the_table_stand_in_the_order_of_time_too() -> None:
    rows = [
        ("hello", {"preflight": 70.0, "final": 140.0, "first_token": 90.0}),
        ("stop", {"preflight": 60.0, "final": 150.0, "first_token": 160.0}),
        ("bye", {"preflight": 80.0, "final": 145.0, "first_token": 95.0}),
    ]
    head, _, hello, *_ = waterfall_text(rows).splitlines()
    assert head.split()[-len(COLUMNS) :][:4] == ["preflight", "first_token", "committed", "final"]
    assert hello.split()[:5] == ["hello", "70", "90", "-", "140"]


def test_a_stage_that_was_not_measured_is_left_open() -> None:
    text = waterfall_text([("hello", {"final": 12.0})])
    row = next(line for line in text.splitlines() if line.startswith("hello")).split()[1:]
    assert row == ["12" if column == "final" else "-" for column in COLUMNS]


@pytest.mark.parametrize("command", [["talk", "in.wav"], ["start"]])
def test_an_engine_that_cannot_be_built_is_one_clear_line(
    command: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AGENT_WORKER_LLM", "offline")
    monkeypatch.setenv("AGENT_WORKER_TTS", "piper")
    monkeypatch.setenv("AGENT_WORKER_TTS_VOICE", "no-such-voice.onnx")
    # the keys are asked for first; a server that is away is no error
    monkeypatch.setenv("LIVEKIT_URL", "ws://127.0.0.1:1")
    monkeypatch.setenv("LIVEKIT_API_KEY", "key")
    monkeypatch.setenv("LIVEKIT_API_SECRET", "s" * 32)
    write_wav(Path("in.wav"), np.zeros(1600), 16_000)
    assert main(command) == 1
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith(f"agent-worker {command[0]}: speaking: Piper voice")
    assert "not found" in last
