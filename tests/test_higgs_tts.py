"""Higgs Audio over chat completions: who speaks, and how the voice stays the same."""

from __future__ import annotations

import asyncio
import base64
import io
import wave
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from livekit.agents import APIConnectOptions, APIStatusError, APITimeoutError

from agent_worker.engines.build import EngineError, build_engines
from agent_worker.engines.choice import choose
from agent_worker.engines.inventory import Found
from agent_worker.settings import load_settings
from livekit.plugins import speech_api
from tests.fake_speech_server import FakeSpeechServer, Reply, speech_for, wav_header
from tests.test_speech_api import ONCE, WholePushes, heard, say

SYSTEM = "Generate audio following instruction."


@pytest.fixture
async def server() -> AsyncIterator[FakeSpeechServer]:
    async with FakeSpeechServer().serve() as running:
        yield running


def make(server: FakeSpeechServer, **options: Any) -> speech_api.HiggsTTS:
    return speech_api.HiggsTTS(
        **{"base_url": server.url, "model": "higgs", "tokenizer": WholePushes(), **options}
    )


def samples_in(turn: dict[str, Any]) -> bytes:
    (part,) = turn["content"]
    assert part["type"] == "input_audio"
    assert part["input_audio"]["format"] == "wav"
    with wave.open(io.BytesIO(base64.b64decode(part["input_audio"]["data"]))) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (24000, 1, 2)
        frames: bytes = file.readframes(file.getnframes())
    return frames


def messages(server: FakeSpeechServer, index: int = -1) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = server.requests[index].body["messages"]
    return found


async def test_the_audio_of_the_chat_is_played(server: FakeSpeechServer) -> None:
    async with make(server, api_key="k", seed=3, extra_fields={"top_p": None}) as voice:
        audio = await heard(voice.synthesize("Hello from the chat.", conn_options=ONCE))
        assert voice.model == "higgs"
        assert voice.capabilities.streaming
        assert voice.sample_rate == 24000
    assert audio == speech_for("Hello from the chat.")
    (request,) = server.requests
    assert request.path == "/v1/chat/completions"
    assert request.headers["Authorization"] == "Bearer k"
    assert request.body == {
        "model": "higgs",
        "messages": [
            {"role": "system", "content": SYSTEM},
            {"role": "user", "content": "Hello from the chat."},
        ],
        "modalities": ["text", "audio"],
        "stream": True,
        "stop": ["<|eot_id|>", "<|end_of_text|>", "<|audio_eos|>"],
        "temperature": 0.7,
        "top_k": 50,
        "max_tokens": 1024,
        "seed": 3,
    }


async def test_scene_speakers_and_reference_come_first(
    server: FakeSpeechServer, tmp_path: Path
) -> None:
    recording = wav_header(24000) + speech_for("ref")
    path = tmp_path / "ref.wav"
    path.write_bytes(recording)
    async with make(
        server,
        character="captain",
        scene="On the bridge of a ship, in a storm.",
        speakers={"SPEAKER0": "a hoarse old man", "SPEAKER1": "a calm woman"},
        speaker="SPEAKER0",
        ref_audio=path,
        ref_text="All hands on deck.",
    ) as voice:
        await say(voice, "Hold on tight.", "[SPEAKER1] He is exaggerating.")
    system, asked, answered, text = messages(server, 0)
    assert system["content"] == (
        f"{SYSTEM}\n\n<|scene_desc_start|>\nOn the bridge of a ship, in a storm.\n\n"
        "SPEAKER0: a hoarse old man\nSPEAKER1: a calm woman\n<|scene_desc_end|>"
    )
    assert asked == {"role": "user", "content": "[SPEAKER0] All hands on deck."}
    assert answered["role"] == "assistant"
    assert base64.b64decode(answered["content"][0]["input_audio"]["data"]) == recording
    assert text == {"role": "user", "content": "[SPEAKER0] Hold on tight."}
    assert messages(server)[-1]["content"] == "[SPEAKER1] He is exaggerating."


