"""What one caller asked for, and what the call gets for it."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from agent_worker.engines.call_engines import engines_for_call, engines_for_language
from agent_worker.engines.call_options import (
    MAX_METADATA,
    CallOptions,
    for_call,
    pick,
    read_options,
)
from agent_worker.engines.choice import choose
from agent_worker.engines.chosen import Choices
from agent_worker.engines.inventory import Found
from agent_worker.engines.offers import Offers, find_offers
from agent_worker.settings import Settings, load_settings
from tests.test_offers import BARE, RICH
from tests.voices_at_hand import piper

WANTED = {"flow": "offline", "character": "Leo", "voice": "+f3", "language": "zh"}


def machine(found: Found = RICH, **settings: object) -> tuple[Settings, Choices, Offers]:
    own = load_settings(**settings)
    choices = choose(own, found)
    return own, choices, find_offers(own, choices)


def test_wishes_on_offer_are_taken() -> None:
    _, _, offers = machine(tts="espeak")
    options, troubles = read_options(json.dumps(WANTED), offers)
    assert options == CallOptions(**WANTED)
    assert troubles == ()


@pytest.mark.parametrize(
    "metadata",
    [
        "{",
        "[]",
        "null",
        "1e999",
        "[" * 2000,
        json.dumps({"flow": "x" * MAX_METADATA}),
        json.dumps({"flow": "router2", "voice": 7, "language": ["en"], "character": {}}),
        json.dumps({"secret": "swordfish"}),
        json.dumps({"llm_url": "http://evil.example", "tts_voice": "/etc/passwd"}),
        '{"flow": NaN}',
        "\ud800",
    ],
)
def test_anything_else_is_passed_over_and_not_repeated(metadata: str) -> None:
    settings, choices, offers = machine()
    options, troubles = read_options(metadata, offers)
    assert options == CallOptions()
    assert troubles
    assert not any("swordfish" in trouble or "evil" in trouble for trouble in troubles)
    assert for_call(settings, choices, options) == (settings, choices)


def test_one_bad_wish_does_not_cost_the_others() -> None:
    _, _, offers = machine(tts="espeak")
    options, troubles = pick({"flow": "offline", "voice": "+nobody", "x": 1}, offers)
    assert options == CallOptions(flow="offline")
    assert troubles == ("an unknown key", "this voice is not on offer")


def test_nothing_asked_for_is_nothing_changed() -> None:
    settings, choices, offers = machine()
    for metadata in ("", "{}", '{"flow": "", "voice": null}'):
        assert read_options(metadata, offers) == (CallOptions(), ())
    assert for_call(settings, choices, CallOptions())[0] is settings


def test_a_flow_changes_what_thinks_and_keeps_the_model() -> None:
    settings, choices, _ = machine()
    _, own = for_call(settings, choices, CallOptions(flow="router"))
    assert own.llm.engine == "router"
    for llm in (own.llm, choices.llm):
        assert (llm.detail, llm.endpoint) == ("qwen", "http://127.0.0.1:8000/v1")
    assert own.stt == choices.stt


def test_a_character_brings_its_flow() -> None:
    settings, choices, _ = machine()
    changed, own = for_call(settings, choices, CallOptions(character="Leo"))
    assert own.llm.engine == "persona"
    assert changed.persona_character == "Leo"
    together, _ = for_call(changed, choices, CallOptions(character="everyone"))
    assert together.persona_character is None


def test_a_language_changes_the_ear_the_voice_and_the_words() -> None:
    settings, choices, _ = machine(tts="espeak", tts_voice="en-gb+f3")
    changed, _ = for_call(settings, choices, CallOptions(language="zh"))
    assert changed.language == changed.spoken_language == "zh"
    assert changed.greeting == "你好，有什么可以帮你？"
    assert changed.goodbye != settings.goodbye
    assert changed.instructions.startswith(settings.instructions)
    assert changed.instructions.endswith("Answer in Mandarin Chinese.")
    assert changed.tts_voice == "+f3"


def test_the_settings_own_language_leaves_their_own_words() -> None:
    settings, choices, _ = machine(greeting="Good day from the harbour.", language="en-GB")
    changed, _ = for_call(settings, choices, CallOptions(language="en-GB", flow="router"))
    assert changed.greeting == settings.greeting
    assert changed.language == "en-GB"


def test_an_agent_that_waits_to_be_spoken_to_waits_in_every_language() -> None:
    settings, choices, _ = machine(greeting="")
    assert for_call(settings, choices, CallOptions(language="zh"))[0].greeting == ""


def test_a_piper_voice_goes_with_its_language() -> None:
    settings, choices, offers = machine()
    _, by_language = for_call(settings, choices, CallOptions(language="de"))
    assert by_language.tts.detail == "de_DE-thorsten-medium"
    changed, by_voice = for_call(settings, choices, CallOptions(voice="de_DE-thorsten-medium"))
    assert by_voice.tts.detail == "de_DE-thorsten-medium"
    assert changed.language == "de"
    odd = {"voice": "de_DE-thorsten-medium", "language": "en"}
    options, troubles = pick(odd, offers)
    assert options == CallOptions(language="en")
    assert troubles == ("this voice does not speak this language",)


async def test_a_call_is_built_with_what_was_asked_for() -> None:
    settings, choices, _ = machine(BARE)
    wishes = json.dumps({"language": "zh", "voice": "+m3"})
    own, engines = engines_for_call(settings, choices, wishes)
    async with engines.tts:
        assert own.language == "zh"
        assert engines.tts.model == "cmn+m3"
    await engines.aclose()


async def test_a_wish_that_can_not_be_built_costs_no_call(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The voice was there when the worker looked, and is gone by the time of the call."""
    found = Found(
        voices=piper({"en_US-a-low": "en", "en_US-b-low": "en"}),
    )
    settings, choices, _ = machine(found, tts="auto", cache_dir=tmp_path)
    with caplog.at_level(logging.WARNING), pytest.raises(Exception, match="en_US-a-low"):
        engines_for_call(settings, choices, json.dumps({"voice": "en_US-b-low"}))
    assert "without the caller's wishes" in caplog.text


@pytest.mark.parametrize("language", ["xx", "EN", "e n", "auto-"])
def test_a_client_that_can_be_told_is_told_which_language_is_not_served(language: str) -> None:
    settings, choices, _ = machine(BARE)
    with pytest.raises(ValueError, match=language):
        engines_for_language(settings, choices, language, {})


async def test_a_client_that_names_its_language_gets_the_rest_as_in_a_room() -> None:
    settings, choices, _ = machine(BARE)
    own, engines = engines_for_language(
        settings, choices, "de", {"voice": "+f3", "flow": "router", "character": None}
    )
    async with engines.tts:
        assert own.greeting == "Hallo. Wie kann ich helfen?"
        assert engines.tts.model == "de+f3"
    await engines.aclose()


def test_where_the_language_may_not_be_chosen_only_the_settings_one_is_served() -> None:
    settings, choices, _ = machine(BARE, caller_may_choose=("voice",))
    assert engines_for_language(settings, choices, "en", {})[0].language == "en"
    with pytest.raises(ValueError, match="only en"):
        engines_for_language(settings, choices, "zh", {})
