from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from livekit.agents import APIConnectionError, APIConnectOptions, APITimeoutError
from livekit.agents.metrics import TTSMetrics

from livekit.plugins import espeak, kokoro
from livekit.plugins.kokoro import engine as kokoro_engine
from livekit.plugins.kokoro.engine import Engine, SpeechOptions
from livekit.plugins.kokoro.graph import Rendered, Stop
from tests import tiny_kokoro
from tests.tts_probe import ONCE, open_stream, pcm, speak, stream_out, times, words

TEXT = "Hello there, my friend. It costs 3.14 today, and the end of the story is near."

ODD_TEXTS = [
    "", "   ", "\n\n", "😀🎉", "--help -v", "-", "...", "\u200b", "null \0 byte",
    "lone \ud800 surrogate", "你好，今天", "9" * 400, "word " * 500, "x" * 2000,
    "(en) is a mark of espeak", "Mr. and Mrs. Smith",
]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_kokoro.build(tmp_path_factory.mktemp("kokoro"))


def voice(folder: Path, **arguments: Any) -> kokoro.TTS:
    return kokoro.TTS(models_dir=folder, num_threads=1, **arguments)


def test_a_voice_brings_its_language_and_a_language_its_voice(folder: Path) -> None:
    def chosen(**arguments: Any) -> tuple[str, str]:
        options = voice(folder, **arguments)._options
        return options.voice, options.language.tag

    assert chosen() == ("af_heart", "en-US")
    assert chosen(voice="bf_emma") == ("bf_emma", "en-GB")
    assert chosen(language="fr-CA") == ("ff_siwis", "fr")
    assert chosen(voice="am_adam", language="it") == ("am_adam", "it")
    assert chosen(voice="jf_alpha", language="en") == ("jf_alpha", "en-US")
    # nobody here was made for Spanish, so somebody speaks it with an accent
    assert chosen(language="es") == ("af_heart", "es")


def test_what_kokoro_cannot_speak_is_refused_with_what_it_can(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"does not speak 'ja' here; it speaks en-US, .*pt-BR"):
        voice(folder, language="ja")
    with pytest.raises(ValueError, match="jf_alpha was made for cannot be phonemized"):
        voice(folder, voice="jf_alpha")
    with pytest.raises(kokoro.VoiceNotFoundError, match="no voice 'nobody' here; it has af_heart"):
        voice(folder, voice="nobody")
    with pytest.raises(kokoro.VoiceNotFoundError, match="agent-worker download-files"):
        kokoro.TTS(models_dir=folder / "nowhere")
    tts = voice(folder)
    with pytest.raises(ValueError, match="speed must be between"):
        tts.update_options(speed=9.0, volume=0.5)
    assert tts._options == SpeechOptions()


async def test_all_voices_share_one_model_and_say_who_they_are(folder: Path) -> None:
    one, two = voice(folder), voice(folder, voice="am_adam")
    assert one._engine is two._engine
    assert (two.model, two.provider) == ("am_adam", "Kokoro")
    assert one.voices == tiny_kokoro.VOICES
    assert one.capabilities.streaming and one.capabilities.aligned_transcript
    assert not np.array_equal(
        pcm(await speak(one, "Yes."))[:2000], pcm(await speak(two, "Yes."))[:2000]
    )
    number = len(kokoro_engine._shared)
    del one, two
    gc.collect()
    assert len(kokoro_engine._shared) < number


async def test_frames_hold_at_most_four_kilobytes_and_only_the_last_is_final(folder: Path) -> None:
    events = await speak(voice(folder), TEXT)
    assert events[0].frame.sample_rate == 24000
    assert max(len(event.frame.data) * 2 for event in events[:-1]) <= 4096
    assert [event.is_final for event in events] == [False] * (len(events) - 1) + [True]


async def test_nothing_is_lost_or_added_between_engine_and_listener(folder: Path) -> None:
    tts = voice(folder)
    heard = pcm(await speak(tts, TEXT))
    whole = Engine(kokoro.find_files(folder), 1)
    whole.load()
    options = SpeechOptions()
    expected = np.concatenate(
        [
            np.frombuffer(whole.to_pcm(whole.render(p, options, Stop()).samples, options), np.int16)
            for p in whole.phrases(TEXT, options.language)
        ]
    )
    # LiveKit ends a segment with a silent marker of 10 ms.
    assert np.array_equal(heard[: len(expected)], expected)
    assert not heard[len(expected) :].any() and len(heard) - len(expected) <= 241


