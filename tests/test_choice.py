from __future__ import annotations

from typing import Any

import pytest

from agent_worker.engines.choice import choose
from agent_worker.engines.inventory import Found, VoicesFound
from agent_worker.engines.language_model import model_server
from agent_worker.settings import load_settings
from tests.voices_at_hand import piper

NOTHING = Found()
BARE = Found(voices=piper())


def test_a_bare_machine_gets_engines_that_work_and_is_told_how_to_get_better_ones() -> None:
    choices = choose(load_settings(), BARE)
    assert [c.engine for c in choices] == ["faster-whisper", "offline", "espeak"]
    assert choices.stt.detail == "bundled"
    assert not choices.problems
    assert all(c.reason and c.better for c in choices)


def test_the_best_that_is_there_is_taken() -> None:
    found = Found(
        whisper_models=("large-v3-turbo", "base"),
        voices=piper({"en_US-lessac-high": "en"}),
        llm_endpoint="http://127.0.0.1:8000/v1",
        llm_models=("Qwen/Qwen3-8B",),
        llm_kind="vllm",
    )
    choices = choose(load_settings(), found)
    assert choices.stt.detail == "large-v3-turbo"
    assert choices.llm.name == "assistant (Qwen/Qwen3-8B at http://127.0.0.1:8000/v1)"
    assert choices.tts.name == "piper (en_US-lessac-high)"


def test_a_models_name_may_hold_anything_and_is_never_read_for_its_address() -> None:
    settings = load_settings(llm_model="model at large", llm_url="http://127.0.0.1:8000/v1")
    choice = choose(settings, BARE).llm
    assert (choice.detail, choice.endpoint) == ("model at large", "http://127.0.0.1:8000/v1")
    options, _ = model_server(settings, choice)
    assert (options.model, options.base_url) == (choice.detail, choice.endpoint)
    remote = choose(load_settings(llm="remote", flow_url="http://127.0.0.1:9/x"), BARE).llm
    assert remote.name == f"remote ({remote.detail} at http://127.0.0.1:9/x)"


def test_settings_win_over_what_was_found() -> None:
    found = Found(whisper_models=("base",), llm_endpoint="http://x/v1", llm_models=("m",))
    choices = choose(load_settings(stt="bundled", llm="offline"), found)
    assert choices.stt.detail == "bundled"
    assert choices.llm.engine == "offline"


@pytest.mark.parametrize(
    ("settings", "found", "problem"),
    [
        ({"tts": "piper"}, NOTHING, r"piper-tts is not installed.*\[piper\]"),
        ({"tts": "piper"}, BARE, "no Piper voice in the cache.*download-files"),
        ({}, NOTHING, r"espeakng-loader is not installed.*\[espeak\]"),
        (
            {"tts": "piper", "tts_voice": "nobody"},
            BARE,
            "'nobody' is not in the cache, which has none",
        ),
        ({"tts_voice": "en_US-nobody-low"}, BARE, "en_US-nobody-low' is not in .*download-files"),
        ({"tts_voice": "en_US-nobody-low"}, NOTHING, r"piper-tts is not installed.*\[piper\]"),
        ({"tts": "xtts"}, BARE, r"coqui-tts is not installed.*\[xtts\]"),
        ({"tts": "xtts"}, Found(voices={"xtts": VoicesFound()}), "licence.*xtts_accept_license"),
        ({"tts": "speech-api"}, BARE, "needs tts_url"),
        ({"llm": "assistant"}, BARE, "needs a model server"),
        ({"llm": "remote"}, BARE, "needs flow_url"),
        ({"llm_url": "http://x/v1"}, BARE, "lists no model"),
        ({"stt": "faster-whisper"}, BARE, "no faster-whisper model in the cache"),
    ],
)
def test_what_is_missing_is_said_with_what_to_do(
    settings: dict[str, Any], found: Found, problem: str
) -> None:
    import re

    problems = "\n".join(choose(load_settings(**settings), found).problems)
    assert re.search(problem, problems), problems


def test_whoever_names_a_voice_is_spoken_to_by_the_engine_that_has_it() -> None:
    found = Found(voices=piper({"en_US-lessac-high": "en"}))
    for voice, engine in (
        ("en_US-lessac-high", "piper"),
        ("/voices/mine.onnx", "piper"),
        ("+f3", "espeak"),
        ("en-gb", "espeak"),
        # that it has none of this name is found where it is built
        ("nobody", "espeak"),
    ):
        choice = choose(load_settings(tts_voice=voice), found).tts
        assert (choice.engine, choice.detail, choice.problem) == (engine, voice, "")
