from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from livekit.agents import APIConnectOptions, APIStatusError, tts
from livekit.agents.types import USERDATA_TIMED_TRANSCRIPT

from agent_worker.speech.speaking import Lookahead, synthesize_phrases
from agent_worker.speech.voice_health import VoiceHealth
from livekit import rtc
from livekit.plugins import espeak

RATE = 16_000


def test_three_phrases_may_be_ready_before_the_first_is_played() -> None:
    ahead = Lookahead(3)
    for _ in range(3):
        assert ahead.wait_s(played_s=0.0) == 0
        ahead.begin_phrase()
        ahead.add_audio(2.0)
    assert ahead.wait_s(played_s=0.0) > 0


def test_the_next_phrase_may_begin_when_one_has_begun_to_play() -> None:
    ahead = Lookahead(3)
    for _ in range(4):
        ahead.begin_phrase()
        ahead.add_audio(2.0)
    # phrases begin at 0, 2, 4, 6 s
    assert ahead.wait_s(played_s=1.0) == 1.0
    assert ahead.wait_s(played_s=2.5) == 0
    assert ahead.wait_s(played_s=100) == 0


class Beeps(tts.TTS[str]):
    """A second of audio for each phrase; remembers what it was asked."""

    def __init__(self, *, streaming: bool = True) -> None:
        super().__init__(
            capabilities=tts.TTSCapabilities(streaming=streaming),
            sample_rate=RATE,
            num_channels=1,
        )
        self.asked: list[str] = []

    def synthesize(self, text: str, *, conn_options: APIConnectOptions = ...) -> tts.ChunkedStream:  # type: ignore[assignment]
        return BeepChunks(tts=self, input_text=text, conn_options=conn_options)

    def stream(self, *, conn_options: APIConnectOptions = ...) -> tts.SynthesizeStream:  # type: ignore[assignment]
        return BeepStream(tts=self, conn_options=conn_options)


def _beep(emitter: tts.AudioEmitter) -> None:
    emitter.push(b"\x00\x20" * RATE)


class BeepChunks(tts.ChunkedStream):
    async def _run(self, output_emitter: tts.AudioEmitter) -> None:
        beeps = self._tts
        assert isinstance(beeps, Beeps)
        beeps.asked.append(self._input_text)
        output_emitter.initialize(
            request_id="1", sample_rate=RATE, num_channels=1, mime_type="audio/pcm"
        )
        _beep(output_emitter)
        output_emitter.flush()


class BeepStream(tts.SynthesizeStream):
    async def _run(self, output_emitter: tts.AudioEmitter) -> None:
        beeps = self._tts
        assert isinstance(beeps, Beeps)
        text = ""
        async for piece in self._input_ch:
            text += piece if isinstance(piece, str) else ""
        beeps.asked.append(text)
        output_emitter.initialize(
            request_id="1", sample_rate=RATE, num_channels=1, mime_type="audio/pcm", stream=True
        )
        output_emitter.start_segment(segment_id="1")
        _beep(output_emitter)
        output_emitter.end_segment()


async def _phrases(*phrases: str) -> AsyncIterator[str]:
    for phrase in phrases:
        yield phrase


async def _collect(engine: Beeps, *phrases: str) -> list[rtc.AudioFrame]:
    frames = synthesize_phrases(
        _phrases(*phrases),
        engine,
        conn_options=APIConnectOptions(),
        ahead=3,
        played_s=lambda: 1e9,
    )
    return [frame async for frame in frames]


async def test_phrases_are_spoken_in_order_and_whole() -> None:
    engine = Beeps()
    frames = await _collect(engine, "One.", "Two.", "Three.")
    assert engine.asked == ["One.", "Two.", "Three."]
    assert sum(f.duration for f in frames) == pytest.approx(3.0)


