"""A live stream over an engine that fails, hangs or is slow: the call goes on, no final is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from livekit.agents import APIConnectionError, APIConnectOptions
from livekit.agents.stt import FallbackAdapter, STTError
from livekit.agents.stt import SpeechEventType as Kind

from livekit.plugins import faster_whisper
from livekit.plugins.faster_whisper.engine import Engine
from livekit.plugins.faster_whisper.job import Decoded, Job

from .fake_stt_decoder import FakeDecoder, decoded
from .speech import speak
from .stt_probe import Heard, arrived, collect, frames, play, silence, transcribe

FAST = APIConnectOptions(max_retry=3, retry_interval=0.01, timeout=5)
SPEECH = np.concatenate([silence(0.3), speak("what time is it"), silence(0.8)])


@pytest.fixture
def decoder() -> Iterator[FakeDecoder]:
    decoder = FakeDecoder(answer=lambda job: decoded("what time is it"))
    yield decoder
    decoder.gate.set()


@pytest.fixture
def engine(decoder: FakeDecoder, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """The engine that every STT of the test uses, under the fake decoder."""
    engine = Engine(decoder.load, name="'fake'")
    monkeypatch.setattr("livekit.plugins.faster_whisper.stt.engine_for", lambda spec: engine)
    yield engine
    decoder.gate.set()
    engine.close(5)


def fails(times: int, then: Callable[[Job], Decoded]) -> Callable[[Job], Decoded]:
    """Fails on so many finals, then answers."""
    left = times

    def answer(job: Job) -> Decoded:
        nonlocal left
        if job.is_final and left:
            left -= 1
            raise RuntimeError("device lost")
        return then(job)

    return answer


@pytest.mark.usefixtures("engine")
async def test_a_final_is_sent_after_a_crash_of_the_model(decoder: FakeDecoder) -> None:
    decoder.answer = fails(2, decoder.answer)
    stt = faster_whisper.STT()
    errors: list[STTError] = []
    stt.on("error", errors.append)
    heard = await transcribe(stt.stream(conn_options=FAST), SPEECH)
    assert heard.finals == ["what time is it"]
    assert [error.recoverable for error in errors] == [True, True]


@pytest.mark.usefixtures("engine")
async def test_times_stay_right_over_a_retry(decoder: FakeDecoder) -> None:
    decoder.answer = fails(2, decoder.answer)
    stt = faster_whisper.STT()
    conn_options = APIConnectOptions(max_retry=2, retry_interval=0.6)
    heard = await transcribe(stt.stream(conn_options=conn_options), SPEECH)
    assert heard.of(Kind.FINAL_TRANSCRIPT)[0].alternatives[0].start_time < 0.5


@pytest.mark.usefixtures("engine")
async def test_a_model_that_keeps_failing_ends_the_stream_with_one_error(
    decoder: FakeDecoder,
) -> None:
    decoder.answer = fails(99, decoder.answer)
    stt = faster_whisper.STT()
    errors: list[STTError] = []
    stt.on("error", errors.append)
    stream = stt.stream(conn_options=FAST)
    for frame in frames(SPEECH):
        stream.push_frame(frame)
    stream.end_input()
    with pytest.raises(APIConnectionError, match="after 3 attempts"):
        await collect(stream)
    assert [error.recoverable for error in errors] == [True, True, True, False]


@pytest.mark.usefixtures("engine")
async def test_a_failing_partial_does_not_disturb_the_call(decoder: FakeDecoder) -> None:
    def answer(job: Job) -> Decoded:
        if not job.is_final:
            raise RuntimeError("no memory")
        return decoded("what time is it")

    decoder.answer = answer
    heard = await transcribe(faster_whisper.STT().stream(conn_options=FAST), SPEECH)
    assert heard.kinds == [
        "start_of_speech",
        "preflight_transcript",
        "final_transcript",
        "end_of_speech",
    ]


async def test_a_hung_model_times_out_and_the_loop_runs_on(
    engine: Engine, decoder: FakeDecoder
) -> None:
    await engine.wait_until_loaded()
    decoder.gate.clear()
    stt = faster_whisper.STT()
    stream = stt.stream(conn_options=APIConnectOptions(max_retry=0, timeout=0.2))
    for frame in frames(SPEECH):
        stream.push_frame(frame)
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.001)
            ticks += 1

    ticking = asyncio.create_task(tick())
    with pytest.raises(APIConnectionError, match="no answer"):
        await collect(stream)
    ticking.cancel()
    assert ticks > 3
    with pytest.raises(APIConnectionError):
        await stt.recognize(
            [*frames(SPEECH)], conn_options=APIConnectOptions(max_retry=0, timeout=0.2)
        )


async def test_a_final_pushes_the_streams_own_partial_aside(
    engine: Engine, decoder: FakeDecoder
) -> None:
    await engine.wait_until_loaded()
    decoder.gate.clear()
    stream = faster_whisper.STT(min_silence=5.0).stream(conn_options=FAST)
    heard = Heard()
    reading = asyncio.create_task(collect(stream, heard))
    for frame in frames(SPEECH[: -int(0.9 * 16000)]):
        stream.push_frame(frame)
    while not decoder.entered.is_set():
        await asyncio.sleep(0.001)
    # The engine is busy with a partial; the final must be next whatever else comes.
    stream.flush()
    while not engine.statistics().recent_final_wait_s:
        await asyncio.sleep(0.001)
    decoder.gate.set()
    await arrived(heard, Kind.FINAL_TRANSCRIPT)
    assert [job.is_final for batch in decoder.batches for job in batch] == [False, True]
    assert heard.finals == ["what time is it"]
    assert heard.texts(Kind.INTERIM_TRANSCRIPT) == []
    stream.end_input()
    await reading


async def test_closing_a_stream_frees_its_place_in_the_queue(
    engine: Engine, decoder: FakeDecoder
) -> None:
    await engine.wait_until_loaded()
    decoder.gate.clear()
    stt = faster_whisper.STT()
    streams = [stt.stream() for _ in range(3)]
    for stream in streams:
        for frame in frames(SPEECH):
            stream.push_frame(frame)
    while engine.statistics().depth < 2:
        await asyncio.sleep(0.001)
    await stt.aclose()
    assert engine.statistics().depth == 0


async def test_finals_survive_overload_while_partials_thin_out(
    engine: Engine, decoder: FakeDecoder
) -> None:
    await engine.wait_until_loaded()
    stt = faster_whisper.STT(min_silence=0.4)
    streams = [stt.stream() for _ in range(12)]
    readers = [asyncio.create_task(collect(stream)) for stream in streams]
    decoder.gate.clear()
    for piece in np.array_split(SPEECH, 20):
        for stream in streams:
            for frame in frames(piece):
                stream.push_frame(frame)
        await asyncio.sleep(0)
    for stream in streams:
        stream.end_input()
    while len(engine._schedule._finals) < 12:
        await asyncio.sleep(0.001)
    decoder.gate.set()
    assert [(await reader).finals for reader in readers] == [["what time is it"]] * 12
    # Nobody needs a partial of what has ended: only those that ran already were made.
    partials = [job for batch in decoder.batches for job in batch if not job.is_final]
    assert len(partials) <= len(decoder.batches[0])


async def test_the_next_engine_takes_over_from_a_model_that_does_not_load() -> None:
    missing = faster_whisper.STT(model="nobody/has-this-model")
    async with faster_whisper.STT() as bundled:
        stt = FallbackAdapter([missing, bundled], retry_interval=0.01)
        stream = stt.stream()
        reading = asyncio.create_task(collect(stream))  # type: ignore[arg-type]
        # The call goes on while the first engine fails; what is said then may be lost.
        while stt._status[0].available:
            stream.push_frame(next(frames(silence(0.02))))
            await asyncio.sleep(0.01)
        for frame in frames(SPEECH):
            stream.push_frame(frame)
        stream.end_input()
        heard = await reading
        await stt.aclose()
    assert [text.lower() for text in heard.finals] == ["what time is it?"]


@pytest.mark.usefixtures("engine")
async def test_a_detected_language_is_kept_once_it_is_sure(decoder: FakeDecoder) -> None:
    asked: list[str | None] = []

    def answer(job: Job) -> Decoded:
        asked.append(job.language)
        text = decoded("ni hao")
        sure = 0.9 if len(job.samples) > 16000 * 1.5 else 0.4
        return Decoded(text.words, job.language or "zh", sure, -0.1, 0.0, 600)

    decoder.answer = answer
    stream = faster_whisper.STT(language="auto").stream()
    heard = await transcribe(stream, np.concatenate([SPEECH, SPEECH, SPEECH]))
    assert {event.alternatives[0].language for event in heard.of(Kind.FINAL_TRANSCRIPT)} == {"zh"}
    assert asked[0] is None
    # One and the same utterance is unsure at its start, and the stream is sure in the end.
    assert asked[-1] is None or asked[-1] == "zh"


@pytest.mark.usefixtures("engine")
async def test_the_prompt_and_keyterms_reach_the_model(decoder: FakeDecoder) -> None:
    jobs: list[Job] = []

    def answer(job: Job) -> Decoded:
        jobs.append(job)
        return decoded("what time is it")

    decoder.answer = answer
    stt = faster_whisper.STT(prompt="A call to the bank.", keyterms=["Kowalczyk"])
    stream = stt.stream()
    reading = asyncio.create_task(collect(stream))
    await play(stream, SPEECH)
    assert jobs[-1].prompt == "A call to the bank."
    assert jobs[-1].keyterms == ("Kowalczyk",)
    stt.update_options(keyterms=["Nguyen"])
    stt._update_session_keyterms(["IBAN", "Nguyen"])
    await play(stream, SPEECH)
    assert list(jobs[-1].keyterms) == ["Nguyen", "IBAN"]
    stream.end_input()
    await reading
