"""What callers may choose on this machine."""

from __future__ import annotations

import contextlib
import dataclasses
from pathlib import Path

import pytest

from agent_worker.engines.call_options import CallOptions, for_call
from agent_worker.engines.choice import choose
from agent_worker.engines.found import choose_engines, look_around
from agent_worker.engines.inventory import Found
from agent_worker.engines.languages import languages
from agent_worker.engines.offers import Offers, find_offers
from agent_worker.language_tags import primary
from agent_worker.settings import load_settings
from flows.catalogue import open_flows
from flows.flow import Flow
from flows.memory import open_memory
from flows.server import ServerOptions
from flows.settings import FlowSettings
from livekit.plugins import espeak, faster_whisper, xtts
from livekit.plugins.espeak.languages import voice_for_language
from tests.flow_server import flow_server
from tests.voices_at_hand import ESPEAK, piper

BARE = Found(voices=ESPEAK)
RICH = Found(
    whisper_models=("base",),
    voices=piper({"en_US-lessac-high": "en", "de_DE-thorsten-medium": "de"}),
    llm_endpoint="http://127.0.0.1:8000/v1",
    llm_models=("qwen",),
)


def offers(found: Found, **settings: object) -> Offers:
    own = load_settings(**settings)
    return find_offers(own, choose(own, found))


def ids(entries: tuple[object, ...]) -> list[str]:
    return [entry.id for entry in entries]  # type: ignore[attr-defined]


def test_a_bare_machine_offers_what_its_engines_know() -> None:
    here = offers(BARE)
    assert here.flows == ()
    assert here.characters == ()
    assert ids(here.voices) == ["standard", "+f3", "+m3", "+whisper"]
    assert [(one.id, one.name) for one in here.languages] == [("en", "English"), ("zh", "中文")]


def test_with_a_model_server_there_are_flows_and_characters() -> None:
    here = offers(RICH)
    assert ids(here.flows) == ["assistant", "router", "persona", "offline"]
    assert ids(here.characters) == ["everyone", "Mira", "Leo"]


def test_what_the_settings_say_stands_first() -> None:
    here = offers(RICH, llm="persona", persona_character="Leo", language="de", tts="espeak")
    assert here.flows[0].id == "persona"
    assert ids(here.characters) == ["Leo", "everyone", "Mira"]
    assert here.languages[0].id == "de"
    voiced = offers(RICH, tts_voice="de_DE-thorsten-medium")
    assert voiced.voices[0].id == "de_DE-thorsten-medium"


def test_piper_voices_are_named_for_people_and_bring_their_language() -> None:
    here = offers(RICH)
    first = here.voices[0]
    assert (first.name, first.note, first.language) == ("Lessac", "en-US, high", "en")
    assert ids(here.languages) == ["en", "de"]


@pytest.mark.parametrize("model", ["distil-large-v3", "small.en", "models/base.en/"])
def test_a_recogniser_of_english_leaves_no_choice_of_language(model: str) -> None:
    found = dataclasses.replace(RICH, voices=piper())
    assert offers(found, stt_model=model).languages == ()


def test_a_list_with_one_entry_is_no_choice() -> None:
    one = dataclasses.replace(RICH, voices=piper({"en_US-lessac-high": "en"}))
    assert offers(one).voices == ()


def test_the_operator_says_what_may_be_chosen() -> None:
    assert offers(RICH, caller_may_choose=()) == Offers()
    here = offers(RICH, caller_may_choose=("language",))
    assert here.languages and not (here.flows or here.characters or here.voices)


def test_nothing_is_offered_where_nothing_can_be_served() -> None:
    assert offers(Found()) == Offers()


def test_characters_come_from_the_operators_file(tmp_path: Path) -> None:
    file = tmp_path / "cast.toml"
    file.write_text('[[character]]\nname = "Ada"\ndescription = "A clerk."\n')
    assert offers(RICH, persona_profiles=file).characters == ()
    with file.open("a") as more:
        more.write('[[character]]\nname = "Bo"\ndescription = "A cook."\n')
    assert ids(offers(RICH, persona_profiles=file).characters) == ["everyone", "Ada", "Bo"]
    file.write_text("not TOML")
    broken = offers(RICH, persona_profiles=file)
    assert "persona" not in ids(broken.flows)
    assert broken.characters == ()


async def test_the_language_of_a_voice_is_read_from_its_file(tmp_path: Path) -> None:
    folder = tmp_path / "voices"
    folder.mkdir()
    for name, about in {
        "mine": '{"espeak": {"voice": "cmn"}}',
        "theirs": '{"language": {"code": "pt_BR"}}',
        "fr_FR-siwis-low": "no JSON",
    }.items():
        (folder / f"{name}.onnx").touch()
        (folder / f"{name}.onnx.json").write_text(about)
    found = await look_around(load_settings(cache_dir=tmp_path, llm="offline"))
    voices = found.voices_of("piper").voices
    assert voices == {"mine": "zh", "theirs": "pt", "fr_FR-siwis-low": "fr"}


def test_every_language_of_the_list_is_known_to_the_engines() -> None:
    voices = espeak.list_voices()
    spoken_by_xtts = {primary(tag) for tag in xtts.languages.LANGUAGES}
    for tag, language in languages().items():
        assert voice_for_language(tag, voices), tag
        faster_whisper.STT(language=tag)
        assert tag in spoken_by_xtts
        assert language.greeting and language.goodbye and language.apology and language.fillers


async def test_the_flows_of_a_flow_server_are_those_that_it_can_run() -> None:
    async with contextlib.AsyncExitStack() as stack:
        memory = await stack.enter_async_context(open_memory())
        flows = await open_flows(FlowSettings(discovery=False), memory, stack)
        mine = Flow("mine", "my own", flows["offline"].graph)
        options = ServerOptions(token="open sesame")
        url = await stack.enter_async_context(flow_server([*flows.values(), mine], options))
        remote = {"llm": "remote", "flow_url": url + "/", "flow_id": "mine", "tts": "espeak"}
        settings = load_settings(**remote, flow_token="open sesame")
        choices = await choose_engines(settings)
        here = find_offers(settings, choices)
        assert [(flow.id, flow.name) for flow in here.flows] == [
            ("mine", "mine"),
            ("offline", "Basics"),
        ]
        assert here.characters == ()
        own, _ = for_call(settings, choices, CallOptions(flow="offline"))
        assert (own.llm, own.flow_id) == ("remote", "offline")
        stranger = load_settings(**remote)
        assert find_offers(stranger, await choose_engines(stranger)).flows == ()


async def test_a_flow_server_that_is_not_up_yet_leaves_the_flow_of_the_settings() -> None:
    settings = load_settings(llm="remote", flow_url="http://127.0.0.1:1", tts="espeak")
    choices = await choose_engines(settings)
    assert choices.llm.engine == "remote"
    assert find_offers(settings, choices).flows == ()
