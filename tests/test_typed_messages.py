"""Typed messages: whose are answered, and when."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

from livekit.agents import AgentSession

from agent_worker.call.typed_messages import TypedMessages
from livekit import rtc


class FakeReader:
    """A message that comes in pieces of a thousand characters."""

    def __init__(self, text: str, size: int) -> None:
        self.info = SimpleNamespace(size=size)
        self.left = text
        self.closed = False

    def __aiter__(self) -> FakeReader:
        return self

    async def __anext__(self) -> str:
        if not self.left:
            raise StopAsyncIteration
        piece, self.left = self.left[:1000], self.left[1000:]
        return piece

    def close(self) -> None:
        self.closed = True


class FakeRoom:
    """Has one handler for text streams, and lets messages through to it."""

    def __init__(self) -> None:
        self.handler: Callable[[Any, str], None] | None = None

    def register_text_stream_handler(self, topic: str, handler: Callable[[Any, str], None]) -> None:
        assert topic == "lk.chat"
        self.handler = handler

    def unregister_text_stream_handler(self, topic: str) -> None:
        self.handler = None

    def receives(self, text: str, identity: str, *, size: int | None = None) -> FakeReader:
        assert self.handler is not None
        reader = FakeReader(text, len(text) if size is None else size)
        self.handler(reader, identity)
        return reader


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


async def test_a_message_that_says_that_it_is_huge_is_not_read() -> None:
    room, session, messages = _typed()
    session.links("ann")
    reader = room.receives("a" * 2000, "ann", size=30_000_000)
    await asyncio.sleep(0.01)
    assert reader.closed and len(reader.left) == 2000
    assert session.events == []
    await messages.aclose()


async def test_a_message_that_does_not_say_how_long_it_is_is_read_only_so_far() -> None:
    room, session, messages = _typed()
    session.links("ann")
    reader = room.receives("a" * 50_000, "ann", size=0)
    await asyncio.sleep(0.01)
    assert reader.closed and len(reader.left) > 40_000
    assert session.events == []
    await messages.aclose()


async def test_of_a_hundred_messages_at_once_a_few_are_answered() -> None:
    room, session, messages = _typed()
    session.links("ann")
    readers = [room.receives("hello", "ann") for _ in range(100)]
    await asyncio.sleep(0.01)
    assert session.events.count("hello") == 6
    assert all(reader.closed for reader in readers)
    await messages.aclose()
