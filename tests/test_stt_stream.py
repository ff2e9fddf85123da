"""Live recognition with the bundled model: what is sent, when, and that nothing is lost."""

from __future__ import annotations

import asyncio
import gc
import re
import time
import weakref
from collections.abc import AsyncIterator

import numpy as np
import pytest
from livekit.agents.stt import SpeechEventType as Kind
from livekit.agents.types import TimedString

from bench.stt_sounds import wordless_sounds
from livekit import rtc
from livekit.plugins import faster_whisper
from livekit.plugins.faster_whisper.utterance import Utterance

from .speech import speak
from .stt_probe import Heard, arrived, collect, frames, play, settled, silence, transcribe


@pytest.fixture
async def stt() -> AsyncIterator[faster_whisper.STT]:
    async with faster_whisper.STT(language="en") as stt:
        yield stt


def plain(text: str) -> str:
    return " ".join(re.sub(r"[^\w]+", " ", text.lower()).split())


def said(*parts: str, gap: float = 0.8) -> np.typing.NDArray[np.float32]:
    pieces = [silence(0.5)]
    for part in parts:
        pieces += [speak(part), silence(gap)]
    return np.concatenate(pieces)


async def test_an_utterance_is_sent_as_start_interims_preflight_final_and_end(
    stt: faster_whisper.STT,
) -> None:
    heard = await transcribe(stt.stream(), said("what time is it"))
    assert heard.kinds == [
        "start_of_speech",
        "interim_transcript",
        "preflight_transcript",
        "final_transcript",
        "end_of_speech",
    ]
    assert [plain(text) for text in heard.finals] == ["what time is it"]
    assert len(heard.of(Kind.INTERIM_TRANSCRIPT)) >= 3


async def test_the_final_repeats_the_preflight_word_for_word(stt: faster_whisper.STT) -> None:
    heard = await transcribe(stt.stream(), said("remember that my name is alice"))
    assert heard.texts(Kind.PREFLIGHT_TRANSCRIPT)[-1:] == heard.finals


async def test_confirmed_words_never_change_up_to_the_final(stt: faster_whisper.STT) -> None:
    heard = await transcribe(stt.stream(), said("book a table for four at ten"))
    final = heard.finals[0]
    confirmed = [
        str((event.alternatives[0].metadata or {})["confirmed_text"])
        for event in heard.of(Kind.INTERIM_TRANSCRIPT)
    ]
    assert confirmed[-1]
    for earlier, later in zip(confirmed, [*confirmed[1:], final], strict=True):
        assert later.startswith(earlier)


async def test_words_carry_times_that_fit_the_audio_and_confidence(stt: faster_whisper.STT) -> None:
    stream = stt.stream()
    stream.start_time_offset = 100.0
    heard = await transcribe(stream, said("set a timer for ten minutes"))
    data = heard.of(Kind.FINAL_TRANSCRIPT)[0].alternatives[0]
    words = data.words
    assert words is not None
    assert [plain(word) for word in words] == ["set", "a", "timer", "for", "ten", "minutes"]
    assert all(isinstance(word, TimedString) for word in words)
    starts = [float(word.start_time or 0.0) for word in words]
    assert starts == sorted(starts)
    # The speech starts after half a second of silence.
    assert 100.3 < data.start_time < 100.8
    spoken_s = len(speak("set a timer for ten minutes")) / 16000
    assert 100.5 < data.end_time < 100.7 + spoken_s
    assert data.end_time == words[-1].end_time
    assert all(0.0 < float(word.confidence or 0.0) <= 1.0 for word in words)
    assert 0 < data.confidence <= 1
    assert data.language == "en"


async def test_one_request_id_names_all_events_of_an_utterance(stt: faster_whisper.STT) -> None:
    heard = await transcribe(stt.stream(), said("yes please", "no thank you"))
    first, second = (
        {event.request_id for event in heard.events[:cut] if event.request_id}
        if cut
        else {event.request_id for event in heard.events if event.request_id}
        for cut in (
            [event.type for event in heard.events].index(Kind.END_OF_SPEECH) + 1,
            None,
        )
    )
    assert len(first) == 1
    assert len(second) == 2
    assert "" not in second


async def test_usage_adds_up_to_the_audio_pushed(stt: faster_whisper.STT) -> None:
    metrics: list[float] = []
    stt.on("metrics_collected", lambda m: metrics.append(m.audio_duration))
    audio = said("what time is it", "goodbye")
    heard = await transcribe(stt.stream(), audio)
    used = [
        event.recognition_usage.audio_duration
        for event in heard.of(Kind.RECOGNITION_USAGE)
        if event.recognition_usage
    ]
    # Frames of 20 ms and detector windows of 32 ms round it.
    assert sum(used) == pytest.approx(len(audio) / 16000, abs=0.1)
    assert sum(metrics) == pytest.approx(sum(used))


