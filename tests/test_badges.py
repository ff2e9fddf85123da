"""What callers are told about the engines that serve them."""

from __future__ import annotations

import json

from agent_worker.engines.badges import Badge, as_json, badges, on_their_way
from agent_worker.engines.choice import choose
from agent_worker.engines.chosen import Choices
from agent_worker.engines.inventory import Found
from agent_worker.settings import load_settings
from tests.voices_at_hand import ESPEAK, piper


def chosen(found: Found, **settings: object) -> Choices:
    return choose(load_settings(**settings), found)


def test_where_the_bundled_model_listens_the_caller_is_told_with_the_command() -> None:
    hearing, thinking, voice = badges(chosen(Found(voices=ESPEAK)))
    assert hearing.toy and "small vocabulary" in hearing.note
    assert hearing.command == "agent-worker download-files"
    assert (thinking.stage, thinking.name) == ("thinking", "Rules, no model")
    assert (voice.stage, voice.name) == ("voice", "eSpeak NG")
    assert not thinking.toy and not voice.toy


def test_real_engines_are_named_by_model_and_are_no_toys() -> None:
    found = Found(
        whisper_models=("Systran/faster-whisper-base",),
        voices=piper({"en_US-joe-medium": "en"}),
        llm_endpoint="http://10.0.0.7:8000/v1",
        llm_models=("Qwen/Qwen3-4B",),
    )
    shown = badges(chosen(found))
    assert [badge.name for badge in shown] == ["Whisper base", "Qwen3-4B", "Piper en_US-joe-medium"]
    assert not any(badge.toy for badge in shown)


def test_neither_addresses_nor_folders_are_told() -> None:
    secret = {
        "stt_model": "/home/ann/models/faster-whisper-small",
        "llm": "remote",
        "flow_url": "http://10.0.0.7:9000",
        "tts": "speech-api",
        "tts_url": "http://10.0.0.8:8000/v1",
    }
    told = as_json(badges(chosen(Found(), **secret)))
    assert "10.0.0" not in told and "/home" not in told
    assert [one["stage"] for one in json.loads(told)] == ["hearing", "thinking", "voice"]
    assert json.loads(told)[0]["name"] == "Whisper small"


def test_a_long_name_is_cut() -> None:
    found = Found(whisper_models=("x" * 200,), voices=ESPEAK)
    first: Badge = badges(chosen(found))[0]
    assert len(first.name) <= 48 and first.name.endswith("…")


def test_while_real_models_come_there_is_nothing_to_do_about_the_toy() -> None:
    shown = badges(chosen(Found(voices=ESPEAK)))
    hearing, *others = on_their_way(shown)
    assert hearing.toy and hearing.command == ""
    assert hearing.note.endswith("a call that begins once they are here has them.")
    assert others == list(shown[1:])
