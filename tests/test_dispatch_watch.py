"""The watch over the rooms at work, on rooms of this process."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest

from agent_worker.dispatch import standing
from agent_worker.dispatch.plan import DEAD_AFTER_S, AgentView, CallAgain, DispatchView, RoomView
from agent_worker.dispatch.standing import Standing, is_ours
from agent_worker.dispatch.watch import BEAT_ATTRIBUTE, DispatchWatch
from tests.fake_clock import Clock


@dataclass
class FakeRooms:
    """Rooms as they are told; remembers what was asked and done."""

    rooms: dict[str, RoomView] = field(default_factory=dict)
    called: list[tuple[str, CallAgain]] = field(default_factory=list)
    looked_at: list[str] = field(default_factory=list)
    asked_dispatches: list[str] = field(default_factory=list)
    fails: int = 0

    async def names(self) -> Sequence[str]:
        if self.fails:
            self.fails -= 1
            raise aiohttp.ClientConnectionError("the server restarts")
        return list(self.rooms)

    async def view(self, name: str) -> RoomView | None:
        self.looked_at.append(name)
        view = self.rooms.get(name)
        return None if view is None else replace(view, dispatches=None)

    async def dispatches(self, name: str) -> Sequence[DispatchView]:
        self.asked_dispatches.append(name)
        return self.rooms[name].dispatches or ()

    async def call(self, name: str, what: CallAgain) -> None:
        self.called.append((name, what))


def _alone(name: str) -> RoomView:
    return RoomView(name, f"RM_{name}", 1, (), (DispatchView(f"AD_{name}"),))


def _served(name: str, beat: str) -> RoomView:
    return replace(_alone(name), agents=(AgentView("agent", beat),))


async def _looks(watch: DispatchWatch, clock: Clock, *times: float) -> None:
    for now in times:
        clock.now_s = now
        await watch.look()


async def test_a_caller_who_is_alone_is_served() -> None:
    clock, rooms = Clock(0.0), FakeRooms({"a": _alone("a")})
    await _looks(DispatchWatch(rooms, clock=clock), clock, 0.0, 0.5, 1.0)
    assert [name for name, _ in rooms.called] == ["a"]


async def test_a_worker_that_drains_calls_nobody() -> None:
    clock, rooms = Clock(0.0), FakeRooms({"a": _alone("a")})
    watch = DispatchWatch(rooms, may_call=lambda: False, clock=clock)
    await _looks(watch, clock, 0.0, 1.0, 2.0)
    assert rooms.called == []


async def test_a_room_that_is_served_costs_one_request_a_second() -> None:
    clock, rooms = Clock(0.0), FakeRooms({"a": _served("a", "0")})
    watch = DispatchWatch(rooms, clock=clock)
    for tick in range(25):
        rooms.rooms["a"] = _served("a", str(tick))
        await _looks(watch, clock, tick * 0.4)
    assert len(rooms.looked_at) <= 10
    assert rooms.asked_dispatches == []
    assert rooms.called == []


async def test_of_a_thousand_rooms_each_is_looked_at_in_turn() -> None:
    clock = Clock(0.0)
    rooms = FakeRooms({str(n): _served(str(n), "0") for n in range(100)})
    watch = DispatchWatch(rooms, clock=clock)
    await _looks(watch, clock, *(n * 0.4 for n in range(5)))
    assert sorted(rooms.looked_at) == sorted(rooms.rooms)


async def test_an_agent_whose_process_is_known_to_be_gone_is_replaced_at_once() -> None:
    clock, rooms = Clock(0.0), FakeRooms({"a": _served("a", "1")})
    watch = DispatchWatch(rooms, clock=clock)
    await _looks(watch, clock, 0.0)
    watch.agent_died("a", "agent")
    await _looks(watch, clock, 0.1)
    ((_, what),) = rooms.called
    assert what.remove == ("agent",) and what.took_over


async def test_a_server_that_is_away_does_not_end_the_watch() -> None:
    rooms = FakeRooms({"a": _alone("a")}, fails=1)
    watch = DispatchWatch(rooms)
    watch.start()
    async with asyncio.timeout(20):
        while not rooms.called:
            await asyncio.sleep(0.05)
    await watch.aclose()
    await watch.aclose()


def test_a_room_is_ours_only_by_its_id() -> None:
    assert is_ours([("a", "RM_1")], "a", "RM_1")
    assert not is_ours([("a", "RM_2")], "a", "RM_1"), "it opened again since"
    assert not is_ours([], "a", "RM_1")
    assert not is_ours([("a", "")], "a", ""), "its id was never known"


class LossyRoom:
    """A room of one agent, in which the receipts of some beats never come."""

    def __init__(self, *lost: int) -> None:
        self.lost = lost
        self.beats: list[str] = []
        self.changed = asyncio.Event()
        self.remote_participants: dict[str, Any] = {}
        self.local_participant = self

    def on(self, *_: object) -> None:
        pass

    def isconnected(self) -> bool:
        return True

    async def set_attributes(self, attributes: dict[str, str]) -> None:
        self.beats.append(attributes[BEAT_ATTRIBUTE])
        self.changed.set()
        if len(self.beats) in self.lost:
            await asyncio.Event().wait()


async def test_an_agent_beats_on_although_the_receipt_of_a_beat_never_comes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # one that is lost must not look like a death
    assert standing.BEAT_EVERY_S + standing.BEAT_LOST_AFTER_S < 0.8 * DEAD_AFTER_S
    monkeypatch.setattr(standing, "BEAT_LOST_AFTER_S", 0.02)
    room = LossyRoom(1)
    place: Any = SimpleNamespace(room=room)
    agent = Standing(place, agent_name="agent")
    assert await agent.is_free()
    async with asyncio.timeout(standing._REQUEST_S - 0.5):
        while len(room.beats) < 2:
            room.changed.clear()
            await room.changed.wait()
    assert room.beats == ["0", "1"]
    await agent.aclose()
