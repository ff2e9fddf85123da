"""Other ways to take turns than by voice: a key, a half-duplex line, the keyboard; and silence."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from agent_worker.caller.client import Pcm, SimulatedCaller
from agent_worker.commands.demo_conversation import render
from agent_worker.commands.livekit_server import RunningServer
from agent_worker.commands.worker_process import run_worker
from tests import real
from tests.integration.test_call import TIMEOUT_S, greeted

pytestmark = pytest.mark.timeout(180)


class Client(SimulatedCaller):
    """A caller who knows what to wait for."""

    @property
    def connected(self) -> bool:
        return bool(self.room.isconnected())

    async def is_told(self, word: str, since: float) -> None:
        """Waits for a word in what the agent says."""
        async with asyncio.timeout(TIMEOUT_S):
            while word not in self.answered(since).lower():
                await asyncio.sleep(0.05)

    async def ask_for_a_story(self) -> None:
        """Gets the agent to speak for long, in whatever mode."""
        await self.silent(for_s=0.5, timeout_s=TIMEOUT_S)
        since = await self.write("tell me a story")
        await self.audible_after(since, timeout_s=TIMEOUT_S)
        await self.wait_for_agent_state("speaking", timeout_s=TIMEOUT_S)


def _client(server: RunningServer, agent: str) -> Client:
    return Client(server.url, real.token(server, agent=agent))


@pytest.fixture(scope="module")
def push_to_talk(livekit_server: RunningServer, process_logs: Path) -> Iterator[str]:
    """A worker whose callers press a key to talk; gives the agent's name."""
    settings = real.worker_settings(livekit_server, agent_name="ptt", turns="push_to_talk")
    with real.worker(settings, process_logs / "ptt.log"):
        yield "ptt"


@pytest.fixture(scope="module")
def half_duplex(livekit_server: RunningServer, process_logs: Path) -> Iterator[str]:
    """A worker whose agent does not listen while it speaks; gives the agent's name."""
    settings = real.worker_settings(livekit_server, agent_name="half", turns="half_duplex")
    with real.worker(settings, process_logs / "half.log"):
        yield "half"


async def spoken(text: str) -> Pcm:
    """The words without the silence after them: nothing of the last one may get lost."""
    pcm = await render(text)
    return pcm[: np.flatnonzero(np.abs(pcm) > 500)[-1] + 1]


async def test_push_to_talk_hears_what_is_said_while_the_key_is_down(
    livekit_server: RunningServer, push_to_talk: str
) -> None:
    async with _client(livekit_server, push_to_talk) as caller:
        await greeted(caller)
        await caller.silent(for_s=0.5, timeout_s=TIMEOUT_S)
        await caller.speak(await render("tell me a joke"))
        line = await spoken("what is two plus three")
        await caller.call_agent("start_turn")
        since = time.time()
        await caller.speak(line)
        assert await caller.call_agent("end_turn") == "What is two plus three?"
        await caller.is_told("five", since)
        assert caller.heard(0.0) == "What is two plus three?"


async def test_a_press_of_the_key_stops_the_agent_and_a_cancelled_turn_is_forgotten(
    livekit_server: RunningServer, push_to_talk: str
) -> None:
    async with _client(livekit_server, push_to_talk) as caller:
        await greeted(caller)
        joke, sum_of_two = await spoken("tell me a joke"), await spoken("what is two plus three")
        await caller.ask_for_a_story()
        await caller.call_agent("start_turn")
        await caller.wait_for_agent_state("listening", timeout_s=TIMEOUT_S)
        await caller.silent(for_s=0.5, timeout_s=TIMEOUT_S)
        since = time.time()
        await caller.speak(joke)
        await caller.call_agent("cancel_turn")
        await asyncio.sleep(1.0)
        assert caller.answered(since) == ""
        await caller.call_agent("start_turn")
        await caller.speak(sum_of_two)
        assert await caller.call_agent("end_turn") == "What is two plus three?"
        await caller.is_told("five", since)
        assert "joke" not in caller.heard(0.0)


async def test_a_typed_message_is_answered_at_once_although_the_agent_speaks(
    livekit_server: RunningServer, push_to_talk: str, half_duplex: str
) -> None:
    for agent in (push_to_talk, half_duplex):
        async with _client(livekit_server, agent) as caller:
            await greeted(caller)
            await caller.ask_for_a_story()
            since = await caller.write("what is two plus three")
            await caller.is_told("five", since)


async def test_half_duplex_is_deaf_while_the_agent_speaks_and_hears_the_first_word_after_it(
    livekit_server: RunningServer, half_duplex: str
) -> None:
    async with _client(livekit_server, half_duplex) as caller:
        await greeted(caller)
        joke, sum_of_two = await spoken("tell me a joke"), await spoken("what is two plus three")
        await caller.silent(for_s=0.5, timeout_s=TIMEOUT_S)
        since = time.time()
        await caller.speak(joke)
        await caller.audible_after(since, timeout_s=TIMEOUT_S)
        over = await caller.speak(sum_of_two)
        assert caller.agent_state() == "speaking", "the joke is longer than the question"
        await caller.wait_for_agent_state("listening", timeout_s=TIMEOUT_S)
        assert "five" not in (await caller.wait_for_answer(since, timeout_s=TIMEOUT_S)).lower()
        assert await caller.audible_after(over.ended_at, timeout_s=TIMEOUT_S)
        since = time.time()
        await caller.speak(sum_of_two)
        await caller.is_told("five", since)
        assert caller.heard(since) == "What is two plus three?"


async def test_after_long_silence_the_agent_says_goodbye_and_the_room_closes(
    livekit_server: RunningServer, tmp_path: Path
) -> None:
    settings = real.worker_settings(
        livekit_server, agent_name="silence", session_timeout_s=4.0, goodbye="I hang up now."
    )
    async with (
        run_worker(settings, log_file=tmp_path / "worker.log"),
        _client(livekit_server, "silence") as caller,
    ):
        await greeted(caller)
        await caller.silent(for_s=0.5, timeout_s=TIMEOUT_S)
        since = time.time()
        await caller.audible_after(since, timeout_s=TIMEOUT_S)
        assert await caller.wait_for_answer(since, timeout_s=TIMEOUT_S) == "I hang up now."
        await caller.wait_for_agent_to_leave(timeout_s=TIMEOUT_S)
        while caller.connected:
            await asyncio.sleep(0.05)