async def test_the_last_pieces_are_sent_along_with_their_audio(server: FakeSpeechServer) -> None:
    async with make(server, context_pieces=3) as voice:
        await say(voice, "Piece one.", "Piece two.")
        await say(voice, "Piece three.", "Piece four.", "Piece five.")
    assert [len(request.body["messages"]) for request in server.requests] == [2, 4, 6, 8, 8]
    last = messages(server)
    assert [turn["content"] for turn in last[1::2]] == [
        "Piece two.",
        "Piece three.",
        "Piece four.",
        "Piece five.",
    ]
    assert samples_in(last[2]) == speech_for("Piece two.")
    assert samples_in(last[6]) == speech_for("Piece four.")


async def test_with_context_one_piece_waits_for_the_other(server: FakeSpeechServer) -> None:
    async with make(server) as voice:
        await say(voice, "Piece one.", "Piece two.", "Piece three.")
    assert server.most_open == 1


async def test_anchored_to_the_reference_alone_it_runs_ahead(server: FakeSpeechServer) -> None:
    first = asyncio.Event()
    server.enqueue(Reply(gate=first))
    async with make(server, context_pieces=0) as voice:
        speaking = asyncio.create_task(say(voice, "Piece one.", "Piece two."))
        await server.wait_for(lambda: len(server.requests) == 2)
        first.set()
        await speaking
    assert len(messages(server)) == 2


async def test_a_reset_forgets_what_was_said(server: FakeSpeechServer) -> None:
    async with make(server) as voice:
        await say(voice, "Before.")
        voice.reset()
        await say(voice, "After.")
    assert len(messages(server)) == 2


@pytest.mark.parametrize(
    "change",
    [
        {"character": "someone else"},
        {"scene": "A cave."},
        {"speaker": "SPEAKER1"},
        {"speakers": {"SPEAKER0": "a child"}},
        {"ref_audio": b"RIFFxxxx", "ref_text": "Me."},
    ],
)
async def test_another_character_begins_without_the_voice_of_the_last(
    server: FakeSpeechServer, change: dict[str, Any]
) -> None:
    async with make(server) as voice:
        await say(voice, "In the old voice.")
        voice.update_options(temperature=0.5, **change)
        await say(voice, "In the new voice.")
    assert "In the old voice." not in [turn["content"] for turn in messages(server)]
    assert server.requests[-1].body["temperature"] == 0.5


async def test_the_same_character_keeps_the_voice(server: FakeSpeechServer) -> None:
    async with make(server, character="captain", scene="A ship.") as voice:
        await say(voice, "In this voice.")
        voice.update_options(character="captain", scene="A ship.", temperature=0.2)
        await say(voice, "In the same voice.")
    assert len(messages(server)) == 4


async def test_a_piece_that_was_begun_before_a_reset_is_not_remembered(
    server: FakeSpeechServer,
) -> None:
    gate = asyncio.Event()
    server.enqueue(Reply(gate=gate))
    async with make(server) as voice:
        speaking = asyncio.create_task(say(voice, "Begun before."))
        await server.wait_for(lambda: server.open == 1)
        voice.reset()
        gate.set()
        await speaking
        await say(voice, "Begun after.")
    assert len(messages(server)) == 2


async def test_an_interrupted_piece_is_not_remembered(server: FakeSpeechServer) -> None:
    server.enqueue(Reply(pause_after=6000))
    async with make(server) as voice:
        stream = voice.stream(conn_options=ONCE)
        stream.push_text("This will be cut off in the middle.")
        await stream.__anext__()
        await stream.aclose()
        await server.wait_for(lambda: server.open == 0)
        await say(voice, "And then this.")
    assert len(messages(server)) == 2
    assert server.cancelled == 1


@pytest.mark.parametrize(
    "options",
    [
        {"context_pieces": 6},
        {"context_pieces": -1},
        {"ref_audio": b"RIFF"},
        {"ref_audio": Path("/no/such.wav"), "ref_text": "x"},
        {"temperature": 5.0},
        {"top_p": 2.0},
    ],
)
def test_arguments_that_make_no_sense_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        speech_api.HiggsTTS(**options)


