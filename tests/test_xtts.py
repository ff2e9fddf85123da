"""The XTTS plugin with a real process, and a stand-in for the model in it."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import signal
import struct
import subprocess
import sys
import wave
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from livekit.agents import (
    APIConnectionError,
    APIConnectOptions,
    APIError,
    APITimeoutError,
    metrics,
    tts,
)

from livekit.plugins import xtts
from livekit.plugins.xtts import shared
from tests import fake_xtts_model as fake
from tests.fake_speech_server import frames_of
from tests.fake_xtts_model import calls, speech_for

FACTORY = f"{Path(fake.__file__).resolve()}:build"
ONCE = APIConnectOptions(max_retry=0, timeout=30)
RETRY = APIConnectOptions(max_retry=3, retry_interval=0.1, timeout=30)


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "calls.jsonl"
    monkeypatch.setenv(fake.LOG_VARIABLE, str(path))
    return path


@pytest.fixture
async def voice() -> AsyncIterator[xtts.TTS]:
    async with make() as made:
        yield made


def make(**options: Any) -> xtts.TTS:
    return xtts.TTS(**{"accept_license": True, "model_factory": FACTORY, **options})


def recording(path: Path, *, seconds: float = 7.0, rate: int = 22050, tone: int = 440) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, rate, 0, "NONE", ""))
        for start in range(int(seconds * rate)):
            file.writeframesraw(
                struct.pack("<h", int(9000 * math.sin(2 * math.pi * tone * start / rate)))
            )
    return path


async def heard(stream: tts.ChunkedStream | tts.SynthesizeStream) -> bytes:
    return b"".join([bytes(frame.data) for frame in await frames_of(stream)])


async def say(voice: xtts.TTS, text: str, conn_options: APIConnectOptions = ONCE) -> bytes:
    stream = voice.stream(conn_options=conn_options)
    stream.push_text(text)
    stream.end_input()
    return await heard(stream)


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.005)


def pid_of(voice: xtts.TTS) -> int:
    assert voice._engine.pid is not None
    return voice._engine.pid


def alive(pid: int) -> bool:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False


async def test_a_text_is_spoken_by_the_process(voice: xtts.TTS) -> None:
    audio = await heard(voice.synthesize("Good morning.", conn_options=ONCE))
    assert audio == speech_for("Good morning.")
    assert pid_of(voice) != os.getpid()
    assert os.getpgid(pid_of(voice)) != os.getpgid(0), "a Ctrl-C would end it before its worker"


async def test_streamed_text_is_spoken_in_order_while_it_is_written(voice: xtts.TTS) -> None:
    stream = voice.stream(conn_options=ONCE)
    stream.push_text("The first sentence is here. The second")
    first = await stream.__anext__()
    stream.push_text(" one is not as long.")
    stream.end_input()
    audio = bytes(first.frame.data) + await heard(stream)
    assert audio == speech_for("The first sentence is here.") + speech_for(
        "The second one is not as long."
    )


async def test_frames_are_small(voice: xtts.TTS) -> None:
    async with voice.synthesize("A text that takes two seconds." * 7, conn_options=ONCE) as stream:
        frames = [event.frame async for event in stream]
    assert max(frame.duration for frame in frames) <= 0.093
    assert max(len(bytes(frame.data)) for frame in frames) <= 4096
    assert frames[0].sample_rate == 24000


async def test_metrics_name_the_model(voice: xtts.TTS) -> None:
    collected: list[metrics.TTSMetrics] = []
    voice.on("metrics_collected", collected.append)
    await heard(voice.synthesize("Count me in.", conn_options=ONCE))
    await say(voice, "Count me in as well.")
    for found in collected:
        assert found.metadata is not None
        assert (found.metadata.model_name, found.metadata.model_provider) == ("xtts_v2", "coqui")
        assert found.ttfb > 0
        assert found.request_id
    assert [found.streamed for found in collected] == [False, True]
    assert collected[1].audio_duration == pytest.approx(0.2, abs=0.011)
    assert collected[0].request_id != collected[1].request_id


@pytest.mark.parametrize("accepted", [False, None, 1, "yes"])
def test_nothing_works_before_the_terms_are_accepted(accepted: Any) -> None:
    with pytest.raises(xtts.LicenseNotAcceptedError, match="non-commercial"):
        xtts.TTS(accept_license=accepted)
    with pytest.raises(xtts.LicenseNotAcceptedError, match="accept_license=True"):
        xtts.download_model(accept_license=accepted)


def test_the_download_fetches_only_what_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, Any] = {}

    def snapshot_download(repository: str, **options: Any) -> None:
        asked.update(options, repository=repository)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    assert xtts.download_model(accept_license=True, model_dir=tmp_path) == tmp_path
    assert asked["repository"] == "coqui/XTTS-v2"
    assert "model.pth" in asked["allow_patterns"]
    assert asked["local_dir"] == tmp_path


def test_the_worker_never_imports_torch(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("")
    (tmp_path / "TTS").mkdir()
    (tmp_path / "TTS" / "__init__.py").write_text("")
    log = tmp_path / "calls.jsonl"
    code = f"""
