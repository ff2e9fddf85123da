from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import threading
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from livekit.agents import APIConnectionError, APIConnectOptions, APITimeoutError
from livekit.agents.metrics import TTSMetrics
from livekit.agents.tts import TTSError

from livekit.plugins import espeak
from livekit.plugins.espeak.engine import (
    Engine,
    EspeakError,
    Sink,
    SpeechOptions,
    WordEvent,
    shared,
)
from livekit.plugins.espeak.languages import voice_for_language
from livekit.plugins.espeak.speech import MAX_PIECE_CHARS, WordClock, split_long
from tests.tts_probe import ONCE, WholePushes, open_stream, pcm, speak, stream_out, times, words

ODD_TEXTS = [
    "",
    "   ",
    "\n\n",
    "😀🎉",
    "👨‍👩‍👧",
    "--help -v",
    "-",
    "...",
    "\u200b",
    "<speak>yes <break time='1s'/> no</speak>",
    "</voice> a & b < c",
    "[[hE@]] {x}",
    "null \0 byte",
    "lone \ud800 surrogate",
    "word " * 2000,
    "x" * 10_000,
]


async def test_a_voice_with_no_arguments_speaks() -> None:
    async with espeak.TTS() as tts:
        events = await speak(tts, "Hello, this is a test of the voice.")
    audio = pcm(events)
    assert tts.sample_rate == 22050
    assert 1.0 < len(audio) / 22050 < 4.0
    assert np.abs(audio).max() > 3000
    assert tts.capabilities.streaming and tts.capabilities.aligned_transcript
    assert (tts.provider, tts.model) == ("espeak-ng", "en-us")
    assert tts.label == "livekit.plugins.espeak.tts.TTS"


async def test_frames_hold_at_most_four_kilobytes_and_only_the_last_is_final() -> None:
    async with espeak.TTS() as tts:
        events = await speak(tts, "One two three four five six seven eight nine ten.")
    assert len(events) > 10
    assert max(len(event.frame.data) * 2 for event in events[:-1]) <= 4096
    assert max(event.frame.duration for event in events) < 0.25
    assert [event.is_final for event in events] == [False] * (len(events) - 1) + [True]
    assert len({event.request_id for event in events}) == 1


@pytest.mark.parametrize(
    ("language", "text", "word"),
    [
        ("en", "Hello there. It costs $3.14 on 12/5, wörld!", "$3.14 "),
        ("zh", "你好，我今天很高兴。Hello！", "Hello！"),
        ("de", "Guten Tag, wie geht es Ihnen?", "geht "),
        ("ar", "مرحبا بالعالم اليوم.", "بالعالم "),
    ],
)
async def test_word_times_cover_the_text_and_the_audio_in_order(
    language: str, text: str, word: str
) -> None:
    async with espeak.TTS(language=language) as tts:
        events = await speak(tts, text)
    spoken = words(events)
    assert "".join(spoken) == text
    assert word in spoken
    at = times(spoken)
    assert at == sorted(at)
    assert at[0] == 0.0
    assert at[-1] == pytest.approx(len(pcm(events)) / 22050, abs=0.03)


async def test_word_times_of_a_later_sentence_go_on_from_the_earlier_one() -> None:
    async with espeak.TTS() as tts:
        events = await stream_out(tts, "This is the first one. ", "This is the second one.")
    spoken = words(events)
    at = times(spoken)
    expected = "This is the first one. This is the second one."
    assert "".join(spoken).split() == expected.split()
    assert at == sorted(at)
    assert at[-1] == pytest.approx(len(pcm(events)) / 22050, abs=0.03)


@pytest.mark.parametrize("text", ODD_TEXTS, ids=lambda t: repr(t[:20]))
async def test_odd_text_ends_with_audio_and_without_an_error(text: str) -> None:
    async with espeak.TTS() as tts:
        assert len(pcm(await speak(tts, text))) > 0
        events = await stream_out(tts, text)
        assert len(pcm(events)) > 0 if text else not events


async def test_audio_of_the_first_sentence_comes_while_the_second_is_still_written() -> None:
    async with espeak.TTS() as tts, tts.stream(conn_options=ONCE) as stream:
        stream.push_text("The first sentence is here. And the second")
        first = await anext(stream)
        assert first.frame.samples_per_channel > 0
        assert first.segment_id
        stream.push_text(" one follows.")
        stream.end_input()
        rest = [event async for event in stream]
    assert rest[-1].is_final
    assert {event.segment_id for event in rest} == {first.segment_id}


async def test_a_tokenizer_of_the_caller_decides_what_is_spoken_at_once() -> None:
    async with espeak.TTS(tokenizer=WholePushes()) as tts, tts.stream(conn_options=ONCE) as stream:
        stream.push_text("Sure,")
        assert (await anext(stream)).frame.samples_per_channel > 0
        stream.end_input()
        assert "".join(words([event async for event in stream])) == "Sure,"