async def test_failures_are_those_of_any_speech_server(server: FakeSpeechServer) -> None:
    server.models = ["another"]
    async with make(server) as voice:
        with pytest.raises(APIStatusError, match="does not exist"):
            await say(voice, "Hello there.")
        server.models = []
        server.enqueue(Reply(gate=asyncio.Event()))
        with pytest.raises(APITimeoutError):
            await say(
                voice, "Hello there.", conn_options=APIConnectOptions(max_retry=0, timeout=0.2)
            )


async def test_the_window_of_repetition_aware_sampling_is_sent_where_it_is_given(
    server: FakeSpeechServer,
) -> None:
    async with make(server, ras_window=7, ras_repeats=2) as voice:
        await heard(voice.synthesize("One.", conn_options=ONCE))
        voice.update_options(ras_window=None, ras_repeats=None)
        await heard(voice.synthesize("Two.", conn_options=ONCE))
        with pytest.raises(ValueError, match="ras_window"):
            voice.update_options(ras_window=0)
    first, second = (request.body for request in server.requests)
    assert (first["ras_win_len"], first["ras_win_max_num_repeat"]) == (7, 2)
    assert "ras_win_len" not in second


async def test_nothing_is_asked_for_and_nothing_sounds_without_text(
    server: FakeSpeechServer,
) -> None:
    async with make(server) as voice:
        for text in ("", "  "):
            assert await say(voice, text) == b""
    assert server.requests == []


PROFILES = """
[[character]]
name = "Ada"
description = "A clockmaker."
sound = "an old woman, hoarse and kind"

[[character]]
name = "Ben"
description = "Her apprentice."
reference = "ben.wav"
reference_text = "I am Ben."
"""


async def test_the_settings_and_the_profiles_say_who_speaks_and_where(
    server: FakeSpeechServer, tmp_path: Path
) -> None:
    (tmp_path / "cast.toml").write_text(PROFILES)
    (tmp_path / "ben.wav").write_bytes(wav_header(24000) + bytes(480))
    (tmp_path / "own.wav").write_bytes(wav_header(24000) + bytes(960))
    settings = load_settings(
        tts="higgs",
        tts_url=server.url,
        tts_scene="A small shop, clocks ticking.",
        tts_speakers={"SPEAKER0": "a brisk young man"},
        tts_reference=tmp_path / "own.wav",
        tts_reference_text="Good day to you.",
        tts_ras_window=7,
        tts_fallback=False,
        persona_profiles=tmp_path / "cast.toml",
        stt="bundled",
        llm="offline",
    )
    engines = build_engines(settings, choose(settings, Found()))
    assert engines.voices is not None
    try:
        for voice in (engines.tts, engines.voices("Ada"), engines.voices("Ben")):
            await heard(voice.synthesize("Hello.", conn_options=ONCE))
    finally:
        await engines.aclose()
    own, ada, ben = (messages(server, index) for index in range(3))
    assert "A small shop, clocks ticking." in own[0]["content"]
    assert "SPEAKER0: a brisk young man" in own[0]["content"]
    assert own[-1]["content"] == "[SPEAKER0] Hello."
    assert own[1]["content"] == "[SPEAKER0] Good day to you."
    assert "SPEAKER0: an old woman, hoarse and kind" in ada[0]["content"]
    assert "A small shop, clocks ticking." in ada[0]["content"]
    assert ben[1]["content"] == "[SPEAKER0] I am Ben."
    assert ben[2] != own[2]
    assert server.requests[0].body["ras_win_len"] == 7


def test_a_reference_without_its_text_is_refused_by_the_name_of_the_setting(tmp_path: Path) -> None:
    (tmp_path / "own.wav").write_bytes(wav_header(24000) + bytes(960))
    settings = load_settings(
        tts="higgs", tts_url="http://127.0.0.1:1", tts_reference=tmp_path / "own.wav",
        stt="bundled", llm="offline",
    )  # fmt: skip
    with pytest.raises(EngineError, match="tts_reference needs tts_reference_text"):
        build_engines(settings, choose(settings, Found()))
