from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest
from pydantic import ValidationError

from agent_worker.commands.settings_list import as_json, as_text, choose_rows
from agent_worker.settings import (
    Settings,
    SettingsError,
    explain_settings,
    export_environment,
    load_settings,
)


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_defaults_need_nothing() -> None:
    settings = load_settings()
    assert settings.livekit_url == "ws://127.0.0.1:7880"
    assert settings.health_host == "127.0.0.1"


def test_environment_wins_over_the_file_and_arguments_over_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "agent-worker.toml").write_text('agent_name = "file"\nlanguage = "de"\n')
    monkeypatch.setenv("AGENT_WORKER_AGENT_NAME", "environment")
    assert load_settings().agent_name == "environment"
    assert load_settings().language == "de"
    assert load_settings(agent_name="argument").agent_name == "argument"


def test_livekit_variables_have_their_usual_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIVEKIT_URL", "wss://example.test")
    monkeypatch.setenv("LIVEKIT_API_KEY", "key")
    assert load_settings().livekit_url == "wss://example.test"
    assert load_settings().livekit_api_key == "key"


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("max_sessions", 0, "max_sessions: must be a whole number from 1 to 1000 (got 0)"),
        ("call_processes", "many", "call_processes: must be auto, or a whole number from 1 to 256"),
        ("llm_discovery", "maybe", "llm_discovery: must be true or false (got 'maybe')"),
        ("session_timeout_s", 0, "session_timeout_s: must be a number over 0 (got 0)"),
        ("database_url", "", "database_url: must be text, not empty"),
        ("mcp_servers", [{"name": "x", "command": 5}], "mcp_servers: command is bad"),
        ("mcp_servers", [{"nam": "x", "url": "u"}], "mcp_servers: "),
        ("livekit_url", "localhost", "livekit_url: must start with ws:// or wss://"),
        ("llm_url", "localhost:8000", "llm_url: must start with http:// or https://"),
        (
            "tts",
            "piiper",
            "tts: must be auto, piper, kokoro, espeak, xtts, speech-api or higgs; did you mean "
            "piper?",
        ),
        ("language", "English", "language: must be a language tag, such as en,"),
        ("allowed_origins", ["*"], "allowed_origins: '*' is no origin; write scheme://host"),
        ("allowed_origins", "http://a/b", "allowed_origins: 'http://a/b' is no origin"),
        ("max_session", 3, "max_session: unknown setting; did you mean max_sessions?"),
    ],
)
def test_a_bad_value_is_one_clear_line(key: str, value: object, message: str) -> None:
    with pytest.raises(SettingsError) as raised:
        load_settings(**{key: value})
    assert str(raised.value).startswith(message)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "value",
    ["http://localhost:3000, tauri://localhost/", '["http://localhost:3000", "tauri://localhost"]'],
)
def test_origins_are_separated_by_commas_in_the_environment(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AGENT_WORKER_ALLOWED_ORIGINS", value)
    assert load_settings().allowed_origins == ("http://localhost:3000", "tauri://localhost")
    monkeypatch.setenv("AGENT_WORKER_ALLOWED_ORIGINS", "")
    assert load_settings().allowed_origins == ()


def test_an_unknown_variable_of_ours_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENT_WORKER_TTS_VOIC", "x")
    with pytest.raises(SettingsError, match=r"AGENT_WORKER_TTS_VOIC: .*did you mean tts_voice"):
        load_settings()


def test_a_broken_file_is_named_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "agent-worker.toml").write_text("greeting = \n")
    with pytest.raises(SettingsError, match=r"agent-worker\.toml: not valid TOML: .*line 1"):
        load_settings()


def test_a_named_file_that_is_missing_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENT_WORKER_CONFIG", "missing.toml")
    with pytest.raises(SettingsError, match=r"missing\.toml: no such file"):
        load_settings()


def test_a_secret_does_not_come_back_in_an_error_or_in_print() -> None:
    with pytest.raises(SettingsError) as raised:
        load_settings(livekit_api_secret=12345)
    assert "12345" not in str(raised.value)
    assert "swordfish" not in repr(load_settings(llm_api_key="swordfish"))


def test_settings_are_frozen() -> None:
    settings = load_settings()
    with pytest.raises(ValidationError):
        settings.agent_name = "other"


def test_exported_environment_reads_back_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load_settings(
        greeting="",
        keyterms=("LiveKit", 'say "hi"'),
        livekit_api_secret="s" * 32,
        llm_discovery=False,
        tts_reference=Path("voice.wav"),
    )
    # of the parent: a demo's own server must not lose against it
    monkeypatch.setenv("AGENT_WORKER_LIVEKIT_URL", "ws://elsewhere.example")
    for name, value in export_environment(settings, inherit=True).items():
        monkeypatch.setenv(name, value)
    assert load_settings() == settings


