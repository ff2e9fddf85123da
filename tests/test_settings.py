from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from agent_worker.settings import (
    Settings,
    SettingsError,
    describe_settings,
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
        ("max_sessions", 0, "max_sessions: Input should be greater than or equal to 1 (got 0)"),
        ("livekit_url", "localhost", "livekit_url: must start with ws:// or wss://"),
        ("llm_url", "localhost:8000", "llm_url: must start with http:// or https://"),
        ("tts", "piiper", "tts: Input should be 'auto', 'piper'"),
        ("language", "English", "language: String should match pattern"),
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
    for name, value in export_environment(settings).items():
        monkeypatch.setenv(name, value)
    assert load_settings() == settings


def test_every_setting_has_a_description_and_a_unit_where_it_has_one() -> None:
    rows = describe_settings()
    assert {name for name, _, _ in rows} == set(Settings.model_fields)
    for name, _, description in rows:
        assert description, name
        if name.endswith("_s"):
            assert "econds" in description, name
