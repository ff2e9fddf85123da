"""How much one participant may send, and that the rest wakes nobody."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from livekit.rtc import _ffi_client
from livekit.rtc._proto import ffi_pb2

from agent_worker.call.flood import BYTES, CHANGES, MESSAGES, Allowance, Bucket, Floodgate
from agent_worker.call.native_events import AddressedEvents
from tests.fake_clock import Clock


def test_a_bucket_gives_what_it_has_and_fills_again() -> None:
    bucket = Bucket(Allowance(at_once=2, per_second=1), 0.0)
    assert [bucket.take(1, 0.0) for _ in range(3)] == [True, True, False]
    assert bucket.take(1, 1.0)
    assert not bucket.take(3, 1000.0), "never more than at once"
    assert not bucket.take(3, 0.0), "a clock that steps back is no reason to fail"


def test_one_who_floods_is_dropped_and_told_of_once_and_the_others_get_through() -> None:
    clock, told = Clock(0.0), []
    gate = Floodgate(on_flood=lambda: told.append("flood"), clock=clock)
    through = sum(gate.admits(1, "ann") for _ in range(25_000))
    assert through == MESSAGES.at_once
    assert told == ["flood"]
    assert gate.admits(1, "bob")
    assert gate.admits(2, "ann"), "another ann in another room"
    clock.now_s = 1.0
    assert sum(gate.admits(1, "ann") for _ in range(100)) == MESSAGES.per_second


def test_what_is_long_counts_by_its_length() -> None:
    gate = Floodgate(clock=Clock(0.0))
    assert not gate.admits(1, "ann", size=30_000_000)
    size = 15_000
    through = sum(gate.admits(1, "bob", size=size) for _ in range(50))
    assert through == BYTES.at_once // size


def test_changes_of_attributes_have_an_allowance_of_their_own() -> None:
    gate = Floodgate(clock=Clock(0.0))
    assert sum(gate.admits(1, "ann", change=True) for _ in range(500)) == CHANGES.at_once
    assert gate.admits(1, "ann")


def test_many_senders_do_not_fill_the_memory() -> None:
    gate = Floodgate(clock=Clock(0.0))
    for _ in range(10_000):
        gate.admits(1, "ann")
    assert not gate.admits(1, "ann")
    for number in range(2000):
        gate.admits(1, f"caller-{number}")
    assert gate.admits(1, "ann"), "she was forgotten with the others"


def _stream(number: int, size: int = 10) -> Any:
    event = ffi_pb2.FfiEvent()
    event.room_event.room_handle = 1
    opened = event.room_event.text_stream_opened
    opened.participant_identity = "ann"
    opened.reader.handle.id = number
    opened.reader.info.total_length = size
    return event


def _attributes() -> Any:
    event = ffi_pb2.FfiEvent()
    event.room_event.room_handle = 1
    event.room_event.participant_attributes_changed.participant_identity = "ann"
    return event


def _call(payload: str) -> Any:
    event = ffi_pb2.FfiEvent()
    event.rpc_method_invocation.caller_identity = "ann"
    event.rpc_method_invocation.payload = payload
    return event


def _data(number: int) -> Any:
    event = ffi_pb2.FfiEvent()
    event.room_event.room_handle = 1
    packet = event.room_event.data_packet_received
    packet.participant_identity = "ann"
    packet.user.data.handle.id = number
    packet.user.data.data.data_len = 100
    return event


def _chunk() -> Any:
    event = ffi_pb2.FfiEvent()
    event.room_event.room_handle = 1
    event.room_event.stream_chunk_received.participant_identity = "ann"
    return event


async def test_a_flood_wakes_nobody_and_leaves_nothing_in_the_native_library(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    disposed: list[int] = []

    class Handle:
        def __init__(self, handle: int) -> None:
            self._handle = handle

        def dispose(self) -> None:
            disposed.append(self._handle)

    monkeypatch.setattr(_ffi_client, "FfiHandle", Handle)
    events = AddressedEvents()
    room = events.subscribe()
    for number in range(1, 501):
        events.put(_stream(number))
    for number in range(501, 1001):
        events.put(_data(number))
    await asyncio.sleep(0.01)
    assert room.qsize() < 100
    assert len(disposed) == 1000 - room.qsize()
    assert set(range(900, 1001)) <= set(disposed)


async def test_attributes_and_remote_calls_are_limited_too_and_what_nobody_reads_is_dropped() -> (
    None
):
    events = AddressedEvents()
    room = events.subscribe()
    for _ in range(500):
        events.put(_attributes())
    await asyncio.sleep(0)
    assert room.qsize() < 100
    before = room.qsize()
    for _ in range(100):
        events.put(_call("x" * 15_000))
        events.put(_chunk())
    await asyncio.sleep(0)
    assert room.qsize() - before < 30