async def test_a_flush_sends_the_final_at_once(stt: faster_whisper.STT) -> None:
    stt.update_options(min_silence=10.0)
    stream = stt.stream()
    heard = Heard()
    reading = asyncio.create_task(collect(stream, heard))
    await play(stream, np.concatenate([silence(0.3), speak("turn on the lights")]))
    assert heard.finals == []
    stream.flush()
    await arrived(heard, Kind.END_OF_SPEECH)
    assert [plain(text) for text in heard.finals] == ["turn on the lights"]
    stream.end_input()
    await reading
    assert len(heard.finals) == 1


async def test_a_flush_is_answered_even_where_nothing_was_said(stt: faster_whisper.STT) -> None:
    stream = stt.stream()
    heard = Heard()
    reading = asyncio.create_task(collect(stream, heard))
    await play(stream, silence(0.5))
    stream.flush()
    await arrived(heard, Kind.FINAL_TRANSCRIPT)
    assert heard.finals == [""]
    stream.end_input()
    await reading
    assert heard.finals == [""]


async def test_the_end_of_input_finalises_what_was_said(stt: faster_whisper.STT) -> None:
    heard = await transcribe(stt.stream(), speak("where is my order"))
    assert [plain(text) for text in heard.finals] == ["where is my order"]


async def test_speech_after_a_preflight_makes_it_void(stt: faster_whisper.STT) -> None:
    # A pause longer than the speculative silence and shorter than the end of speech.
    audio = said("my name is bob", "tell me a joke", gap=0.36)
    heard = await transcribe(stt.stream(), np.concatenate([audio, silence(0.5)]))
    assert plain(heard.texts(Kind.PREFLIGHT_TRANSCRIPT)[0]) == "my name is bob"
    assert plain(" ".join(heard.finals)) == "my name is bob tell me a joke"


async def test_a_final_is_prepared_while_the_detector_still_hears_a_voice(
    stt: faster_whisper.STT,
) -> None:
    stt.update_options(speculative_silence=0.06)
    stream = stt.stream()
    reading = asyncio.create_task(collect(stream))
    await play(
        stream,
        np.concatenate([silence(0.3), speak("what is the weather like today"), silence(0.15)]),
    )
    await settled(stream)
    utterance = stream._listener.utterances[0]
    assert utterance.speculation is not None
    assert utterance.voiced_windows > utterance.sounded_windows, "the detector lags behind"
    stream.end_input()
    heard = await reading
    assert [plain(text) for text in heard.texts(Kind.PREFLIGHT_TRANSCRIPT)] == [
        "what is the weather like today"
    ]
    assert heard.texts(Kind.FINAL_TRANSCRIPT) == heard.texts(Kind.PREFLIGHT_TRANSCRIPT)


async def test_no_sound_without_words_makes_a_transcript(stt: faster_whisper.STT) -> None:
    for sound in wordless_sounds(duration_s=1.5):
        heard = await transcribe(stt.stream(), np.concatenate([sound.samples, silence(0.6)]))
        assert [text for text in heard.finals if text] == [], f"{sound.kind} {sound.level_dbfs}"


async def test_a_long_monologue_loses_no_word_and_keeps_little_audio(
    stt: faster_whisper.STT,
) -> None:
    sentences = ["what time is it", "tell me a joke", "my name is alice", "where is my order"] * 5
    stream = stt.stream()
    reading = asyncio.create_task(collect(stream))
    kept = 0.0
    for sentence in sentences:
        await play(stream, np.concatenate([speak(sentence), silence(0.32)]))
        kept = max(kept, sum(u.sound.duration_s for u in stream._listener.utterances))
    stream.end_input()
    heard = await reading
    assert plain(" ".join(heard.finals)) == " ".join(sentences)
    # One piece of speech, in finals of bounded length.
    assert len(heard.of(Kind.START_OF_SPEECH)) == len(heard.of(Kind.END_OF_SPEECH)) == 1
    assert kept < 10


async def test_a_pause_or_a_word_less_piece_cannot_swallow_a_later_utterance(
    stt: faster_whisper.STT,
) -> None:
    noise = next(s for s in wordless_sounds(duration_s=1.0) if s.kind == "clicks")
    audio = np.concatenate([noise.samples, speak("stop"), silence(0.8), speak("no"), silence(0.8)])
    heard = await transcribe(stt.stream(), audio)
    assert [plain(text) for text in heard.finals] == ["stop", "no"]


async def test_two_interleaved_speakers_do_not_mix(stt: faster_whisper.STT) -> None:
    speeches = {
        "alice": ["remember that my name is alice", "what is my name"],
        "bob": ["set a timer for ten minutes", "tell me a joke"],
    }
    streams = {name: stt.stream() for name in speeches}
    readers = {name: asyncio.create_task(collect(s)) for name, s in streams.items()}
    audio = {name: said(*parts) for name, parts in speeches.items()}
    for start in range(0, max(map(len, audio.values())), 1600):
        for name, stream in streams.items():
            for frame in frames(audio[name][start : start + 1600]):
                stream.push_frame(frame)
        for stream in streams.values():
            await settled(stream)
    for name, stream in streams.items():
        stream.end_input()
        assert [plain(text) for text in (await readers[name]).finals] == speeches[name]


