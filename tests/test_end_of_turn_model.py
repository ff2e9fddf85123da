"""The audio end-of-turn model: one for many rooms, heard in pauses, and no turn without it lost."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from livekit.agents import AgentSession

from agent_worker.engines.build import build_engines
from agent_worker.engines.found import choose_engines
from agent_worker.hearing.end_of_turn_model import (
    SAMPLE_RATE,
    WINDOW,
    EndOfTurnModel,
    PauseListener,
    Pcm,
    calibrated,
    shared_model,
)
from agent_worker.hearing.turn_taking import TurnTaking
from agent_worker.hearing.turns import EndOfTurnPolicy, Waits
from agent_worker.session import build_call
from agent_worker.settings import load_settings
from livekit import rtc

from .fake_conversation import FrameVAD, Loudspeaker, Microphone, ScriptSTT, Utterance
from .fake_voice_stack import ScriptLLM, ToneTTS
from .speech import speak, to_pcm16
from .test_turn_taking import TurnAgent


def voice(seconds: float) -> Pcm:
    """The end of a caller's sentence at 16 kHz."""
    pcm = np.frombuffer(to_pcm16(speak("what is the weather in london")), np.int16)
    return pcm[-int(seconds * SAMPLE_RATE) :]


def frames(pcm: Pcm, *, rate: int = SAMPLE_RATE, channels: int = 1) -> Iterator[rtc.AudioFrame]:
    """20 ms each."""
    count = rate // 50
    for start in range(0, len(pcm) - count + 1, count):
        data = np.repeat(pcm[start : start + count], channels)
        yield rtc.AudioFrame(data.tobytes(), rate, channels, count)


class Recorder:
    """Notes what it is asked, and answers what it is told."""

    def __init__(self, answer: float = 0.6) -> None:
        self.answer = answer
        self.heard: list[Pcm] = []
        self.threads: set[int] = set()
        self.go_on = threading.Event()
        self.go_on.set()

    def predict(self, pcm: Pcm) -> float:
        self.go_on.wait(10)
        self.heard.append(pcm)
        self.threads.add(threading.get_ident())
        return self.answer


async def said(listener: PauseListener) -> float:
    """What the listener tells about a silence that has lasted long enough."""
    told: asyncio.Future[float] = asyncio.get_running_loop().create_future()
    listener.speech_ended(1.0, told.set_result)
    return await told


