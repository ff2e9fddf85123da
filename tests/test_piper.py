from __future__ import annotations

import asyncio
import gc
import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from livekit.agents import APIConnectionError, APIConnectOptions, APITimeoutError
from livekit.agents.metrics import TTSMetrics
from livekit.agents.tts import TTSError

from livekit.plugins import espeak, piper
from livekit.plugins.piper import engine as piper_engine
from livekit.plugins.piper.engine import Engine, SpeechOptions
from livekit.plugins.piper.speech import MAX_PIECE_CHARS, split_long
from tests import tiny_piper
from tests.tts_probe import ONCE, WholePushes, open_stream, pcm, speak, stream_out, times, words

TEXT = "Hello there, my friend. It costs 3.14 today, and the end of the story is near."

ODD_TEXTS = [
    "",
    "   ",
    "\n\n",
    "😀🎉",
    "--help -v",
    "-",
    "...",
    "\u200b",
    "<speak>yes <break time='1s'/> no</speak>",
    "[[hE@]] [[",
    "null \0 byte",
    "lone \ud800 surrogate",
    "你好，今天",
    "9" * 400,
    "word " * 2000,
    "x" * 10_000,
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("voices")
    tiny_piper.build(made / "en_US-tiny-low.onnx")
    tiny_piper.build(made / "en_US-other-low.onnx", seed=8, rate=16000)
    tiny_piper.build(made / "en_US-three-low.onnx", speakers=3)
    tiny_piper.build(made / "en_US-whole-low.onnx", splittable=False)
    return made


def voice(folder: Path, name: str = "en_US-tiny-low", **arguments: Any) -> piper.TTS:
    return piper.TTS(model=name, models_dir=folder, num_threads=1, **arguments)


async def test_a_voice_speaks_by_name_and_by_path(folder: Path) -> None:
    by_name = voice(folder, noise_scale=0.0)
    by_path = piper.TTS(model=folder / "en_US-tiny-low.onnx", num_threads=1, noise_scale=0.0)
    one, two = pcm(await speak(by_name, TEXT)), pcm(await speak(by_path, TEXT))
    assert np.array_equal(one, two)
    assert len(one) > 22050
    assert by_name._engine is by_path._engine
    assert (by_name.model, by_name.provider) == ("en_US-tiny-low", "Piper")
    assert by_name.label == "livekit.plugins.piper.tts.TTS"
    assert by_name.capabilities.streaming and by_name.capabilities.aligned_transcript
    assert piper.local_voices(folder) == [
        "en_US-other-low", "en_US-three-low", "en_US-tiny-low", "en_US-whole-low",
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["en_US-tiny-low", "en_US-other-low"])
async def test_frames_hold_at_most_four_kilobytes_and_only_the_last_is_final(
    folder: Path, name: str
) -> None:
    events = await speak(voice(folder, name), TEXT)
    assert events[0].frame.sample_rate == (22050 if "tiny" in name else 16000)
    assert max(len(event.frame.data) * 2 for event in events[:-1]) <= 4096
    assert [event.is_final for event in events] == [False] * (len(events) - 1) + [True]
    assert len({event.request_id for event in events}) == 1


@pytest.mark.parametrize("name", ["en_US-tiny-low", "en_US-whole-low"])
async def test_nothing_is_lost_or_added_between_engine_and_listener(
    folder: Path, name: str
) -> None:
    tts = voice(folder, name, noise_scale=0.0)
    heard = pcm(await speak(tts, TEXT))
    options = SpeechOptions(noise_scale=0.0)
    whole = Engine(piper.find_voice(folder / f"{name}.onnx"), 1)
    whole.load()
    parts = [
        np.frombuffer(whole.to_pcm(part(), options), np.int16)
        for sentence in whole.phonemize(TEXT)
        for part in whole.begin(sentence, options).parts
    ]
    expected = np.concatenate(parts)
    # LiveKit ends a segment with a silent marker of 10 ms.
    assert np.array_equal(heard[: len(expected)], expected)
    assert not heard[len(expected) :].any()
    assert len(heard) - len(expected) <= 221


async def test_the_first_sound_comes_before_the_sentence_has_been_decoded(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tts = voice(folder)
    await speak(tts, "Warm.")
    steps = StepsOf(tts._engine, monkeypatch, blocked_from=2)
    stream = tts.synthesize(TEXT, conn_options=ONCE)
    first = await anext(stream)
    assert first.frame.samples_per_channel > 0
    assert steps.done == 1
    steps.release.set()
    assert len([event async for event in stream]) > 5
    assert steps.done > 3


class StepsOf:
    """Counts an engine's decoding steps, and can hold them up."""

    def __init__(
        self, engine: Engine, monkeypatch: pytest.MonkeyPatch, *, blocked_from: int
    ) -> None:
        self.begun = self.done = 0
        self.release = threading.Event()
        self.blocked = threading.Event()
        self._to_pcm = engine.to_pcm
        self._blocked_from = blocked_from
        monkeypatch.setattr(engine, "to_pcm", self)

    def __call__(self, samples: Any, options: SpeechOptions) -> bytes:
        self.begun += 1
        if self.begun >= self._blocked_from:
            self.blocked.set()
            self.release.wait(30)
        audio = self._to_pcm(samples, options)
        self.done += 1
        return audio


async def test_closing_a_stream_stops_the_engine_at_the_next_window(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = asyncio.all_tasks()
    tts = voice(folder)
    await speak(tts, "Warm.")
    steps = StepsOf(tts._engine, monkeypatch, blocked_from=2)
    stream = tts.stream(conn_options=ONCE)
    stream.push_text(TEXT * 20)
    await anext(stream)
    await asyncio.to_thread(steps.blocked.wait, 30)
    await stream.aclose()
    await stream.aclose()
    steps.release.set()
    while steps.done < steps.begun:
        await asyncio.sleep(0.005)
    # Whatever the cancelled utterance had still wanted would be in the queue before this.
    await asyncio.wrap_future(tts._engine.threads.submit(int))
    assert (steps.begun, steps.done) == (2, 2)
    assert asyncio.all_tasks() == before
    assert len(pcm(await speak(tts, "Still here."))) > 5000
    await tts.aclose()
    await tts.aclose()


@pytest.mark.parametrize("name", ["en_US-tiny-low", "en_US-whole-low"])
async def test_word_times_cover_the_text_and_the_audio_in_order(folder: Path, name: str) -> None:
    tts = voice(folder, name)
    for events in (await speak(tts, TEXT), await stream_out(tts, TEXT)):
        spoken = words(events)
        at = times(spoken)
        assert "".join(spoken).split() == TEXT.split()
        assert at == sorted(at)
        assert at[0] == 0.0
        assert at[-1] == pytest.approx(len(pcm(events)) / 22050, abs=0.06)
        assert all(end > start for start, end in zip(at[::2], at[1::2], strict=True))


@pytest.mark.parametrize("text", ODD_TEXTS, ids=lambda t: repr(t[:20]))
async def test_odd_text_ends_with_audio_and_without_an_error(folder: Path, text: str) -> None:
    tts = voice(folder)
    assert len(pcm(await speak(tts, text))) > 0
    events = await stream_out(tts, text)
    assert len(pcm(events)) > 0 if text else not events


async def test_a_tokenizer_of_the_caller_decides_what_is_spoken_at_once(folder: Path) -> None:
    tts = voice(folder, tokenizer=WholePushes())
    async with tts.stream(conn_options=ONCE) as stream:
        stream.push_text("Sure,")
        assert (await anext(stream)).frame.samples_per_channel > 0
        stream.end_input()
        assert "".join(words([event async for event in stream])) == "Sure,"


async def test_audio_of_the_first_sentence_comes_while_the_second_is_still_written(
    folder: Path,
) -> None:
    async with voice(folder).stream(conn_options=ONCE) as stream:
        stream.push_text("The first sentence is here. And the second")
        first = await anext(stream)
        stream.push_text(" one follows.")
        stream.end_input()
        rest = [event async for event in stream]
    assert rest[-1].is_final
    assert {event.segment_id for event in rest} == {first.segment_id}


async def test_speaker_speed_noise_and_volume_change_the_audio(folder: Path) -> None:
    async def said(name: str = "en_US-tiny-low", **arguments: Any) -> Any:
        return pcm(await speak(voice(folder, name, **arguments), TEXT))

    plain = await said(noise_scale=0.0)
    assert np.array_equal(plain, await said(noise_scale=0.0))
    noisy = await said(noise_scale=1.0)
    assert noisy.shape == plain.shape and not np.array_equal(noisy, plain)
    assert len(await said(speed=2.0)) < 0.7 * len(plain)
    quiet = await said(noise_scale=0.0, volume=0.25)
    assert np.abs(quiet).max() == pytest.approx(0.25 * np.abs(plain).max(), rel=0.01)
    three = "en_US-three-low"
    speakers = [await said(three, noise_scale=0.0, speaker=n) for n in (0, 1, "speaker1")]
    assert not np.array_equal(speakers[0], speakers[1])
    assert np.array_equal(speakers[1], speakers[2])
    assert voice(folder, three).speakers == ["speaker0", "speaker1", "speaker2"]


async def test_loudness_is_the_same_for_every_sentence_and_never_wraps(folder: Path) -> None:
    calm = pcm(await speak(voice(folder), "0 1 2 3 4 5 6 7 8 9."))
    assert 0.6 * 32767 < np.abs(calm.astype(int)).max() <= 32767
    quiet = pcm(await speak(voice(folder, noise_scale=0.0), "Mm."))
    loud = pcm(await speak(voice(folder, noise_scale=0.0), "Mm. Yes, " + TEXT))
    assert np.array_equal(quiet[:2000], loud[:2000])
    clipped = pcm(await speak(voice(folder, noise_scale=0.0, volume=2.0), TEXT))
    plain = pcm(await speak(voice(folder, noise_scale=0.0), TEXT))
    strong = np.abs(plain.astype(int)) > 1000
    assert np.array_equal(np.sign(clipped[strong]), np.sign(plain[strong]))
    assert np.abs(clipped.astype(int)).max() == 32767


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"speaker": "nobody"}, "has no speaker 'nobody'"),
        ({"speaker": 1}, "has no speaker 1; it has 1"),
        ({"speaker": -1}, "has no speaker"),
        ({"speed": 0.0}, "speed must be between"),
        ({"noise_scale": 3.0}, "noise_scale must be between"),
        ({"volume": -0.1}, "volume must be between"),
    ],
)
async def test_a_bad_option_is_refused_and_changes_nothing(
    folder: Path, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        voice(folder, **arguments)
    tts = voice(folder, speed=1.5)
    with pytest.raises(ValueError, match=message):
        tts.update_options(**{"noise_w_scale": 0.5, **arguments})
    assert tts._options == SpeechOptions(speed=1.5)


async def test_new_options_hold_for_later_streams_only(folder: Path) -> None:
    tts = voice(folder, noise_scale=0.0)
    under_way = tts.stream(conn_options=ONCE)
    tts.update_options(speed=3.0)
    later = tts.stream(conn_options=ONCE)
    lengths: list[int] = []
    for stream in (under_way, later):
        async with stream:
            stream.push_text(TEXT)
            stream.end_input()
            lengths.append(len(pcm([event async for event in stream])))
    assert lengths[1] < 0.7 * lengths[0]


async def test_two_voices_in_several_rooms_at_once_do_not_mix(folder: Path) -> None:
    one = voice(folder, noise_scale=0.0)
    two = voice(folder, "en_US-other-low", noise_scale=0.0)
    robot = espeak.TTS()
    assert one._engine is not two._engine
    rooms = [one, two, robot, one, two]
    alone = [pcm(await speak(tts, TEXT * 3)) for tts in rooms]
    together = await asyncio.gather(*(speak(tts, TEXT * 3) for tts in rooms))
    for tts, expected, events in zip(rooms, alone, together, strict=True):
        if tts is robot:  # its noise is random
            assert len(pcm(events)) == pytest.approx(len(expected), rel=0.02)
        else:
            assert np.array_equal(pcm(events), expected)


def test_a_voice_that_nobody_speaks_with_leaves_memory(folder: Path) -> None:
    tts = voice(folder, "en_US-three-low")
    number = len(piper_engine._shared)
    assert voice(folder, "en_US-three-low")._engine is tts._engine
    del tts
    gc.collect()
    assert len(piper_engine._shared) < number


@pytest.mark.parametrize("model", ["en_US-nobody-medium", "nowhere/voice.onnx", "", "a/b"])
def test_a_voice_that_is_not_here_is_refused_with_advice(folder: Path, model: str) -> None:
    with pytest.raises(piper.VoiceNotFoundError, match=r"download_voice|neither a name nor a file"):
        piper.TTS(model=model, models_dir=folder)


@pytest.mark.parametrize("content", [None, "", "{}", "[]", '{"audio": {"sample_rate": 0}}'])
def test_a_voice_with_a_broken_json_file_is_refused(
    folder: Path, tmp_path: Path, content: str | None
) -> None:
    model = tmp_path / "voice.onnx"
    model.write_bytes((folder / "en_US-tiny-low.onnx").read_bytes())
    if content is not None:
        Path(f"{model}.json").write_text(content)
    with pytest.raises((piper.VoiceConfigError, piper.VoiceNotFoundError), match=r"voice\.onnx"):
        piper.TTS(model=model)


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_broken_model_file_is_an_error_that_is_not_retried(
    folder: Path, tmp_path: Path, streamed: bool
) -> None:
    model = tmp_path / "voice.onnx"
    model.write_bytes(b"not a graph")
    config = json.loads((folder / "en_US-tiny-low.onnx.json").read_text())
    Path(f"{model}.json").write_text(json.dumps(config))
    tts = piper.TTS(model=model)
    told: list[TTSError] = []
    tts.on("error", told.append)
    options = APIConnectOptions(max_retry=3, retry_interval=0.01, timeout=20)
    stream = open_stream(tts, "Hello there.", options, streamed=streamed)
    with pytest.raises(APIConnectionError, match="is not a Piper voice") as raised:
        async with stream:
            await anext(stream)
    assert not raised.value.retryable
    assert [error.recoverable for error in told] == [False]


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_failure_is_retried_and_told(
    folder: Path, streamed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    tts = voice(folder)
    await speak(tts, "Warm.")
    begin, failures = tts._engine.begin, [RuntimeError("out of memory")]

    def fail_once(*arguments: Any) -> Any:
        if failures:
            raise failures.pop()
        return begin(*arguments)

    monkeypatch.setattr(tts._engine, "begin", fail_once)
    told: list[TTSError] = []
    tts.on("error", told.append)
    options = APIConnectOptions(max_retry=1, retry_interval=0.01, timeout=20)
    stream = open_stream(tts, TEXT, options, streamed=streamed)
    async with stream:
        assert len(pcm([event async for event in stream])) > 22050
    assert [error.recoverable for error in told] == [True]
    assert isinstance(told[0].error, APIConnectionError) and told[0].error.retryable


@pytest.mark.parametrize("streamed", [False, True])
async def test_an_engine_that_gives_nothing_is_a_timeout_and_recovers(
    folder: Path, streamed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    tts = voice(folder)
    await speak(tts, "Warm.")
    steps = StepsOf(tts._engine, monkeypatch, blocked_from=1)
    options = APIConnectOptions(max_retry=0, timeout=0.05)
    stream = open_stream(tts, TEXT, options, streamed=streamed)
    with pytest.raises(APITimeoutError):
        async with stream:
            await anext(stream)
    steps.release.set()
    assert len(pcm(await speak(tts, TEXT))) > 22050


async def test_metrics_name_the_voice_and_count_the_characters(folder: Path) -> None:
    tts = voice(folder)
    seen: list[TTSMetrics] = []
    tts.on("metrics_collected", seen.append)
    await speak(tts, "Good day.")
    events = await stream_out(tts, "Good evening, ", "dear people.")
    assert [m.characters_count for m in seen] == [9, 26]
    assert all(m.ttfb >= 0 and m.audio_duration > 0.3 for m in seen)
    assert seen[1].request_id == events[0].request_id != seen[0].request_id
    assert seen[0].metadata is not None
    assert seen[0].metadata.model_name == "en_US-tiny-low"
    assert seen[0].metadata.model_provider == "Piper"


async def test_prewarm_loads_the_voice_in_its_own_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded_by: list[str] = []
    load = Engine.load

    def noted(engine: Engine, *arguments: Any) -> None:
        load(engine, *arguments)
        loaded_by.append(threading.current_thread().name)

    monkeypatch.setattr(Engine, "load", noted)
    tts = piper.TTS(model=tiny_piper.build(tmp_path / "cold.onnx"), num_threads=1)
    assert not loaded_by and tts.loading
    tts.prewarm()
    while not loaded_by:
        await asyncio.sleep(0.01)
    assert loaded_by[0].startswith("piper-")
    assert not tts.loading


def test_a_missing_extra_is_named_with_its_install_command(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"pip install 'livekit-agent-worker\[piper\]'"):
        piper.TTS()


def test_long_text_is_cut_between_words_and_nothing_is_lost() -> None:
    text = "Some words here, and more. " * 60
    pieces = split_long(text)
    assert "".join(pieces) == text
    assert max(map(len, pieces)) <= MAX_PIECE_CHARS
    assert all(piece.endswith((", ", ". ")) for piece in pieces)


def test_importing_the_plugin_loads_no_engine_and_starts_no_thread() -> None:
    root = Path(__file__).resolve().parent.parent
    code = (
        "import sys, threading; sys.path[:0] = sys.argv[1:]\n"
        "import livekit.plugins.piper as p\n"
        "assert p.__file__.startswith(sys.argv[2]), p.__file__\n"
        "assert not {'piper', 'onnx', 'onnxruntime'} & set(sys.modules), sys.modules.keys()\n"
        "assert threading.active_count() == 1, threading.enumerate()\n"
    )
    subprocess.run(
        [sys.executable, "-c", code, str(root), str(root / "plugins")], check=True, timeout=50
    )
