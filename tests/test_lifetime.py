"""Who ends a call that nobody speaks in, and when: the policy's decisions carried out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, cast

import pytest
from livekit.agents import Agent, AgentSession, tts
from livekit.agents.types import DEFAULT_API_CONNECT_OPTIONS, APIConnectOptions

from agent_worker.call.inactivity import InactivityPolicy
from agent_worker.call.lifetime import Lifetime
from livekit import rtc
from tests.fake_conversation import Loudspeaker
from tests.fake_voice_stack import RATE


class FakeSession(rtc.EventEmitter[str]):
    """Says things until it is told that they were heard."""

    def __init__(self) -> None:
        super().__init__()
        self.agent_state = "listening"
        self.said: list[str] = []
        self.heard_out = asyncio.Event()
        self.is_shut_down = asyncio.Event()
        self.waits_for_speech: bool | None = None

    async def say(self, text: str) -> None:
        self.said.append(text)
        await self.heard_out.wait()

    def shutdown(self, *, drain: bool = True) -> None:
        self.waits_for_speech = drain
        self.is_shut_down.set()

    async def until_said(self) -> None:
        while not self.said:
            await asyncio.sleep(0.01)


@pytest.fixture
async def session() -> FakeSession:
    return FakeSession()


@pytest.fixture
async def lifetime(session: FakeSession) -> AsyncIterator[Lifetime]:
    """Of a call that ends after 0.3 s of silence, or 0.5 s into a goodbye."""
    clock = asyncio.get_running_loop().time
    policy = InactivityPolicy(silence_s=0.3, goodbye_s=0.5, clock=clock)
    lifetime = Lifetime(policy, goodbye="Goodbye.")
    lifetime.attach(cast(AgentSession[Any], session))
    yield lifetime
    await lifetime.aclose()
    await lifetime.aclose()


async def test_a_goodbye_that_was_heard_is_the_end(
    session: FakeSession, lifetime: Lifetime
) -> None:
    await session.until_said()
    assert not lifetime.over
    session.heard_out.set()
    await session.is_shut_down.wait()
    assert lifetime.over
    assert session.waits_for_speech
    assert session.said == ["Goodbye."]


async def test_a_goodbye_that_hangs_keeps_no_call_open(
    session: FakeSession, lifetime: Lifetime
) -> None:
    await session.until_said()
    # the voice gives no sound, and what is said never ends
    await session.is_shut_down.wait()
    assert lifetime.over
    assert not session.waits_for_speech
    assert session.said == ["Goodbye."]


async def test_a_caller_who_leaves_during_the_goodbye_is_not_spoken_to_any_more(
    session: FakeSession, lifetime: Lifetime
) -> None:
    await session.until_said()
    lifetime.caller_left()
    lifetime.caller_gone()
    await session.is_shut_down.wait()
    assert not session.waits_for_speech


async def test_the_second_goodbye_is_not_taken_for_heard_when_the_first_one_ends(
    session: FakeSession, lifetime: Lifetime
) -> None:
    await session.until_said()
    first = session.heard_out
    session.heard_out = asyncio.Event()
    lifetime.caller_acts()
    while len(session.said) < 2:
        await asyncio.sleep(0.01)
    first.set()
    await asyncio.sleep(0.1)
    assert not session.is_shut_down.is_set()


async def test_a_word_during_the_goodbye_keeps_the_call(
    session: FakeSession, lifetime: Lifetime
) -> None:
    await session.until_said()
    session.emit("user_input_transcribed", SimpleNamespace())
    session.heard_out.set()
    await asyncio.sleep(0.1)
    assert not session.is_shut_down.is_set()


async def test_a_line_written_during_the_goodbye_keeps_the_call(
    session: FakeSession, lifetime: Lifetime
) -> None:
    await session.until_said()
    # the agent falls silent for it: the goodbye ends before its time
    lifetime.caller_acts()
    session.heard_out.set()
    await asyncio.sleep(0.1)
    assert not session.is_shut_down.is_set()


async def test_an_answer_longer_than_the_silence_is_no_silence(
    session: FakeSession, lifetime: Lifetime
) -> None:
    session.agent_state = "speaking"
    session.emit("agent_state_changed", SimpleNamespace(new_state="speaking"))
    await asyncio.sleep(0.8)
    assert session.said == []
    session.agent_state = "listening"
    await session.until_said()


async def test_nobody_says_goodbye_to_a_caller_who_is_gone(
    session: FakeSession, lifetime: Lifetime
) -> None:
    lifetime.caller_left()
    await asyncio.sleep(0.5)
    assert session.said == []
    lifetime.caller_gone()
    await session.is_shut_down.wait()
    assert session.said == []
    assert lifetime.over


class HungTTS(tts.TTS[Any]):
    """Takes every text and gives no sound, without an end."""

    def __init__(self) -> None:
        super().__init__(
            capabilities=tts.TTSCapabilities(streaming=False), sample_rate=RATE, num_channels=1
        )
        self.asked: list[str] = []

    def synthesize(
        self, text: str, *, conn_options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS
    ) -> tts.ChunkedStream:
        self.asked.append(text)
        return _Hanging(tts=self, input_text=text, conn_options=conn_options)


class _Hanging(tts.ChunkedStream):
    async def _run(self, output_emitter: tts.AudioEmitter) -> None:
        await asyncio.Event().wait()


async def test_livekits_own_session_closes_although_its_voice_hangs_in_the_goodbye() -> None:
    voice = HungTTS()
    session: AgentSession[None] = AgentSession(tts=voice, vad=None, user_away_timeout=None)
    session.output.audio = Loudspeaker(RATE)
    clock = asyncio.get_running_loop().time
    policy = InactivityPolicy(silence_s=0.3, goodbye_s=0.5, clock=clock)
    lifetime = Lifetime(policy, goodbye="Goodbye.")
    closed = asyncio.Event()
    session.on("close", lambda _: closed.set())
    await session.start(Agent(instructions="Answer."))
    lifetime.attach(session)
    await closed.wait()
    assert voice.asked == ["Goodbye."]
    assert lifetime.over
    await lifetime.aclose()