import asyncio, sys
from livekit.plugins import xtts

async def main():
    factory = {FACTORY + "_with_torch"!r}
    async with xtts.TTS(accept_license=True, model_factory=factory) as voice:
        async with voice.synthesize("Hello there.") as stream:
            await stream.collect()

asyncio.run(main())
print([name for name in sys.modules if name.split(".")[0] in ("torch", "TTS")])
"""
    paths = os.pathsep.join(map(str, [tmp_path, *sys.path]))
    environment = {**os.environ, "PYTHONPATH": paths, fake.LOG_VARIABLE: str(log)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
    assert calls(log)[0]["file"] == str(tmp_path / "torch.py")


async def test_a_voice_is_listened_to_once_however_it_is_named(tmp_path: Path, log: Path) -> None:
    one = recording(tmp_path / "one.wav")
    copy = tmp_path / "copy.wav"
    copy.write_bytes(one.read_bytes())
    other = recording(tmp_path / "other.wav", tone=300)
    async with make(reference_wav=one) as voice:
        assert await say(voice, "Who am I?") == speech_for("Who am I?", fake.recorded_voice(one))
        voice.update_options(reference_wav=str(copy))
        await say(voice, "Who am I now?")
        voice.update_options(reference_wav=other)
        audio = await say(voice, "And who now?")
        assert audio == speech_for("And who now?", fake.recorded_voice(other))
        voice.update_options(speaker="Ana Florence")
        assert await say(voice, "A ready voice.") == speech_for("A ready voice.", "Ana Florence")
    heard_of = [call["path"] for call in calls(log) if call["call"] == "latents"]
    assert heard_of == [str(one), str(other)]


@pytest.mark.parametrize(
    ("make_file", "says"),
    [
        (lambda path: recording(path, seconds=5.9), "5.9 s long"),
        (lambda path: recording(path, seconds=31), "over 30 s long"),
        (lambda path: recording(path, rate=8000), "16000 Hz"),
        (lambda path: recording(path, tone=0), "silent"),
        (lambda path: path.write_bytes(b"ID3 this is an mp3"), "no PCM WAV"),
        (lambda path: path.write_bytes(b""), "no PCM WAV"),
        (lambda path: None, "No such file"),
    ],
)
def test_a_recording_of_no_use_is_refused_with_the_reason(
    tmp_path: Path, make_file: Callable[[Path], Any], says: str
) -> None:
    path = tmp_path / "voice.wav"
    make_file(path)
    with pytest.raises(xtts.ReferenceVoiceError, match=says):
        make(reference_wav=path)


def test_recordings_of_six_and_thirty_seconds_are_fine(tmp_path: Path) -> None:
    for seconds in (6.0, 30.0):
        make(reference_wav=recording(tmp_path / "voice.wav", seconds=seconds, rate=16000))
    shared._engines.clear()


@pytest.mark.parametrize(
    ("given", "sent"),
    [("en-US", "en"), ("de", "de"), ("zh", "zh-cn"), ("pt_BR", "pt"), ("JA", "ja")],
)
async def test_languages_are_sent_as_the_model_names_them(log: Path, given: str, sent: str) -> None:
    async with make(language=given) as voice:
        await say(voice, "Where is it?")
    assert [call["language"] for call in calls(log) if call["call"] == "speak"] == [sent]


def test_there_are_seventeen_languages() -> None:
    assert len(xtts.LANGUAGES) == 17


@pytest.mark.parametrize(
    "options",
    [
        {"language": "xx"},
        {"language": ""},
        {"speed": 3.0},
        {"temperature": 0.0},
        {"stream_chunk_size": 0},
        {"hang_timeout_s": 0},
    ],
)
def test_arguments_that_make_no_sense_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        make(**options)
    assert shared._engines == {}


async def test_changed_options_count_from_the_next_stream_on(voice: xtts.TTS, log: Path) -> None:
    begun = voice.stream(conn_options=ONCE)
    voice.update_options(language="de", speed=1.5)
    begun.push_text("Still in English.")
    begun.end_input()
    await heard(begun)
    await say(voice, "Jetzt auf Deutsch.")
    spoken = [call for call in calls(log) if call["call"] == "speak"]
    assert [(call["language"], call["speed"]) for call in spoken] == [("en", 1.0), ("de", 1.5)]


@pytest.mark.parametrize("text", ["", "   ", "😀🎉", "--- ..."])
async def test_text_without_sound_ends_without_an_error(voice: xtts.TTS, text: str) -> None:
    await heard(voice.synthesize(text, conn_options=ONCE))
    # a text of signs alone is a turn that was said; without a text there is none
    assert set(await say(voice, text)) <= ({0} if text.strip() else set())
    assert voice._engine.pid is None, "the model was loaded for nothing"


@pytest.mark.parametrize("text", ["word " * 2000, "字" * 10_000])
async def test_ten_thousand_characters_are_cut_to_what_the_model_takes(
    log: Path, text: str
) -> None:
    async with make(language="zh") as voice:
        await heard(voice.synthesize(text, conn_options=ONCE))
    spoken = [call["text"] for call in calls(log) if call["call"] == "speak"]
    assert max(map(len, spoken)) <= 82
    assert "".join("".join(spoken).split()) == "".join(text.split())


async def test_prewarm_loads_the_model_and_listens_before_the_first_text(
    tmp_path: Path, log: Path
) -> None:
    async with make(reference_wav=recording(tmp_path / "voice.wav")) as voice:
        await asyncio.to_thread(voice.prewarm)
        await until(lambda: len(calls(log)) == 2)
    assert [call["call"] for call in calls(log)] == ["load", "latents"]


async def test_what_libraries_print_does_not_break_the_audio(voice: xtts.TTS) -> None:
    assert await say(voice, "CHATTER, chatter.") == speech_for("CHATTER, chatter.")


@pytest.mark.parametrize(
    ("factory", "text"),
    [("", "ENDLESS, this chunk would take minutes."), ("_without_hooks", "SLOW, in many chunks.")],
    ids=["between tokens", "between chunks"],
)
async def test_an_interruption_stops_the_model(log: Path, factory: str, text: str) -> None:
    async with make(model_factory=FACTORY + factory) as voice:
        stream = voice.stream(conn_options=ONCE)
        stream.push_text(text)
        stream.end_input()
        await stream.__anext__()
        await stream.aclose()
        pid = pid_of(voice)
        await until(lambda: calls(log)[-1]["call"] == "left")
        assert await say(voice, "And on we go.") == speech_for("And on we go.")
        assert pid_of(voice) == pid, "the process was killed although it obeys"


async def test_an_interruption_takes_back_what_still_waits(voice: xtts.TTS, log: Path) -> None:
    running = voice.synthesize("SLOW and first in line.", conn_options=ONCE)
    await running.__anext__()
    waiting = voice.synthesize("Second in line.", conn_options=ONCE)
    await until(lambda: len(voice._engine._jobs) == 2)
    await waiting.aclose()
    await until(lambda: len(voice._engine._jobs) == 1)
    await running.aclose()
    assert await say(voice, "Third in line.") == speech_for("Third in line.")
    spoken = [call["text"] for call in calls(log) if call["call"] == "speak"]
    assert spoken == ["SLOW and first in line.", "Third in line."]


@pytest.mark.parametrize("text", ["This is a CRASH.", "This is a SEGFAULT.", "The CUDA way out."])
async def test_a_crash_is_an_error_and_the_next_try_has_a_new_process(
    voice: xtts.TTS, text: str
) -> None:
    await say(voice, "All is well.")
    before = pid_of(voice)
    with pytest.raises(APIConnectionError, match="XTTS process") as caught:
        await say(voice, text)
    assert caught.value.retryable is True
    assert not alive(before)
    assert await say(voice, "All is well again.", RETRY) == speech_for("All is well again.")
    assert pid_of(voice) != before


async def test_a_process_that_keeps_crashing_is_started_less_and_less_often(
    voice: xtts.TTS, log: Path
) -> None:
    for _ in range(4):
        with pytest.raises(APIError):
            await say(voice, "CRASH once more.")
    with pytest.raises(APIConnectionError, match="started again in"):
        await say(voice, "Not yet.")
    assert len([call for call in calls(log) if call["call"] == "load"]) <= 4


async def test_a_process_that_does_not_stop_is_killed_and_replaced(log: Path) -> None:
    async with make(hang_timeout_s=0.3) as voice:
        with pytest.raises(APITimeoutError) as caught:
            await say(voice, "All is well.", APIConnectOptions(max_retry=0, timeout=0.001))
        assert caught.value.retryable is True
        await say(voice, "All is well.")
        before = pid_of(voice)
        with pytest.raises(APITimeoutError):
            await say(voice, "It is STUCK.", APIConnectOptions(max_retry=0, timeout=0.5))
        await until(lambda: not alive(before))
        assert await say(voice, "And on we go.", RETRY) == speech_for("And on we go.")


async def test_a_process_that_does_not_even_listen_is_killed() -> None:
    async with make(hang_timeout_s=0.3) as voice:
        await say(voice, "All is well.")
        before = pid_of(voice)
        os.kill(before, signal.SIGSTOP)
        with pytest.raises(APITimeoutError):
            await say(voice, "Nobody hears.", APIConnectOptions(max_retry=0, timeout=0.2))
        await until(lambda: not alive(before))


async def test_a_model_that_never_loads_is_given_up() -> None:
    quick = APIConnectOptions(max_retry=0, timeout=0.3)
    async with make(model_factory=f"{FACTORY}_never", load_timeout_s=0.001) as voice:
        with pytest.raises(APITimeoutError, match="still being loaded"):
            await say(voice, "Hello there.", quick)
        await until(lambda: voice._engine.pid is None)


async def test_a_model_that_fails_to_load_says_why(log: Path) -> None:
    async with make(model_factory=f"{FACTORY}_broken") as voice:
        with pytest.raises(APIConnectionError, match="out of memory") as caught:
            await say(voice, "Hello there.")
    assert caught.value.retryable is True


async def test_an_error_of_the_model_leaves_the_process_alive(voice: xtts.TTS) -> None:
    with pytest.raises(APIError, match="not well") as caught:
        await say(voice, "This will FAIL.")
    assert caught.value.retryable is True
    pid = pid_of(voice)
    assert await say(voice, "This will not.") == speech_for("This will not.")
    assert pid_of(voice) == pid


async def test_a_speaker_that_the_model_does_not_have_is_named(voice: xtts.TTS) -> None:
    voice.update_options(speaker="Nobody")
    with pytest.raises(APIError, match=r"Nobody.*Ana Florence") as caught:
        await say(voice, "Hello there.")
    assert caught.value.retryable is False


async def test_no_sound_for_real_text_is_an_error(voice: xtts.TTS) -> None:
    with pytest.raises(APIError, match="no sound"):
        await say(voice, "I am MUTE today.")


async def test_a_later_sentence_that_fails_is_tried_again(voice: xtts.TTS) -> None:
    with pytest.raises(APIError, match="not well"):
        await say(voice, "The first is fine. The second will FAIL.", RETRY)
    errors: list[tts.TTSError] = []
    voice.on("error", errors.append)
    with pytest.raises(APIError):
        await say(voice, "This will FAIL.", RETRY)
    assert [error.recoverable for error in errors] == [True, True, True, False]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"model_factory": "no_such_module:build"}, "no_such_module"),
        ({"model_factory": f"{FACTORY}_nonsense"}, "build_nonsense"),
        ({"python": "/no/such/python"}, "/no/such/python"),
    ],
)
async def test_a_wrong_setting_is_no_reason_to_try_again(
    options: dict[str, Any], says: str
) -> None:
    async with make(**options) as voice:
        for _ in range(3):
            with pytest.raises(APIConnectionError, match=says) as caught:
                await say(voice, "Hello there.", RETRY)
            assert caught.value.retryable is False


async def test_a_missing_model_and_a_missing_package_say_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with xtts.TTS(accept_license=True, model_dir=tmp_path) as voice:
        with pytest.raises(APIConnectionError, match="download_model") as caught:
            await say(voice, "Hello there.", RETRY)
        assert caught.value.retryable is False
        for name in ("config.json", "model.pth", "vocab.json"):
            (tmp_path / name).write_text("{}")
        (tmp_path / "torch.py").write_text("raise ImportError('no torch here')")
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        with pytest.raises(APIConnectionError, match=r"livekit-agent-worker\[xtts\]") as caught:
            await say(voice, "Hello there.", RETRY)
        assert caught.value.retryable is False


async def test_prewarm_of_a_missing_model_warns(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with xtts.TTS(accept_license=True, model_dir=tmp_path) as voice:
        voice.prewarm()
    assert "not found" in caplog.text


async def test_closing_leaves_no_process_and_no_task() -> None:
    before = asyncio.all_tasks()
    voice = make()
    stream = voice.stream(conn_options=ONCE)
    stream.push_text("SLOW, and never to be finished. And some more.")
    await stream.__anext__()
    pid = pid_of(voice)
    await voice.aclose()
    await voice.aclose()
    assert not alive(pid)
    assert asyncio.all_tasks() == before
    with pytest.raises(APIConnectionError, match="closed"):
        await say(voice, "Too late.")


async def test_closing_while_the_model_loads_leaves_no_process() -> None:
    voice = make(model_factory=f"{FACTORY}_never")
    voice.prewarm()
    pid = pid_of(voice)
    await voice.aclose()
    assert not alive(pid)


async def test_two_voices_share_one_model(log: Path) -> None:
    one, two = make(), make(language="de", speaker="Ana Florence")
    first, second = await asyncio.gather(say(one, "This is one."), say(two, "Das ist die zwei."))
    assert first == speech_for("This is one.")
    assert second == speech_for("Das ist die zwei.", "Ana Florence")
    pid = pid_of(one)
    assert pid_of(two) == pid
    await one.aclose()
    assert alive(pid)
    assert await say(two, "Noch da.") == speech_for("Noch da.", "Ana Florence")
    await two.aclose()
    assert not alive(pid)
    assert [call["call"] for call in calls(log)].count("load") == 1


async def test_the_process_ends_when_the_worker_dies(tmp_path: Path, log: Path) -> None:
    code = f"""
import asyncio, os
from livekit.plugins import xtts

async def main():
    voice = xtts.TTS(accept_license=True, model_factory={FACTORY!r})
    stream = voice.synthesize("SLOW, and then gone.")
    await stream.__anext__()
    os.kill(os.getpid(), 9)

asyncio.run(main())
"""
    paths = os.pathsep.join(sys.path)
    worker = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, env={**os.environ, "PYTHONPATH": paths}
    )
    assert await worker.wait() == -signal.SIGKILL
    pid = next(call["pid"] for call in calls(log) if call["call"] == "load")
    await until(lambda: not alive(pid) or _is_zombie(pid))


def _is_zombie(pid: int) -> bool:
    """Dead, and not yet collected by whatever adopted it."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    return True