@pytest.mark.parametrize(("sample_rate", "channels"), [(48000, 2), (44100, 1), (8000, 1)])
async def test_audio_of_other_rates_and_channels_is_understood(
    stt: faster_whisper.STT, sample_rate: int, channels: int
) -> None:
    stream = stt.stream()
    reading = asyncio.create_task(collect(stream))
    audio = np.concatenate(
        [
            np.zeros(sample_rate // 2, np.float32),
            speak("what time is it", sample_rate=sample_rate),
            np.zeros(sample_rate, np.float32),
        ]
    )
    for frame in frames(audio, sample_rate=sample_rate, channels=channels):
        stream.push_frame(frame)
    stream.end_input()
    assert [plain(text) for text in (await reading).finals] == ["what time is it"]


async def test_a_change_of_rate_and_what_is_no_frame_are_refused(stt: faster_whisper.STT) -> None:
    async with stt.stream() as stream:
        stream.push_frame(next(frames(silence(0.02))))
        with pytest.raises(ValueError, match="sample rate"):
            stream.push_frame(next(frames(silence(0.06), sample_rate=48000)))
        with pytest.raises(TypeError, match="AudioFrame"):
            stream.push_frame(b"pcm")  # type: ignore[arg-type]


async def test_closing_a_stream_midway_leaves_no_task_and_refuses_more_audio(
    stt: faster_whisper.STT,
) -> None:
    before = asyncio.all_tasks()
    stream = stt.stream()
    await play(stream, speak("what is the weather in london")[:16000])
    await stream.aclose()
    await stream.aclose()
    assert asyncio.all_tasks() == before
    with pytest.raises(RuntimeError):
        stream.push_frame(next(frames(silence(0.02))))


async def test_closing_the_stt_closes_its_streams() -> None:
    stt = faster_whisper.STT()
    stream = stt.stream()
    await play(stream, silence(0.1))
    await stt.aclose()
    assert [event async for event in stream] == []


async def test_the_loop_is_never_held_for_a_tenth_of_a_second(stt: faster_whisper.STT) -> None:
    """By the loop thread's own processor time, which other programs don't lengthen."""
    longest = 0.0
    over = False

    async def watch() -> None:
        nonlocal longest
        while not over:
            began = time.thread_time()
            await asyncio.sleep(0)
            longest = max(longest, time.thread_time() - began)

    watching = asyncio.create_task(watch())
    streams = [stt.stream() for _ in range(3)]
    readers = [asyncio.create_task(collect(stream)) for stream in streams]
    audio = said("what time is it", "where is my order")
    for stream in streams:
        # All at once, and once as one frame of several seconds: the worst that a caller can do.
        stream.push_frame(next(frames(audio, frame_ms=len(audio) // 16)))
        stream.end_input()
    finals = [plain(" ".join((await reader).finals)) for reader in readers]
    over = True
    await watching
    assert finals == ["what time is it where is my order"] * 3
    assert longest < 0.1


async def test_options_can_change_while_a_stream_runs(stt: faster_whisper.STT) -> None:
    stream = stt.stream()
    heard = Heard()
    reading = asyncio.create_task(collect(stream, heard))
    stt.update_options(min_silence=0.2, speculative_silence=0.1)
    await play(stream, said("yes please", gap=0.35))
    await arrived(heard, Kind.FINAL_TRANSCRIPT)
    assert [plain(text) for text in heard.finals] == ["yes please"]
    stream.end_input()
    await reading


async def test_what_has_been_said_is_forgotten(stt: faster_whisper.STT) -> None:
    """Memory must not grow with the length of a call, nor with the number of calls."""
    stream = stt.stream()
    reading = asyncio.create_task(collect(stream))
    sizes = []
    for _ in range(6):
        await play(stream, said("yes please"), step_s=0.3)
        gc.collect()
        utterances = sum(isinstance(thing, Utterance) for thing in gc.get_objects())
        sizes.append((utterances, len(stream._listener._recent)))
    # The last one, and the third of a second that a next one would start with.
    assert max(count for count, _ in sizes) <= 1
    assert max(kept for _, kept in sizes) <= 2 * 16000 * 0.4
    stream.end_input()
    await reading
    await stream.aclose()
    gone = weakref.ref(stream)
    del stream, reading
    await asyncio.sleep(0)
    gc.collect()
    assert gone() is None


async def test_without_interims_only_the_ends_are_sent() -> None:
    async with faster_whisper.STT(interim_results=False) as stt:
        heard = await transcribe(stt.stream(), said("thank you"))
    assert heard.of(Kind.INTERIM_TRANSCRIPT) == []
    assert [plain(text) for text in heard.finals] == ["thank you"]


async def test_a_frame_without_samples_is_harmless(stt: faster_whisper.STT) -> None:
    stream = stt.stream()
    stream.push_frame(
        rtc.AudioFrame(data=b"", sample_rate=16000, num_channels=1, samples_per_channel=0)
    )
    heard = await transcribe(stream, said("thank you"))
    assert [plain(text) for text in heard.finals] == ["thank you"]
