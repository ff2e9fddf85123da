"""A voice that hangs is left for the whole call; one that is merely broken may come back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import cast

import pytest
from livekit.agents import APIConnectOptions, APIError, APITimeoutError, tts
from livekit.agents.types import USERDATA_TIMED_TRANSCRIPT

from agent_worker.engines.hung_voice import PatienceLimited
from agent_worker.speech.speaking import synthesize_phrases
from livekit.plugins import espeak
from tests.test_speaking import Beeps, BeepStream

OPTIONS = APIConnectOptions(max_retry=2, retry_interval=0.01)


class Hanging(Beeps):
    """Takes the text, and says nothing any more."""

    hangs = True
    loading = False

    def stream(self, *, conn_options: APIConnectOptions = OPTIONS) -> tts.SynthesizeStream:
        return HangingStream(tts=self, conn_options=conn_options)


class HangingStream(BeepStream):
    async def _run(self, output_emitter: tts.AudioEmitter) -> None:
        voice = self._tts
        assert isinstance(voice, Hanging)
        if voice.hangs:
            voice.asked.append("hangs")
            await asyncio.Event().wait()
        await super()._run(output_emitter)


async def _speak(voice: tts.TTS[str], text: str) -> float:
    """Seconds of audio."""
    seconds = 0.0
    async with voice.stream(conn_options=OPTIONS) as stream:
        stream.push_text(text)
        stream.end_input()
        async for audio in stream:
            seconds += audio.frame.duration
    return seconds


async def test_a_voice_that_speaks_is_heard_as_it_is() -> None:
    voice = PatienceLimited(Beeps(), first_sample_s=5)
    assert await _speak(voice, "One.") == pytest.approx(1.0, abs=0.06)
    assert not voice.hung


async def test_the_times_of_the_words_come_along() -> None:
    async with PatienceLimited(espeak.TTS(), first_sample_s=20) as voice:
        words = []
        async with voice.stream() as stream:
            stream.push_text("How are you today?")
            stream.end_input()
            async for audio in stream:
                words += audio.frame.userdata.get(USERDATA_TIMED_TRANSCRIPT, [])
    assert "".join(words).split() == ["How", "are", "you", "today?"]


async def test_a_voice_that_hangs_is_asked_once_and_then_left() -> None:
    engine = Hanging()
    voice = PatienceLimited(engine, first_sample_s=0.05)
    with pytest.raises(APITimeoutError):
        await _speak(voice, "One.")
    assert voice.hung
    engine.hangs = False
    with pytest.raises(APIError):
        await _speak(voice, "Two.")
    assert engine.asked == ["hangs"], "neither a retry nor the next phrase waits again"


async def test_a_voice_whose_model_is_still_being_loaded_has_not_hung() -> None:
    engine = Hanging()
    engine.loading = True
    voice = PatienceLimited(engine, first_sample_s=0.05)
    with pytest.raises(APITimeoutError):
        await _speak(voice, "One.")
    assert not voice.hung
    engine.loading = engine.hangs = False
    assert await _speak(voice, "Two.") == pytest.approx(1.0, abs=0.06)


async def test_the_next_voice_speaks_for_one_that_hangs_and_goes_on_doing_so() -> None:
    engine, other = Hanging(), Beeps()
    adapter = tts.FallbackAdapter(
        [PatienceLimited(engine, first_sample_s=0.05), other], max_retry_per_tts=1
    )

    async def phrases() -> AsyncIterator[str]:
        for text in ("One.", "Two.", "Three."):
            yield text

    frames = [
        frame
        async for frame in synthesize_phrases(
            phrases(), adapter, conn_options=OPTIONS, ahead=3, played_s=lambda: 1e9
        )
    ]
    engine.hangs = False
    assert sum(frame.duration for frame in frames) == pytest.approx(3.0, abs=0.2)
    assert other.asked == ["One.", "Two.", "Three."]
    assert await _speak(cast("tts.TTS[str]", adapter), "Four.") == pytest.approx(1.0, abs=0.1)
    assert other.asked[-1] == "Four."
    assert engine.asked == ["hangs"]
    await adapter.aclose()


async def test_interrupted_while_it_waits_it_leaves_no_task() -> None:
    before = asyncio.all_tasks()
    voice = PatienceLimited(Hanging(), first_sample_s=30)
    speaking = asyncio.create_task(_speak(voice, "One."))
    await asyncio.sleep(0.05)
    speaking.cancel()
    await asyncio.gather(speaking, return_exceptions=True)
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before
