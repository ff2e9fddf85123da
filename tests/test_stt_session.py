"""The recogniser in a plain AgentSession, under each way of finding the end of a turn.

The microphone runs in real time, as LiveKit's own endpointing goes by the wall clock.
"""

from __future__ import annotations

import asyncio
import re
import time
from typing import Literal

import numpy as np
import pytest
from livekit.agents import Agent, AgentSession, ChatContext, ChatMessage, StopResponse
from livekit.agents.voice.io import AudioInput

from livekit import rtc
from livekit.plugins import faster_whisper, silero

from .speech import Samples, speak
from .stt_probe import frames, silence


class Microphone(AudioInput):
    """Plays samples as a caller's microphone would."""

    def __init__(self, samples: Samples) -> None:
        super().__init__(label="microphone")
        self._frames = frames(samples)
        self._began: float | None = None
        self._count = 0
        self.played = asyncio.Event()
        """Set when the caller has said it all."""

    async def __anext__(self) -> rtc.AudioFrame:
        frame = next(self._frames, None)
        if frame is None:
            # A microphone doesn't end.
            self.played.set()
            frame = next(frames(silence(0.02)))
        self._began = self._began or time.monotonic()
        self._count += 1
        await asyncio.sleep(max(0.0, self._began + 0.02 * self._count - time.monotonic()))
        return frame


class Listener(Agent):
    """Notes each turn, and says nothing."""

    def __init__(self) -> None:
        super().__init__(instructions="Listen.")
        self.turns: asyncio.Queue[str] = asyncio.Queue()

    async def on_user_turn_completed(self, turn_ctx: ChatContext, new_message: ChatMessage) -> None:
        self.turns.put_nowait(plain(new_message.text_content or ""))
        raise StopResponse


def plain(text: str) -> str:
    return " ".join(re.sub(r"[^\w]+", " ", text.lower()).split())


def conversation() -> Samples:
    return np.concatenate(
        [silence(0.3), speak("what time is it"), silence(1.6), speak("my name is alice")]
    )


@pytest.mark.parametrize("turn_detection", ["vad", "stt"])
async def test_a_session_hears_one_turn_after_the_other(
    turn_detection: Literal["vad", "stt"],
) -> None:
    agent = Listener()
    session: AgentSession[None] = AgentSession(
        stt=faster_whisper.STT(language="en"),
        vad=silero.VAD.load(),
        turn_handling={"turn_detection": turn_detection, "interruption": {"mode": "vad"}},
    )
    interims: list[str] = []
    session.on(
        "user_input_transcribed",
        lambda event: None if event.is_final else interims.append(event.transcript),
    )
    session.input.audio = Microphone(conversation())
    await session.start(agent, record=False)
    turns = [await agent.turns.get() for _ in range(2)]
    await session.aclose()
    assert turns == ["what time is it", "my name is alice"]
    assert interims


async def test_a_turn_that_is_committed_by_hand_holds_what_was_said() -> None:
    agent = Listener()
    session: AgentSession[None] = AgentSession(
        stt=faster_whisper.STT(language="en"),
        vad=None,
        turn_handling={"turn_detection": "manual", "interruption": {"mode": "vad"}},
    )
    spoken = speak("set a timer for ten minutes")
    microphone = Microphone(np.concatenate([silence(0.2), spoken]))
    session.input.audio = microphone
    await session.start(agent, record=False)
    await microphone.played.wait()
    # Only a flush can end this turn: no silence long enough has passed.
    await session.commit_user_turn()
    assert await agent.turns.get() == "set a timer for ten minutes"
    await session.aclose()