def test_the_engine_stops_at_the_next_buffer_when_the_listener_has_gone() -> None:
    calls: list[int] = []

    def listen(audio: bytes, events: list[WordEvent]) -> bool:
        calls.append(len(audio))
        return len(calls) < 3

    shared().synthesize(
        "This sentence is much longer than three buffers of audio. " * 5, SpeechOptions(), listen
    )
    assert len(calls) == 3


async def test_closing_a_stream_midway_leaves_no_task_and_the_next_one_speaks() -> None:
    before = asyncio.all_tasks()
    tts = espeak.TTS()
    stream = tts.stream(conn_options=ONCE)
    stream.push_text("A long sentence that will not be heard. " * 50)
    await anext(stream)
    await stream.aclose()
    await stream.aclose()
    chunked = tts.synthesize("Another one. " * 50, conn_options=ONCE)
    await anext(chunked)
    await tts.aclose()
    await tts.aclose()
    assert chunked.done
    assert asyncio.all_tasks() == before
    assert len(pcm(await speak(tts, "Still here."))) > 10_000
    assert asyncio.all_tasks() == before


async def test_two_rooms_in_two_voices_at_once_do_not_mix() -> None:
    english, german = espeak.TTS(language="en"), espeak.TTS(language="de", rate_wpm=250)
    alone = [pcm(await speak(tts, "Hello and good day to all. " * 8)) for tts in (english, german)]
    together = await asyncio.gather(
        *(speak(tts, "Hello and good day to all. " * 8) for tts in (english, german))
    )
    for expected, events in zip(alone, together, strict=True):
        assert len(pcm(events)) == pytest.approx(len(expected), rel=0.02)
    assert len(alone[1]) < 0.8 * len(alone[0])


async def test_rate_pitch_and_volume_change_the_audio() -> None:
    text = "The same words each time."
    plain = pcm(await speak(espeak.TTS(), text))
    fast = pcm(await speak(espeak.TTS(rate_wpm=350), text))
    quiet = pcm(await speak(espeak.TTS(volume=20), text))
    high = pcm(await speak(espeak.TTS(pitch=99), text))
    assert len(fast) < 0.7 * len(plain)
    assert np.abs(quiet).max() < 0.5 * np.abs(plain).max()
    assert not np.array_equal(high[:20_000], plain[:20_000])


@pytest.mark.parametrize(
    "arguments",
    [
        {"voice": "xx-nobody"},
        {"voice": "en-us+nobody"},
        {"voice": ""},
        {"language": "tlh-Klingon"},
        {"rate_wpm": 10},
        {"pitch": 101},
        {"volume": -1},
    ],
)
async def test_a_bad_option_is_refused_and_changes_nothing(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"espeak-ng has no voice|must be between"):
        espeak.TTS(**arguments)
    tts = espeak.TTS(language="en-GB", pitch=60)
    with pytest.raises(ValueError, match=r"espeak-ng has no voice|must be between"):
        tts.update_options(**{"word_gap_ms": 50, **arguments})
    assert tts._options == SpeechOptions(voice="gmw/en", pitch=60)


async def test_new_options_hold_for_later_streams_only() -> None:
    tts = espeak.TTS()
    under_way = tts.stream(conn_options=ONCE)
    tts.update_options(rate_wpm=400, language="en-GB")
    assert tts.model == "gmw/en"
    later = tts.stream(conn_options=ONCE)
    lengths: list[int] = []
    for stream in (under_way, later):
        async with stream:
            stream.push_text("The same words each time, spoken at two speeds.")
            stream.end_input()
            lengths.append(len(pcm([event async for event in stream])))
    assert lengths[1] < 0.7 * lengths[0]


