"""A recogniser that fails or hangs: the caller is told, and is heard again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator
from typing import Any, cast

import pytest
from livekit.agents import AgentSession, UserStateChangedEvent, stt

from agent_worker.faults import deafness as hearing
from agent_worker.faults.deafness import Hearing, HearingPolicy
from agent_worker.faults.words import fault_words
from livekit import rtc

WORDS = fault_words("en")


def test_one_failure_is_overcome_in_silence() -> None:
    policy = HearingPolicy()
    reaction = policy.broke(hung=False, unheard=False)
    assert not reaction.tell_deaf and not reaction.standby and reaction.pause_s < 1
    assert not policy.settled() and not policy.deaf


def test_what_was_said_into_one_failure_is_asked_for_again() -> None:
    policy = HearingPolicy()
    policy.broke(hung=False, unheard=True)
    assert policy.settled()
    assert not policy.settled(), "once"


def test_who_is_not_heard_for_long_is_told_once_and_told_when_it_is_over() -> None:
    policy = HearingPolicy()
    told = [policy.broke(hung=False, unheard=False).tell_deaf for _ in range(4)]
    assert told == [False, True, False, False]
    assert policy.deaf
    assert policy.settled() and not policy.deaf


def test_it_is_tried_less_and_less_often() -> None:
    policy = HearingPolicy()
    pauses = [policy.broke(hung=False, unheard=False).pause_s for _ in range(6)]
    assert pauses == sorted(pauses)
    assert pauses[-1] <= 5


def test_a_hang_calls_for_the_standby_and_a_second_one_is_only_over_when_something_is_heard() -> (
    None
):
    policy = HearingPolicy()
    assert policy.broke(hung=True, unheard=True).standby
    assert policy.settled(), "the caller has to say it again"
    assert policy.broke(hung=True, unheard=True).tell_deaf
    assert not policy.settled() and policy.deaf
    policy.heard()
    assert not policy.deaf


class Stream:
    """Hears a word in each frame, until it fails or hangs as its engine was told."""

    def __init__(self, engine: Engine, fate: str) -> None:
        self._engine = engine
        self._fate = fate
        self.frames: asyncio.Queue[rtc.AudioFrame] = asyncio.Queue()

    def push_frame(self, frame: rtc.AudioFrame) -> None:
        self.frames.put_nowait(frame)

    async def __anext__(self) -> stt.SpeechEvent:
        if self._fate == "fails":
            raise RuntimeError("the recogniser is broken")
        if self._fate == "hangs":
            await asyncio.Event().wait()
        await self.frames.get()
        return stt.SpeechEvent(
            type=stt.SpeechEventType.FINAL_TRANSCRIPT, request_id=self._engine.name
        )

    async def aclose(self) -> None:
        self._engine.closed += 1


class Engine:
    def __init__(self, *fates: str, name: str = "own") -> None:
        self.name = name
        self.fates = list(fates)
        self.opened = self.closed = 0

    def stream(self) -> Stream:
        self.opened += 1
        return Stream(self, self.fates.pop(0) if self.fates else "hears")


class FakeSession(rtc.EventEmitter[str]):
    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []

    def say(self, text: str, *, add_to_chat_ctx: bool) -> None:
        assert not add_to_chat_ctx
        self.said.append(text)

    def voice(self, new: str, old: str) -> None:
        self.emit(
            "user_state_changed",
            UserStateChangedEvent.model_construct(old_state=old, new_state=new),
        )


async def _open(
    audio: AsyncIterable[rtc.AudioFrame], engine: stt.STT[Any]
) -> AsyncGenerator[stt.SpeechEvent, None]:
    async with engine.stream() as stream:

        async def feed() -> None:
            async for frame in audio:
                stream.push_frame(frame)

        feeding = asyncio.create_task(feed())
        try:
            async for event in stream:
                yield event
        finally:
            feeding.cancel()
            await asyncio.gather(feeding, return_exceptions=True)


async def _microphone() -> AsyncIterator[rtc.AudioFrame]:
    while True:
        yield rtc.AudioFrame(bytes(640), 16_000, 1, 320)
        await asyncio.sleep(0.02)


@pytest.fixture
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hearing, "_PAUSES_S", (0.01, 0.02))
    monkeypatch.setattr(hearing, "_SETTLED_S", 0.1)
    monkeypatch.setattr(hearing, "_VOICED_S", 0.05)
    monkeypatch.setattr(hearing, "_SIGN_WITHIN_S", 0.2)
    monkeypatch.setattr(hearing, "_LOOK_EVERY_S", 0.02)


async def _first_heard(
    engine: Engine, session: FakeSession, changes: list[bool], standby: Engine | None = None
) -> str:
    ears = Hearing(WORDS, standby=cast("stt.STT[Any] | None", standby), on_change=changes.append)
    ears.attach(cast(AgentSession[Any], session))
    session.voice("speaking", "listening")
    events = ears.recognize(_microphone(), cast("stt.STT[Any]", engine), _open)
    async with asyncio.timeout(10):
        event = await anext(events)
        await events.aclose()
    return event.request_id


@pytest.mark.usefixtures("_soon")
async def test_a_recogniser_that_fails_again_and_again_is_told_of_and_shown_and_recovers() -> None:
    engine, session, changes = Engine("fails", "fails", "fails"), FakeSession(), list[bool]()
    before = asyncio.all_tasks()
    assert await _first_heard(engine, session, changes) == "own"
    assert session.said == [WORDS.deaf]
    assert changes == [False, True]
    assert engine.opened == engine.closed == 4
    assert asyncio.all_tasks() == before


async def test_one_that_breaks_over_every_word_is_told_of_until_something_is_heard() -> None:
    policy = HearingPolicy()
    policy.broke(hung=False, unheard=True)
    assert policy.settled()
    assert policy.broke(hung=False, unheard=True).tell_deaf
    assert not policy.settled() and policy.deaf
    policy.heard()
    assert not policy.deaf


@pytest.mark.usefixtures("_soon")
async def test_one_that_hangs_gives_way_to_the_standby() -> None:
    engine, standby = Engine("hangs", name="own"), Engine(name="standby")
    session = FakeSession()
    assert await _first_heard(engine, session, [], standby) == "standby"
    assert engine.opened == engine.closed == 1


@pytest.mark.usefixtures("_soon")
async def test_one_that_is_silent_while_nobody_speaks_does_not_hang() -> None:
    engine, session = Engine("hangs"), FakeSession()
    ears = Hearing(WORDS)
    ears.attach(cast(AgentSession[Any], session))
    events = ears.recognize(_microphone(), cast("stt.STT[Any]", engine), _open)
    step = asyncio.ensure_future(anext(events))
    await asyncio.sleep(0.4)
    assert engine.opened == 1
    step.cancel()
    await asyncio.gather(step, return_exceptions=True)
    await events.aclose()
    assert session.said == []


def test_the_words_are_in_the_language_of_the_call_and_the_users_own_win() -> None:
    assert fault_words("de-AT").back.startswith("Entschuldigung")
    assert fault_words("tlh").back == "", "better nothing than another language"
    own = fault_words("en", {"back": "Here again."})
    assert own.back == "Here again." and own.deaf == WORDS.deaf