@pytest.mark.parametrize("both", [False, True])
def test_livekits_variables_work_under_our_prefix_too_and_that_one_wins(
    both: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if both:
        monkeypatch.setenv("LIVEKIT_API_KEY", "theirs")
    monkeypatch.setenv("AGENT_WORKER_LIVEKIT_API_KEY", "ours")
    assert load_settings().livekit_api_key == "ours"
    assert load_settings(livekit_api_key="argument").livekit_api_key == "argument"


def test_no_sentence_of_pydantic_reaches_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.setenv(f"AGENT_WORKER_{name.upper()}", "[5")
    with pytest.raises(SettingsError) as raised:
        load_settings()
    said = str(raised.value)
    assert said.startswith("keyterms: must be JSON in the environment, such as [")
    for name in ("KEYTERMS", "TTS_SPEAKERS", "MCP_SERVERS", "CALLER_MAY_CHOOSE"):
        monkeypatch.delenv(f"AGENT_WORKER_{name}")
    with pytest.raises(SettingsError) as raised:
        load_settings()
    lines = str(raised.value).splitlines()
    assert len(lines) > 30
    for line in lines:
        assert "nput should" not in line
        assert "valid" not in line
        assert "(from AGENT_WORKER_" in line or ", from AGENT_WORKER_" in line


def test_tables_in_the_file_get_one_hint_with_the_lines_to_write(tmp_path: Path) -> None:
    file = tmp_path / "agent-worker.toml"
    file.write_text('[stt]\nmodel = "base"\n[tts]\nvoice = "x"\n[other]\nkey = 1\n')
    with pytest.raises(SettingsError) as raised:
        load_settings()
    said = str(raised.value)
    assert "\n" not in said
    assert "in place of [stt], [tts], [other]" in said
    assert "stt_model = …, tts_voice = …" in said
    file.write_text("[other]\nkey = 1\n")
    with pytest.raises(SettingsError, match=r"none belongs to \[other\]; `agent-worker settings`"):
        load_settings()
    file.write_text('[tts_speakers]\nSPEAKER0 = "a calm man"\n')
    assert load_settings().tts_speakers == {"SPEAKER0": "a calm man"}


def test_each_setting_tells_its_value_its_source_and_what_it_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "agent-worker.toml").write_text('language = "de"\nstt_model = "base"\n')
    monkeypatch.setenv("AGENT_WORKER_STT_MODEL", "small")
    monkeypatch.setenv("LIVEKIT_API_SECRET", "swordfish" * 4)
    monkeypatch.setenv("AGENT_WORKER_DATABASE_URL", "postgresql://me:swordfish@host/calls")
    monkeypatch.setenv("AGENT_WORKER_WEATHER_URL", "http://w/?q={query}&appid=swordfish")
    monkeypatch.setenv(
        "AGENT_WORKER_MCP_SERVERS",
        '[{"name": "f", "command": ["program"], "env": {"TOKEN": "swordfish"}}]',
    )
    rows = {row.name: row for row in explain_settings(load_settings())}
    assert (rows["language"].value, rows["language"].source) == ('"de"', "agent-worker.toml")
    assert (rows["stt_model"].value, rows["stt_model"].source) == (
        '"small"',
        "AGENT_WORKER_STT_MODEL",
    )
    assert (rows["tts"].source, rows["tts"].allowed.split(",")[0]) == ("default", "auto")
    assert rows["livekit_api_secret"].value == "(hidden)"
    assert rows["livekit_api_secret"].source == "LIVEKIT_API_SECRET"
    assert rows["tts_api_key"].value == "(unset)"
    assert rows["max_sessions"].allowed == "a whole number from 1 to 1000"
    assert "swordfish" not in str(rows.values())
    assert '"postgresql://me:…@host/calls"' in rows["database_url"].value
    assert [row["value"] for row in as_json([rows["max_sessions"]])] == [10]
    assert as_text([rows["stt_model"]], width=80).startswith(
        'stt_model = "small"  (from AGENT_WORKER_STT_MODEL)'
    )
    changed = choose_rows(list(rows.values()), "stt", changed=True)
    assert [row.name for row in changed] == ["stt_model"]


def test_every_setting_has_a_description_and_a_unit_where_it_has_one() -> None:
    rows = explain_settings(load_settings())
    assert {row.name for row in rows} == set(Settings.model_fields)
    for row in rows:
        assert row.description, row.name
        assert row.allowed, row.name
        if row.name.endswith("_s"):
            assert "econds" in row.description, row.name


def _may_be_unset(name: str) -> bool:
    kind = Settings.model_fields[name].annotation
    means_something = name.startswith("words_") or name == "kokoro_url"
    return type(None) in get_args(kind) and not means_something


@pytest.mark.parametrize("name", sorted(filter(_may_be_unset, Settings.model_fields)))
def test_an_empty_variable_of_whichever_group_is_an_unset_one(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Checks of two groups that bear one name would replace each other without a word.
    monkeypatch.setenv(f"AGENT_WORKER_{name.upper()}", "")
    assert getattr(load_settings(), name) is None