class FailingOnce(Engine):
    """Fails on the first text, as a broken installation that is then repaired."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def synthesize(self, text: str, options: SpeechOptions, sink: Sink) -> None:
        self.calls += 1
        if self.calls == 1:
            raise EspeakError("broken")
        sink(b"\1\0" * 22050, [])


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_failure_is_retried_and_told(streamed: bool) -> None:
    tts = espeak.TTS()
    tts._engine = FailingOnce()
    told: list[TTSError] = []
    tts.on("error", told.append)
    options = APIConnectOptions(max_retry=1, retry_interval=0.01, timeout=10)
    stream = open_stream(tts, "Hello there.", options, streamed=streamed)
    async with stream:
        assert len(pcm([event async for event in stream])) >= 22050
    assert [error.recoverable for error in told] == [True]
    assert isinstance(told[0].error, APIConnectionError)
    assert told[0].error.retryable


@pytest.mark.parametrize("streamed", [False, True])
async def test_an_engine_that_gives_nothing_is_a_timeout_and_recovers(streamed: bool) -> None:
    tts = espeak.TTS()
    release = threading.Event()
    stuck = shared().thread.submit(release.wait)
    options = APIConnectOptions(max_retry=0, timeout=0.05)
    try:
        stream = open_stream(tts, "Hello there.", options, streamed=streamed)
        with pytest.raises(APITimeoutError):
            async with stream:
                await anext(stream)
    finally:
        release.set()
        stuck.result()
    assert len(pcm(await speak(tts, "Hello there."))) > 10_000


async def test_metrics_name_the_voice_and_count_the_characters() -> None:
    tts = espeak.TTS(language="de")
    seen: list[TTSMetrics] = []
    tts.on("metrics_collected", seen.append)
    await speak(tts, "Guten Tag.")
    events = await stream_out(tts, "Guten Abend, ", "liebe Leute.")
    assert [m.characters_count for m in seen] == [10, 25]
    assert [m.streamed for m in seen] == [False, True]
    assert all(m.ttfb >= 0 and m.audio_duration > 0.3 for m in seen)
    assert seen[1].request_id == events[0].request_id != seen[0].request_id
    assert seen[0].metadata is not None
    assert seen[0].metadata.model_name == "de"
    assert seen[0].metadata.model_provider == "espeak-ng"


async def test_prewarm_loads_the_library_in_its_own_thread() -> None:
    tts = espeak.TTS()
    tts._engine = Engine()
    tts.prewarm()
    await asyncio.wrap_future(tts._engine.thread.submit(int))
    assert tts._engine._lib is not None


def test_an_engine_that_was_dropped_is_not_called_back_by_the_library() -> None:
    heard: list[int] = []

    def listen(audio: bytes, events: list[WordEvent]) -> bool:
        heard.append(len(audio))
        return True

    first, second = Engine(), Engine()
    assert first.lock is second.lock
    first.load()
    second.synthesize("Another engine.", SpeechOptions(), listen)
    callback = weakref.ref(second._callback)
    del second
    gc.collect()
    assert callback() is None
    heard.clear()
    first.synthesize("This one speaks on.", SpeechOptions(), listen)
    assert sum(heard) > 20_000


def test_the_list_of_voices_has_many_languages() -> None:
    voices = espeak.list_voices()
    tags = {voice.languages[0] for voice in voices}
    assert len(voices) > 100
    assert {"en-us", "de", "cmn", "ar", "hi", "fr"} <= tags | {"fr"}
    assert all(voice.name and voice.identifier for voice in voices)


@pytest.mark.parametrize(
    ("tag", "voice"),
    [
        ("en", "en-us"),
        ("en_GB", "gmw/en"),
        ("pt-BR", "pt-br"),
        ("zh", "cmn"),
        ("zh-Hant-TW", "cmn"),
        ("de-CH", "de"),
        ("no", "nb"),
        ("", None),
        ("tlh", None),
    ],
)
def test_a_language_tag_finds_its_voice(tag: str, voice: str | None) -> None:
    assert voice_for_language(tag, espeak.list_voices()) == voice


def test_a_missing_extra_is_named_with_its_install_command(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"pip install 'livekit-agent-worker\[espeak\]'"):
        espeak.TTS()


def test_long_text_is_cut_at_spaces_and_nothing_is_lost() -> None:
    text = "Some words here. " * 200
    pieces = split_long(text)
    assert "".join(pieces) == text
    assert max(map(len, pieces)) <= MAX_PIECE_CHARS
    assert all(piece.endswith(" ") for piece in pieces[:-1])
    assert split_long("") == [""]


def test_a_word_event_outside_the_text_or_backwards_is_ignored() -> None:
    clock = WordClock("one two")
    assert clock.begin(WordEvent(0, 0)) is None
    assert clock.begin(WordEvent(99, 50)) is None
    word = clock.begin(WordEvent(4, 2205))
    assert word is not None and (word.text, word.end) == ("one ", 0.1)
    assert clock.begin(WordEvent(0, 4410)) is None
    assert clock.finish(4410).text == "two"


def test_importing_the_plugin_loads_no_library_and_starts_no_thread() -> None:
    root = Path(__file__).resolve().parent.parent
    code = (
        "import sys, threading; sys.path[:0] = sys.argv[1:]\n"
        "import livekit.plugins.espeak as e\n"
        "assert e.__file__.startswith(sys.argv[2]), e.__file__\n"
        "assert 'espeakng_loader' not in sys.modules\n"
        "assert threading.active_count() == 1, threading.enumerate()\n"
    )
    subprocess.run(
        [sys.executable, "-c", code, str(root), str(root / "plugins")], check=True, timeout=50
    )
