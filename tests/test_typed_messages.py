"""Typed messages: whose are answered, and when."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

from livekit.agents import AgentSession

from agent_worker.typed_messages import TypedMessages
from livekit import rtc


class FakeRoom:
    """Has one handler for text streams, and lets messages through to it."""

    def __init__(self) -> None:
        self.handler: Callable[[Any, str], None] | None = None

    def register_text_stream_handler(self, topic: str, handler: Callable[[Any, str], None]) -> None:
        assert topic == "lk.chat"
        self.handler = handler

    def unregister_text_stream_handler(self, topic: str) -> None:
        self.handler = None

    def receives(self, text: str, identity: str) -> None:
        async def read_all() -> str:
            return text

        assert self.handler is not None
        self.handler(SimpleNamespace(read_all=read_all), identity)


class FakeSession:
    """Answers to one caller, and remembers in which order things happened."""

    def __init__(self) -> None:
        self.room_io = SimpleNamespace(linked_participant=None)
        self.events: list[str] = []

    def links(self, identity: str) -> None:
        self.room_io.linked_participant = SimpleNamespace(identity=identity)

    async def interrupt(self, *, force: bool) -> None:
        self.events.append("interrupted" if force else "asked to be quiet")

    def generate_reply(self, *, user_input: str) -> None:
        self.events.append(user_input)


def _typed() -> tuple[FakeRoom, FakeSession, TypedMessages]:
    room, session = FakeRoom(), FakeSession()
    messages = TypedMessages(
        cast(rtc.Room, room),
        cast(AgentSession[Any], session),
        on_turn=lambda: session.events.append("committed"),
    )
    return room, session, messages


async def test_the_callers_message_stops_the_agent_and_is_answered() -> None:
    room, session, messages = _typed()
    session.links("ann")
    room.receives("what time is it", "ann")
    await asyncio.sleep(0.01)
    assert session.events == ["interrupted", "committed", "what time is it"]
    await messages.aclose()
    assert room.handler is None


async def test_a_message_that_is_there_before_its_sender_is_known_waits_for_them() -> None:
    room, session, messages = _typed()
    room.receives("what is my name", "ann")
    await asyncio.sleep(0.1)
    assert session.events == []
    session.links("ann")
    await asyncio.sleep(0.1)
    assert session.events[-1] == "what is my name"
    await messages.aclose()


async def test_a_listeners_message_is_not_for_the_agent() -> None:
    room, session, messages = _typed()
    session.links("ann")
    room.receives("hello", "bob")
    await asyncio.sleep(0.01)
    assert session.events == []
    await messages.aclose()


async def test_closing_midway_leaves_no_task() -> None:
    before = asyncio.all_tasks()
    room, session, messages = _typed()
    room.receives("hello", "nobody")
    await asyncio.sleep(0)
    await messages.aclose()
    await messages.aclose()
    assert asyncio.all_tasks() == before
    assert session.events == []