class HeldUp:
    """Counts an engine's phrases, and holds them up from one on."""

    def __init__(self, engine: Engine, monkeypatch: pytest.MonkeyPatch, *, from_: int) -> None:
        self.begun = self.done = 0
        self.release, self.blocked = threading.Event(), threading.Event()
        self.stops: list[Stop] = []
        self._render, self._from = engine.render, from_
        monkeypatch.setattr(engine, "render", self)

    def __call__(self, phrase: str, options: SpeechOptions, stop: Stop) -> Rendered:
        self.begun += 1
        self.stops.append(stop)
        if self.begun >= self._from:
            self.blocked.set()
            self.release.wait(30)
        rendered = self._render(phrase, options, stop)
        self.done += 1
        return rendered


async def test_the_first_sound_comes_before_the_sentence_has_been_made(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tts = voice(folder)
    steps = HeldUp(tts._engine, monkeypatch, from_=2)
    stream = tts.synthesize("When the rain has stopped, we go out together.", conn_options=ONCE)
    assert (await anext(stream)).frame.samples_per_channel > 0
    assert steps.done == 1
    steps.release.set()
    assert len([event async for event in stream]) > 5
    assert steps.done == 2


async def test_closing_a_stream_ends_the_phrase_that_is_being_made(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = asyncio.all_tasks()
    tts = voice(folder)
    steps = HeldUp(tts._engine, monkeypatch, from_=2)
    stream = tts.stream(conn_options=ONCE)
    stream.push_text(TEXT * 5)
    await anext(stream)
    await asyncio.to_thread(steps.blocked.wait, 30)
    await stream.aclose()
    await stream.aclose()
    assert all(stop.is_set for stop in steps.stops)
    steps.release.set()
    # Whatever the cancelled utterance had still wanted would be in the queue before this.
    await asyncio.wrap_future(tts._engine.threads.submit(int))
    # the run that began after the stop was refused by the runtime
    assert (steps.begun, steps.done) == (2, 1)
    assert asyncio.all_tasks() == before
    monkeypatch.undo()
    assert len(pcm(await speak(tts, "Still here."))) > 5000
    await tts.aclose()
    await tts.aclose()


async def test_word_times_cover_the_text_and_the_audio_in_order(folder: Path) -> None:
    tts = voice(folder)
    for events in (await speak(tts, TEXT), await stream_out(tts, TEXT)):
        spoken = words(events)
        at = times(spoken)
        assert "".join(spoken).split() == TEXT.split()
        assert at == sorted(at)
        assert at[0] == 0.0
        assert at[-1] == pytest.approx(len(pcm(events)) / 24000, abs=0.06)
        assert all(end > start for start, end in zip(at[::2], at[1::2], strict=True))


async def test_a_word_lasts_as_long_as_the_graph_says(folder: Path) -> None:
    spoken = words(await speak(voice(folder), "Go ahead"))
    sounds = voice(folder)._engine.phrases("Go ahead", SpeechOptions().language)[0]
    border = sounds.index(" ") + 1
    lead = tiny_kokoro.FRAMES * 600 - 24000 * 0.03  # the sine sounds at once: little is cut
    assert times(spoken)[1] == pytest.approx(
        (border * tiny_kokoro.FRAMES * 600 + lead) / 24000, abs=0.031
    )


async def test_words_are_spread_evenly_where_the_graph_hides_its_lengths(tmp_path: Path) -> None:
    tts = voice(tiny_kokoro.build(tmp_path, durations=False))
    events = await speak(tts, "Two words.")
    assert "".join(words(events)) == "Two words."
    assert times(words(events))[-1] == pytest.approx(len(pcm(events)) / 24000, abs=0.06)


@pytest.mark.parametrize("text", ODD_TEXTS, ids=lambda t: repr(t[:20]))
async def test_odd_text_ends_with_audio_and_without_an_error(folder: Path, text: str) -> None:
    tts = voice(folder)
    assert len(pcm(await speak(tts, text))) > 0
    events = await stream_out(tts, text)
    assert len(pcm(events)) > 0 if text else not events


async def test_speed_volume_and_new_options_change_what_comes_later(folder: Path) -> None:
    tts = voice(folder)
    plain = pcm(await speak(tts, TEXT))
    under_way = tts.synthesize(TEXT, conn_options=ONCE)
    tts.update_options(speed=2.0, volume=0.5)
    changed = pcm(await speak(tts, TEXT))
    assert len(changed) < 0.7 * len(plain)
    assert np.abs(changed).max() == pytest.approx(0.5 * np.abs(plain).max(), rel=0.01)
    async with under_way:
        assert len(pcm([event async for event in under_way])) == len(plain)


async def test_rooms_with_voices_of_several_languages_and_of_espeak_do_not_mix(
    folder: Path,
) -> None:
    # all of them take their phonemes from one library with one voice at a time
    rooms = [voice(folder), voice(folder, voice="ff_siwis"), espeak.TTS(language="de")] * 2
    alone = [pcm(await speak(tts, TEXT * 3)) for tts in rooms]
    together = await asyncio.gather(*(speak(tts, TEXT * 3) for tts in rooms))
    for tts, expected, events in zip(rooms, alone, together, strict=True):
        if isinstance(tts, espeak.TTS):  # its noise is random
            assert len(pcm(events)) == pytest.approx(len(expected), rel=0.02)
        else:
            assert np.array_equal(pcm(events), expected)


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_broken_file_is_an_error_that_is_not_retried(
    folder: Path, tmp_path: Path, streamed: bool
) -> None:
    (tmp_path / "kokoro-v1.0.int8.onnx").write_bytes(b"not a graph")
    (tmp_path / "voices-v1.0.bin").write_bytes((folder / "voices-v1.0.bin").read_bytes())
    options = APIConnectOptions(max_retry=3, retry_interval=0.01, timeout=20)
    stream = open_stream(voice(tmp_path), "Hello there.", options, streamed=streamed)
    with pytest.raises(APIConnectionError, match="is not Kokoro's graph") as raised:
        async with stream:
            await anext(stream)
    assert not raised.value.retryable
    (tmp_path / "voices-v1.0.bin").write_bytes(b"no pack")
    with pytest.raises(kokoro.VoicePackError, match="is not a pack of Kokoro voices"):
        voice(tmp_path)


async def test_a_failure_is_retried_and_a_stall_is_a_timeout(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tts = voice(folder)
    await speak(tts, "Warm.")
    render, failures = tts._engine.render, [RuntimeError("out of memory")]

    def fail_once(*arguments: Any) -> Any:
        if failures:
            raise failures.pop()
        return render(*arguments)

    monkeypatch.setattr(tts._engine, "render", fail_once)
    options = APIConnectOptions(max_retry=1, retry_interval=0.01, timeout=20)
    async with open_stream(tts, TEXT, options, streamed=True) as stream:
        assert len(pcm([event async for event in stream])) > 24000
    monkeypatch.undo()
    steps = HeldUp(tts._engine, monkeypatch, from_=1)
    hasty = APIConnectOptions(max_retry=0, timeout=0.05)
    with pytest.raises(APITimeoutError):
        async with open_stream(tts, TEXT, hasty, streamed=False) as stream:
            await anext(stream)
    steps.release.set()
    monkeypatch.undo()
    assert len(pcm(await speak(tts, TEXT))) > 24000


async def test_a_later_piece_that_fails_before_it_sounds_is_made_again_once_heard(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tts = voice(folder)
    whole = pcm(await stream_out(tts, "The first is here. ", "The second follows."))
    render, calls = tts._engine.render, 0

    def fail_second(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise RuntimeError("out of memory")
        return render(*arguments)

    monkeypatch.setattr(tts._engine, "render", fail_second)
    options = APIConnectOptions(max_retry=1, retry_interval=0.01, timeout=20)
    async with tts.stream(conn_options=options) as stream:
        stream.push_text("The first is here. ")
        stream.push_text("The second follows.")
        stream.end_input()
        events = [event async for event in stream]
    assert calls == 3
    assert np.array_equal(pcm(events), whole)
    assert "".join(words(events)) == "The first is here. The second follows."


async def test_metrics_name_the_voice_and_count_the_characters(folder: Path) -> None:
    tts = voice(folder)
    seen: list[TTSMetrics] = []
    tts.on("metrics_collected", seen.append)
    await speak(tts, "Good day.")
    assert seen[0].characters_count == 9 and seen[0].audio_duration > 0.3
    assert seen[0].metadata is not None
    assert seen[0].metadata.model_name == "af_heart"
    assert seen[0].metadata.model_provider == "Kokoro"


async def test_prewarm_loads_the_model_in_its_own_thread(tmp_path: Path) -> None:
    tts = voice(tiny_kokoro.build(tmp_path))
    assert tts.loading
    tts.prewarm()
    await asyncio.wrap_future(tts._engine.threads.submit(int))
    while tts.loading:
        await asyncio.sleep(0.005)
    assert tts._engine._graph is not None


def test_a_missing_extra_is_named_with_its_install_command(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"pip install 'livekit-agent-worker\[kokoro\]'"):
        kokoro.TTS()


def test_the_plugin_registers_without_loading_anything() -> None:
    code = (
        "import livekit.plugins.kokoro, sys; from livekit.agents import Plugin; "
        "print([p.title for p in Plugin.registered_plugins], 'onnxruntime' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[0] == "['livekit.plugins.kokoro'] False"