async def test_the_real_model_gives_a_probability_and_one_serves_many_rooms() -> None:
    model = shared_model()
    assert model is shared_model()
    pcm = np.concatenate([voice(1.0), np.zeros(SAMPLE_RATE // 5, np.int16)])
    many = await asyncio.gather(*(model.probability(pcm) for _ in range(4)))
    assert many[0] is not None and 0 < many[0] < 1
    assert len(set(many)) == 1, "rooms do not disturb each other"
    assert await model.probability(pcm[:100]) != many[0]
    assert model.available


async def test_the_real_model_hears_a_listeners_frames() -> None:
    listener = PauseListener(shared_model(), language="en")
    pcm = np.concatenate([voice(1.0), np.zeros(SAMPLE_RATE // 5, np.int16)])
    for frame in frames(pcm):
        listener.push(frame)
    direct = await shared_model().probability(pcm)
    assert direct is not None
    assert await said(listener) == pytest.approx(calibrated(direct, 0.36))
    await listener.aclose()


FORK = """
import asyncio, os, sys
import numpy as np
from agent_worker.hearing.end_of_turn_model import shared_model

def ask():
    return asyncio.run(shared_model().probability(np.zeros(19200, np.int16)))

before = ask()
child = os.fork()
if child == 0:
    os._exit(0 if ask() == before else 1)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) or before is None)
"""


def test_a_forked_process_asks_with_the_weights_that_it_inherited() -> None:
    done = subprocess.run([sys.executable, "-c", FORK], capture_output=True, text=True, timeout=50)
    assert done.returncode == 0, done.stderr


async def test_the_last_frames_are_heard_at_16_khz_whatever_the_microphone_gives() -> None:
    recorder = Recorder()
    listener = PauseListener(EndOfTurnModel(load=lambda: recorder))
    for frame in frames(np.full(SAMPLE_RATE * 2, 1000, np.int16)):
        listener.push(frame)
    for frame in frames(np.full(48_000, 2000, np.int16), rate=48_000, channels=2):
        listener.push(frame)
    await said(listener)
    heard = recorder.heard[0]
    assert heard.dtype == np.int16
    assert heard.shape == (WINDOW,)
    assert heard[0] == 1000
    assert heard[-SAMPLE_RATE // 2 :].mean() == pytest.approx(2000, rel=0.02)
    await listener.aclose()


async def test_a_question_about_a_silence_that_ended_is_dropped() -> None:
    recorder = Recorder()
    recorder.go_on.clear()
    told: list[float] = []
    listener = PauseListener(EndOfTurnModel(load=lambda: recorder))
    listener.speech_ended(1.0, told.append)
    await asyncio.sleep(0.01)
    listener.speech_started()
    recorder.go_on.set()
    assert await said(listener) > 0.5
    assert told == []
    await listener.aclose()
    await listener.aclose()


async def test_the_event_loop_runs_while_the_model_thinks_and_late_questions_are_turned_away() -> (
    None
):
    recorder = Recorder()
    recorder.go_on.clear()
    model = EndOfTurnModel(load=lambda: recorder)
    pcm = np.zeros(WINDOW, np.int16)
    asked = [asyncio.create_task(model.probability(pcm)) for _ in range(8)]
    await asyncio.sleep(0)
    assert await model.probability(pcm) is None, "the queue is full"
    recorder.go_on.set()
    assert await asyncio.gather(*asked) == [0.6] * 8
    assert recorder.threads == recorder.threads - {threading.get_ident()}
    assert len(recorder.threads) == 1
    assert await model.probability(pcm) == 0.6


def _absent() -> Recorder:
    raise ImportError("no such library here")


class _Broken:
    def predict(self, pcm: Pcm) -> float:
        raise RuntimeError("illegal instruction")


@pytest.mark.parametrize("load", [_absent, _Broken])
async def test_without_the_model_it_is_said_once_and_nobody_is_told_anything(
    load: Callable[[], Recorder], caplog: pytest.LogCaptureFixture
) -> None:
    model = EndOfTurnModel(load=load)
    told: list[float] = []
    listener = PauseListener(model)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            listener.push(next(frames(np.zeros(320, np.int16))))
            listener.speech_ended(1.0, told.append)
            assert await model.probability(np.zeros(WINDOW, np.int16)) is None
        await listener.aclose()
    assert told == []
    assert not model.available
    assert len([record for record in caplog.records if "without it" in record.message]) == 1


def test_livekits_threshold_is_where_the_policy_has_no_opinion() -> None:
    assert calibrated(0.36, 0.36) == 0.5
    assert calibrated(0.0, 0.36) == 0.0
    assert calibrated(1.0, 0.36) == 1.0
    assert calibrated(0.2, 0.36) < 0.5 < calibrated(0.4, 0.36)


async def test_in_a_call_the_model_ends_a_turn_that_the_words_leave_open() -> None:
    recorder = Recorder(1.0)
    # by its words alone this turn would outlast the test
    policy = EndOfTurnPolicy(Waits(plain_s=300.0, doubt_s=400.0))
    turns = TurnTaking(
        end_of_turn=policy, listener=PauseListener(EndOfTurnModel(load=lambda: recorder))
    )
    recogniser = ScriptSTT(end_s=0.3)
    recogniser.script.append(Utterance("my name is alice", [(0.2, "my name")]))
    session: AgentSession[None] = AgentSession(
        stt=recogniser,
        llm=ScriptLLM("Hello Alice."),
        tts=ToneTTS(0.1),
        vad=FrameVAD(),
        turn_handling=turns.options(),
        aec_warmup_duration=None,
    )
    turns.attach(session)
    answered = asyncio.Event()
    session.on(
        "agent_state_changed",
        lambda event: answered.set() if event.new_state == "speaking" else None,
    )
    microphone, loudspeaker = Microphone(), Loudspeaker()
    session.input.audio, session.output.audio = microphone, loudspeaker
    await session.start(TurnAgent(turns))
    try:
        await microphone.speak(0.5)
        await answered.wait()
    finally:
        await turns.aclose()
        await session.aclose()
        await loudspeaker.aclose()
    assert (recorder.heard[-1] == 1000).sum() >= 0.4 * SAMPLE_RATE, "the caller's own voice"
    assert (recorder.heard[-1][-SAMPLE_RATE // 10 :] == 0).all(), "and the silence after it"


async def test_a_call_asks_the_model_only_where_the_settings_want_it() -> None:
    for wanted in ("off", "v1-mini"):
        settings = load_settings(end_of_turn_model=wanted, llm="offline", tts="espeak")
        call = build_call(settings, build_engines(settings, await choose_engines(settings)))
        assert (call.turns._listener is not None) is (wanted == "v1-mini")
        await call.aclose()
