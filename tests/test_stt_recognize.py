"""Recognition of whole recordings, and what the STT says of itself to any LiveKit user."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
from livekit.agents import APIConnectionError, APIConnectOptions, Plugin
from livekit.agents.metrics import STTMetrics
from livekit.agents.stt import SpeechEventType as Kind

from bench.stt_sounds import wordless_sounds
from livekit import rtc
from livekit.plugins import faster_whisper

from .speech import speak
from .stt_probe import frames, silence


@pytest.fixture
async def stt() -> AsyncIterator[faster_whisper.STT]:
    async with faster_whisper.STT() as stt:
        yield stt


def plain(text: str) -> str:
    return " ".join(re.sub(r"[^\w]+", " ", text.lower()).split())


async def text_of(stt: faster_whisper.STT, audio: rtc.AudioFrame | list[rtc.AudioFrame]) -> str:
    return plain((await stt.recognize(audio)).alternatives[0].text)


async def test_a_recording_is_recognised(stt: faster_whisper.STT) -> None:
    event = await stt.recognize([*frames(speak("what is two plus three"))])
    assert event.type is Kind.FINAL_TRANSCRIPT
    assert event.request_id
    data = event.alternatives[0]
    assert plain(data.text) == "what is two plus three"
    assert data.language == "en"
    assert data.words is not None
    assert [plain(word) for word in data.words] == ["what", "is", "two", "plus", "three"]


async def test_request_ids_differ_and_metrics_name_the_model(stt: faster_whisper.STT) -> None:
    metrics: list[STTMetrics] = []
    stt.on("metrics_collected", metrics.append)
    audio = [*frames(speak("yes"))]
    ids = [(await stt.recognize(audio)).request_id for _ in range(2)]
    assert ids[0] != ids[1]
    assert [m.request_id for m in metrics] == ids
    assert metrics[0].audio_duration == pytest.approx(sum(f.duration for f in audio))
    assert metrics[0].metadata is not None
    assert metrics[0].metadata.model_name == "bundled"
    assert metrics[0].metadata.model_provider == "faster-whisper"


async def test_a_recording_of_minutes_is_recognised_in_pieces(stt: faster_whisper.STT) -> None:
    sentences = ["what time is it", "my name is alice", "tell me a joke"] * 10
    audio = np.concatenate([piece for s in sentences for piece in (speak(s), silence(1.2))])
    assert len(audio) > 60 * 16000
    assert await text_of(stt, [*frames(audio, frame_ms=1000)]) == " ".join(sentences)


@pytest.mark.parametrize("samples", [0, 1, 160, 800])
async def test_recordings_too_short_to_hold_a_word_give_an_empty_text(
    stt: faster_whisper.STT, samples: int
) -> None:
    frame = rtc.AudioFrame(
        data=b"\1\0" * samples, sample_rate=16000, num_channels=1, samples_per_channel=samples
    )
    assert await text_of(stt, frame) == ""


async def test_no_frames_at_all_give_an_empty_text(stt: faster_whisper.STT) -> None:
    assert await text_of(stt, []) == ""


async def test_sounds_without_words_give_an_empty_text(stt: faster_whisper.STT) -> None:
    for sound in wordless_sounds(duration_s=2.0):
        assert await text_of(stt, [*frames(sound.samples)]) == "", (
            f"{sound.kind} {sound.level_dbfs}"
        )


async def test_short_words_are_not_taken_for_noise(stt: faster_whisper.STT) -> None:
    for word in ("yes", "no", "stop"):
        audio = np.concatenate([silence(0.3), speak(word), silence(0.3)])
        assert await text_of(stt, [*frames(audio)]) == word


async def test_stereo_at_another_rate_is_recognised(stt: faster_whisper.STT) -> None:
    audio = speak("my name is alice", sample_rate=48000)
    assert await text_of(stt, [*frames(audio, sample_rate=48000, channels=2)]) == "my name is alice"


@pytest.mark.parametrize("audio", [b"pcm", "speech.wav", np.zeros(16000), 7, None, [b"pcm"]])
async def test_what_is_no_audio_is_refused(stt: faster_whisper.STT, audio: object) -> None:
    with pytest.raises(TypeError, match="AudioFrame"):
        await stt._recognize_impl(
            audio,  # type: ignore[arg-type]
            conn_options=APIConnectOptions(max_retry=0),
        )


async def test_frames_of_different_rates_are_refused(stt: faster_whisper.STT) -> None:
    mixed = [*frames(silence(0.1)), *frames(silence(0.1), sample_rate=48000)]
    with pytest.raises(ValueError, match="sample rate"):
        await stt.recognize(mixed)


async def test_recognitions_can_run_side_by_side_and_be_cancelled(stt: faster_whisper.STT) -> None:
    sentences = ["what time is it", "tell me a joke", "my name is bob"]
    tasks = [asyncio.create_task(text_of(stt, [*frames(speak(s))])) for s in sentences]
    unwanted = asyncio.create_task(text_of(stt, [*frames(speak("goodbye"))]))
    await asyncio.sleep(0)
    unwanted.cancel()
    assert await asyncio.gather(*tasks) == sentences
    with pytest.raises(asyncio.CancelledError):
        await unwanted


async def test_a_language_that_the_model_lacks_is_an_error_that_names_its_own(
    stt: faster_whisper.STT,
) -> None:
    with pytest.raises(APIConnectionError, match=r"doesn't know the language 'fr'.*en") as caught:
        await stt.recognize([*frames(speak("yes"))], language="fr")
    assert not caught.value.retryable


async def test_a_model_that_is_not_there_is_an_error_with_advice_and_no_retry() -> None:
    stt = faster_whisper.STT(model="nobody/has-this-model")
    errors: list[object] = []
    stt.on("error", errors.append)
    with pytest.raises(APIConnectionError, match=r"download\('nobody/has-this-model'\)") as caught:
        await stt.recognize([*frames(speak("yes"))])
    assert not caught.value.retryable
    assert len(errors) == 1


async def test_a_folder_that_holds_no_model_is_an_error_with_advice(tmp_path: Path) -> None:
    with pytest.raises(APIConnectionError, match=r"no model\.bin"):
        await faster_whisper.STT(model=tmp_path).recognize([*frames(speak("yes"))])


async def test_a_broken_model_file_is_an_error_not_a_crash(tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(b"not a model")
    with pytest.raises(APIConnectionError, match="could not be loaded"):
        await faster_whisper.STT(model=tmp_path).recognize([*frames(speak("yes"))])


async def test_a_model_is_found_by_its_folder() -> None:
    folder = Path(faster_whisper.__file__).parent / "bundled"
    assert await text_of(faster_whisper.STT(model=folder), [*frames(speak("yes"))]) == "yes"


def test_it_says_what_it_is_and_can_do() -> None:
    stt = faster_whisper.STT()
    assert stt.label == "livekit.plugins.faster_whisper.stt.STT"
    assert (stt.model, stt.provider) == ("bundled", "faster-whisper")
    can = stt.capabilities
    assert can.streaming and can.interim_results and can.offline_recognize
    assert can.keyterms and can.manual_flush
    assert can.aligned_transcript == "word"
    assert not can.diarization
    assert not faster_whisper.STT(interim_results=False).capabilities.interim_results


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"model": "huge"}, "huge"),
        ({"model": ""}, "model"),
        ({"language": "klingon"}, "klingon"),
        ({"device": "abacus"}, "device"),
        ({"audio_ctx": "short"}, "audio_ctx"),
        ({"beam_size": 0}, "beam_size"),
        ({"cpu_threads": -1}, "cpu_threads"),
        ({"min_silence": -1}, "min_silence"),
        ({"max_segment": 40}, "max_segment"),
        ({"vad_threshold": 1.5}, "vad_threshold"),
        ({"interim_interval_s": 0}, "interim_interval_s"),
    ],
)
def test_a_wrong_value_is_refused_by_its_name(arguments: dict[str, object], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        faster_whisper.STT(**arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"model": 3}, "model"),
        ({"language": 3}, "language"),
        ({"keyterms": "alice"}, "keyterms"),
        ({"prompt": ["alice"]}, "prompt"),
        ({"min_voiced": "long"}, "min_voiced"),
    ],
)
def test_a_value_of_the_wrong_type_is_refused(arguments: dict[str, object], named: str) -> None:
    with pytest.raises(TypeError, match=named):
        faster_whisper.STT(**arguments)  # type: ignore[arg-type]


def test_a_refused_update_changes_nothing() -> None:
    stt = faster_whisper.STT(language="en")
    before = stt._options
    with pytest.raises(ValueError, match="min_silence"):
        stt.update_options(language="zh", min_silence=-1)
    assert stt._options == before


def test_arguments_are_keyword_only() -> None:
    with pytest.raises(TypeError):
        faster_whisper.STT("base")  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        faster_whisper.STT().update_options("en")  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("en-US", ("fixed", "en")),
        ("zh_TW", ("fixed", "zh")),
        ("ZH", ("fixed", "zh")),
        ("cmn", ("fixed", "zh")),
        ("auto", ("auto", None)),
        (None, ("auto", None)),
        ("multi", ("multi", None)),
    ],
)
def test_language_settings(given: str | None, meant: tuple[str, str | None]) -> None:
    assert faster_whisper.language.parse_language(given) == meant


async def test_prewarm_loads_the_model_in_the_background() -> None:
    faster_whisper.close_engines()
    stt = faster_whisper.STT()
    stt.prewarm()
    while not stt.statistics().loaded:
        await asyncio.sleep(0.01)


async def test_every_stt_of_a_model_shares_one_engine() -> None:
    before = faster_whisper.STT(language="en").statistics().requests
    async with faster_whisper.STT(language="zh") as stt:
        await stt.recognize([*frames(speak("yes"))])
    assert faster_whisper.STT(language="en").statistics().requests > before


def test_the_plugin_is_registered_and_has_its_default_model() -> None:
    (plugin,) = (
        p for p in Plugin.registered_plugins if p.package == "livekit.plugins.faster_whisper"
    )
    plugin.download_files()
    assert faster_whisper.is_available("bundled")
    assert not faster_whisper.is_available("nobody/has-this-model")


def test_importing_the_plugin_loads_no_engine_and_starts_no_thread() -> None:
    """Job processes are forked from one that has imported it."""
    check = (
        "import sys, threading; import livekit.agents; before = threading.active_count();"
        "import livekit.plugins.faster_whisper;"
        "heavy = {'faster_whisper', 'ctranslate2', 'onnxruntime', 'torch'} & set(sys.modules);"
        "print(sorted(heavy), threading.active_count() - before)"
    )
    done = subprocess.run(
        [sys.executable, "-c", check], capture_output=True, text=True, check=True, timeout=50
    )
    assert done.stdout.strip() == "[] 0"