async def test_an_engine_that_does_not_stream_speaks_too() -> None:
    engine = Beeps(streaming=False)
    frames = await _collect(engine, "One.", "Two.")
    assert engine.asked == ["One.", "Two."]
    assert sum(f.duration for f in frames) == pytest.approx(2.0, abs=0.05)


async def test_a_phrase_without_a_letter_is_not_sent_to_the_engine() -> None:
    engine = Beeps()
    await _collect(engine, "One.", " 🎉 ", "...", "Two.")
    assert engine.asked == ["One.", "Two."]


async def test_no_more_than_three_phrases_are_synthesised_ahead_of_the_playout() -> None:
    engine = Beeps()
    played_s = 0.0
    frames = synthesize_phrases(
        _phrases("1", "2", "3", "4", "5"),
        engine,
        conn_options=APIConnectOptions(),
        ahead=3,
        played_s=lambda: played_s,
    )

    async def drain() -> None:
        async for _ in frames:
            pass

    task = asyncio.create_task(drain())
    await asyncio.sleep(0.3)
    assert engine.asked == ["1", "2", "3"]
    played_s = 0.5  # the first one plays: three are ahead again once the fourth is there
    await asyncio.sleep(0.3)
    assert engine.asked == ["1", "2", "3", "4"]
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await frames.aclose()
    assert engine.asked == ["1", "2", "3", "4"]


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Mute(Beeps):
    """Fails until told otherwise."""

    broken = True

    def stream(self, *, conn_options: APIConnectOptions = ...) -> tts.SynthesizeStream:  # type: ignore[assignment]
        return MuteStream(tts=self, conn_options=conn_options)


class MuteStream(BeepStream):
    async def _run(self, output_emitter: tts.AudioEmitter) -> None:
        mute = self._tts
        assert isinstance(mute, Mute)
        if mute.broken:
            mute.asked.append("?")
            raise APIStatusError("no such voice", status_code=404)
        await super()._run(output_emitter)


async def test_a_phrase_that_cannot_be_spoken_goes_out_in_writing_and_the_voice_comes_back() -> (
    None
):
    engine, clock = Mute(), Clock()
    changes: list[bool] = []
    voice = VoiceHealth(retry_after_s=5, on_change=changes.append, clock=clock)

    async def speak(phrase: str) -> list[rtc.AudioFrame]:
        frames = synthesize_phrases(
            _phrases(phrase),
            engine,
            conn_options=APIConnectOptions(max_retry=0),
            ahead=3,
            played_s=lambda: 1e9,
            voice=voice,
        )
        return [frame async for frame in frames]

    written = await speak("It is raining in Paris today.")
    assert not any(bytes(f.data).strip(b"\x00") for f in written)
    assert sum(f.duration for f in written) == pytest.approx(2.0, abs=0.2)
    words = [w for f in written for w in f.userdata.get(USERDATA_TIMED_TRANSCRIPT, [])]
    assert words == ["It is raining in Paris today."]
    assert changes == [False]

    await speak("Left alone for a while.")
    assert engine.asked == ["?"], "a failed engine is not asked again at once"

    engine.broken = False
    clock.now = 6
    spoken = await speak("Back again.")
    assert any(bytes(f.data).strip(b"\x00") for f in spoken)
    assert changes == [False, True]


async def test_what_was_heard_keeps_the_space_between_phrases() -> None:
    phrases = ("Hello. ", "How can I help you?\n\n", "Well", ", then. ", "… ", "Bye.")
    async with espeak.TTS() as engine:
        frames = synthesize_phrases(
            _phrases(*phrases),
            engine,
            conn_options=APIConnectOptions(),
            ahead=3,
            played_s=lambda: 1e9,
        )
        words = [w async for f in frames for w in f.userdata.get(USERDATA_TIMED_TRANSCRIPT, [])]
    assert "".join(words) == "Hello. How can I help you?\n\nWell, then. Bye."
    starts = [word.start_time for word in words]
    assert starts == sorted(starts)
    assert starts[-1] > 1.0
