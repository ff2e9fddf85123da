"""Before the worker's end cuts a call off, the caller is told."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from livekit.agents import AgentSession

from agent_worker.dispatch import stopping
from agent_worker.dispatch.stopping import StopWord, word_at_s


class FakeSession:
    def __init__(self, *, hangs: bool = False) -> None:
        self.events: list[str] = []
        self._hangs = hangs
        self.over = asyncio.Event()

    async def interrupt(self, *, force: bool) -> None:
        assert force

    async def say(self, text: str, *, allow_interruptions: bool) -> None:
        assert not allow_interruptions
        self.events.append(text)
        if self._hangs:
            await asyncio.Event().wait()

    def shutdown(self, *, drain: bool) -> None:
        self.events.append("over")
        self.over.set()


@pytest.mark.parametrize("timeout_s", [60, 10, 6, 3, 1, 0])
def test_the_word_is_said_before_the_end_and_not_long_before(timeout_s: float) -> None:
    at_s = word_at_s(timeout_s)
    assert 0 <= at_s <= timeout_s
    assert timeout_s - at_s <= 5


@pytest.mark.parametrize("hangs", [False, True])
async def test_a_call_that_outlasts_the_drain_is_told_and_ends(
    monkeypatch: pytest.MonkeyPatch, hangs: bool
) -> None:
    monkeypatch.setattr(stopping, "_SAYING_S", 0.2)
    session, draining = FakeSession(hangs=hangs), [False]
    word = StopWord(
        cast(AgentSession[Any], session),
        word="One moment.",
        draining=lambda: draining[0],
        drain_timeout_s=0.2,
    )
    await asyncio.sleep(0.4)
    assert session.events == []
    draining[0] = True
    async with asyncio.timeout(10):
        await session.over.wait()
    assert session.events == ["One moment.", "over"]
    await word.aclose()


async def test_a_call_that_ends_by_itself_hears_nothing_of_it() -> None:
    session = FakeSession()
    word = StopWord(
        cast(AgentSession[Any], session),
        word="One moment.",
        draining=lambda: True,
        drain_timeout_s=60,
    )
    await asyncio.sleep(0.01)
    await word.aclose()
    await word.aclose()
    assert session.events == []
