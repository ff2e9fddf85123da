"""Characters speak with voices of their own, phrase by phrase."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from livekit.agents import AgentSession, APIConnectOptions, llm, tts
from livekit.agents.voice.run_result import RunResult

from agent_worker.agent import VoicePipelineAgent
from agent_worker.engines.build import build_engines
from agent_worker.engines.character_voices import CharacterVoices
from agent_worker.engines.choice import choose
from agent_worker.engines.inventory import Found
from agent_worker.settings import load_settings
from agent_worker.speech.speaking import synthesize_phrases
from agent_worker.speech.voiced_text import SpeakerMarks, VoicedText, cut_by_voice, voice_of
from agent_worker.streaming_buffer import SentenceStreamBuffer
from flows.graphs import persona
from flows.persona_profiles import Character
from livekit import rtc
from livekit.plugins import espeak
from tests import tiny_piper
from tests.fake_conversation import Loudspeaker
from tests.fake_openai_server import Reply
from tests.fake_voice_stack import ToneTTS
from tests.graph_llm import Mode, complete, graph_llm, scripted_model
from tests.voices_at_hand import ESPEAK, piper

MIRA = Character(name="Mira", description="An engineer.", voice="en-us+f3")
LEO = Character(name="Leo", description="A navigator.", voice="en-gb+m3")


@pytest.mark.parametrize("mode", ["in_process", "remote"])
async def test_the_first_words_of_each_character_tell_who_speaks(mode: Mode) -> None:
    async with scripted_model(Reply("Tea first."), Reply("No.")) as (_, model):
        graph = persona.build(model=model, characters=(MIRA, LEO))
        async with graph_llm(mode, graph, persona.SPEAKABLE_NODES) as ours:
            completion = await complete(ours, "what do both of you say")
    marks = SpeakerMarks()
    for chunk in completion.chunks:
        marks.mark(chunk)
    spoken = [
        (voice_of(chunk.delta.content), chunk.delta.content)
        for chunk in completion.chunks
        if chunk.delta and chunk.delta.content
    ]
    assert "".join(text for voice, text in spoken if voice == "en-us+f3").strip() == "Tea first."
    assert "".join(text for voice, text in spoken if voice == "en-gb+m3").strip() == "No."


def test_a_speaker_without_a_voice_takes_the_calls_own() -> None:
    marks = SpeakerMarks()
    voices = []
    for voice in ("a", None, 7, ""):
        extra: dict[str, Any] = {"speaker": {"name": "X", "voice": voice}}
        for own in (extra, None):
            delta = llm.ChoiceDelta(role="assistant", content="Hm.", extra=own)
            chunk = llm.ChatChunk(id="1", delta=delta)
            marks.mark(chunk)
            assert chunk.delta is not None and chunk.delta.content is not None
            voices.append(voice_of(chunk.delta.content))
    assert voices == ["a", "a", None, None, None, None, None, None]


async def tokens(*parts: str) -> AsyncIterator[str]:
    for part in parts:
        yield part


def sentences(run: AsyncIterator[str]) -> AsyncGenerator[str, None]:
    return SentenceStreamBuffer(min_sentence_length=20).stream_with_sentences(run)


async def test_a_phrase_never_has_two_voices() -> None:
    said = tokens(
        "Hello ",
        "there. ",
        VoicedText("Tea ", "f"),
        VoicedText("is", "f"),
        VoicedText("\n\nNo, ", "m"),
        VoicedText("we drift.", "m"),
        " Well.",
    )
    phrases = [(voice_of(p), str(p)) async for p in cut_by_voice(said, sentences)]
    assert phrases == [
        (None, "Hello there. "),
        ("f", "Tea is"),
        ("m", "\n\nNo, we drift."),
        (None, " Well."),
    ]


async def test_text_without_voices_is_cut_as_ever() -> None:
    text = "One is a number. Two is a number. Three is a number, too, and not the last of them."
    pieces = [text[i : i + 3] for i in range(0, len(text), 3)]
    plain = [phrase async for phrase in sentences(tokens(*pieces))]
    assert [phrase async for phrase in cut_by_voice(tokens(*pieces), sentences)] == plain
    assert [phrase async for phrase in cut_by_voice(tokens(), sentences)] == []


async def test_each_phrase_is_spoken_by_the_engine_of_its_voice() -> None:
    own, mira = ToneTTS(0.1), ToneTTS(0.3)
    voices = CharacterVoices(own, {"mira": mira}.__getitem__)
    phrases = tokens("Hello.", VoicedText("Tea.", "mira"), VoicedText("No.", "nobody"))
    seconds = [frame.duration async for frame in speak(phrases, own, voices)]
    assert sum(seconds) == pytest.approx(0.1 + 0.3 + 0.1, abs=0.06)


def speak(
    phrases: AsyncIterator[str], own: tts.TTS[Any], voices: CharacterVoices
) -> AsyncGenerator[rtc.AudioFrame, None]:
    return synthesize_phrases(
        phrases,
        own,
        conn_options=APIConnectOptions(max_retry=0),
        ahead=3,
        played_s=lambda: 1e9,
        voices=voices,
    )


async def test_an_engine_is_made_once_and_a_missing_one_is_told_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    made = []

    def make(name: str) -> tts.TTS[Any]:
        made.append(name)
        if name == "nobody":
            raise ValueError("no such voice")
        return ToneTTS(0.1)

    own = ToneTTS(0.1)
    voices = CharacterVoices(own, make)
    with caplog.at_level(logging.WARNING):
        assert voices("mira") is voices("mira")
        assert voices("nobody") is voices("nobody") is own
    assert made == ["mira", "nobody"]
    assert len(caplog.records) == 1
    for number in range(100):
        voices(f"voice {number}")
    assert len(made) <= 16
    await voices.aclose()
    await voices.aclose()


async def test_the_session_counts_what_characters_say() -> None:
    own = ToneTTS(0.1)
    counted: list[object] = []
    own.on("metrics_collected", counted.append)
    voices = CharacterVoices(own, lambda _: ToneTTS(0.1))
    async for _ in speak(tokens(VoicedText("Tea.", "mira")), own, voices):
        pass
    assert len(counted) == 1


@pytest.mark.parametrize(
    ("voice", "language", "spoken"),
    [
        ("en-gb+m3", "en", "gmw/en+m3"),
        ("m3", "en", "en-us+m3"),
        ("en-gb+m3", "zh", "cmn+m3"),
        ("nobody", "en", "en-us"),
        ("de", "en", "en-us"),
    ],
)
async def test_espeak_speaks_with_the_voice_or_its_variant_in_the_calls_language(
    voice: str, language: str, spoken: str
) -> None:
    settings = load_settings(stt="bundled", tts="espeak", language=language)
    engines = build_engines(settings, choose(settings, Found(voices=ESPEAK)))
    assert engines.voices is not None
    engine = engines.voices(voice)
    assert isinstance(engine, espeak.TTS)
    assert engine.model == spoken
    await engines.aclose()


async def test_a_piper_voice_of_another_rate_comes_out_at_the_calls_rate(tmp_path: Path) -> None:
    folder = tmp_path / "voices"
    folder.mkdir()
    tiny_piper.build(folder / "one.onnx")
    tiny_piper.build(folder / "two.onnx", rate=16_000)
    found = Found(
        voices=piper({"one": "en", "two": "en"}),
    )
    settings = load_settings(stt="bundled", cache_dir=tmp_path)
    engines = build_engines(settings, choose(settings, found))
    assert engines.voices is not None
    phrases = tokens("Good day.", VoicedText("Good day.", "two"), VoicedText("Hm.", "en-us+f3"))
    frames = [frame async for frame in speak(phrases, engines.tts, engines.voices)]
    assert {frame.sample_rate for frame in frames} == {engines.tts.sample_rate}
    assert engines.voices("two") is not engines.tts
    assert engines.voices("en-us+f3") is engines.tts
    await engines.aclose()


class Heard(ToneTTS):
    """Remembers what it was asked to say."""

    def __init__(self) -> None:
        super().__init__(0.05)
        self.asked: list[str] = []

    def synthesize(self, text: str, **kwargs: Any) -> tts.ChunkedStream:
        self.asked.append(text.strip())
        return super().synthesize(text, **kwargs)


async def test_in_a_call_each_character_is_heard_with_its_own_voice() -> None:
    engines = {"own": Heard(), "en-us+f3": Heard(), "en-gb+m3": Heard()}
    async with scripted_model(Reply("Tea first. It is good."), Reply("No.")) as (_, model):
        graph = persona.build(model=model, characters=(MIRA, LEO), checkpointer=InMemorySaver())
        agent = VoicePipelineAgent(
            greeting="Welcome aboard.",
            voices=CharacterVoices(engines["own"], engines.__getitem__),
        )
        async with graph_llm("in_process", graph, persona.SPEAKABLE_NODES) as ours:
            session: AgentSession[None] = AgentSession(
                llm=ours,
                tts=engines["own"],
                # as in our calls: they would make plain strings of the words
                tts_text_transforms=None,
            )
            session.output.audio = Loudspeaker()
            await session.start(agent, record=False)
            try:
                result: RunResult[None] = await session.run(user_input="what do both of you say")
            finally:
                await session.aclose()
    assert engines["own"].asked == ["Welcome aboard."]
    assert " ".join(engines["en-us+f3"].asked) == "Tea first. It is good."
    assert engines["en-gb+m3"].asked == ["No."]
    (message,) = [event.item for event in result.events if event.type == "message"]
    assert message.text_content == "Tea first. It is good.\n\nNo."
