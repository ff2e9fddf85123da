"""Who is woken by which event of LiveKit's native library: the real one, in real threads."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from livekit.rtc import _ffi_client
from livekit.rtc._proto import ffi_pb2

from agent_worker.call.native_events import AddressedEvents, AddressedQueue, address_events
from livekit import rtc

FRAMES = 25
RATE = 24_000


@pytest.fixture
def native_client() -> Iterator[Any]:
    """The library's client, given back with the queue that it had."""
    client = _ffi_client.FfiClient.instance
    before = client._queue
    yield client
    client._queue = before


def _voice(handle: int) -> Any:
    event = ffi_pb2.FfiEvent()
    event.audio_stream_event.stream_handle = handle
    return event


def _receipt(async_id: int) -> Any:
    event = ffi_pb2.FfiEvent()
    event.capture_audio_frame.async_id = async_id
    return event


def _left() -> Any:
    event = ffi_pb2.FfiEvent()
    event.room_event.room_handle = 1
    event.room_event.participant_disconnected.participant_identity = "ann"
    return event


def _is_voice(event: Any) -> bool:
    return bool(event.WhichOneof("message") == "audio_stream_event")


async def _waiting(queue: AddressedQueue, wanted: Any) -> asyncio.Task[Any]:
    task = asyncio.create_task(queue.wait_for(wanted))
    await asyncio.sleep(0)
    return task


async def test_a_voice_wakes_only_the_stream_that_it_is_for() -> None:
    events = AddressedEvents()
    mine, other = (events.subscribe(filter_fn=_is_voice) for _ in range(2))
    hearing = await _waiting(mine, lambda e: e.audio_stream_event.stream_handle == 1)
    deaf = await _waiting(other, lambda e: e.audio_stream_event.stream_handle == 2)
    for _ in range(3):
        events.put(_voice(1))
    assert (await hearing).audio_stream_event.stream_handle == 1
    await asyncio.sleep(0)
    assert mine.qsize() == 2, "what comes before its stream waits again is kept"
    assert other.empty() and not deaf.done()
    deaf.cancel()


async def test_what_happens_before_anybody_waits_is_kept() -> None:
    events = AddressedEvents()
    queue = events.subscribe()
    events.put(_receipt(7))
    receipt = await queue.wait_for(lambda e: e.capture_audio_frame.async_id == 7)
    assert receipt.capture_audio_frame.async_id == 7


async def test_who_waits_for_one_event_after_another_misses_none() -> None:
    events = AddressedEvents()
    queue = events.subscribe()
    first = await _waiting(queue, lambda e: e.capture_audio_frame.async_id == 1)
    events.put(_receipt(1))
    events.put(_left())
    await first
    left = await queue.wait_for(lambda e: e.room_event.room_handle == 1)
    assert left.room_event.participant_disconnected.participant_identity == "ann"


async def test_a_room_hears_of_everything_but_of_receipts() -> None:
    events = AddressedEvents()
    room = events.subscribe(filter_fn=lambda e: not _is_voice(e))
    for event in (_receipt(1), _voice(1), _left()):
        events.put(event)
    await asyncio.sleep(0)
    assert room.get_nowait().WhichOneof("message") == "room_event"
    assert room.empty()


async def test_a_question_that_fails_lets_the_event_through() -> None:
    events = AddressedEvents()

    def broken(event: Any) -> bool:
        raise AttributeError("no such field")

    queue = events.subscribe(filter_fn=broken)
    events.put(_left())
    await asyncio.sleep(0)
    assert queue.qsize() == 1


async def test_a_call_whose_loop_is_gone_takes_nothing_from_the_others() -> None:
    events = AddressedEvents()
    gone = asyncio.new_event_loop()
    events.subscribe(gone)
    here = events.subscribe()
    gone.close()
    events.put(_left())
    await asyncio.sleep(0)
    assert here.qsize() == 1


async def test_an_unsubscribed_queue_gets_nothing() -> None:
    events = AddressedEvents()
    queue = events.subscribe()
    events.unsubscribe(queue)
    events.put(_left())
    await asyncio.sleep(0)
    assert queue.empty()


async def _speak_and_hear() -> list[int]:
    """Sends numbered frames through the native library and back; returns what was heard."""
    source = rtc.AudioSource(RATE, 1, queue_size_ms=1000)
    track = rtc.LocalAudioTrack.create_audio_track("voice", source)
    stream = rtc.AudioStream.from_track(track=track, sample_rate=RATE, frame_size_ms=20)
    levels: list[int] = []

    async def hear() -> None:
        async for event in stream:
            if (level := int(np.frombuffer(event.frame.data, np.int16).max())) > 0:
                levels.append(level)
            if len(levels) == FRAMES:
                return

    hearing = asyncio.create_task(hear())
    for number in range(1, FRAMES + 1):
        samples = np.full(RATE // 50, number, np.int16)
        await source.capture_frame(rtc.AudioFrame(samples.tobytes(), RATE, 1, len(samples)))
    await asyncio.wait_for(hearing, 20)
    await stream.aclose()
    await source.aclose()
    return levels


def test_calls_in_threads_hear_all_of_their_own_voice_and_are_not_woken_for_others(
    native_client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    woken_for: list[tuple[AddressedQueue, int]] = []
    deliver = AddressedQueue.put_nowait

    def watched(self: AddressedQueue, item: Any) -> None:
        if _is_voice(item):
            woken_for.append((self, item.audio_stream_event.stream_handle))
        deliver(self, item)

    monkeypatch.setattr(AddressedQueue, "put_nowait", watched)
    assert address_events()
    assert isinstance(native_client.queue, AddressedEvents)
    heard: list[list[int]] = []
    threads = [
        threading.Thread(target=lambda: heard.append(asyncio.run(_speak_and_hear())))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert heard == [list(range(1, FRAMES + 1))] * 4
    calls: dict[int, Counter[int]] = defaultdict(Counter)
    for queue, handle in woken_for:
        calls[id(queue)][handle] += 1
    own = sum(count.most_common(1)[0][1] for count in calls.values())
    # whoever has not asked yet is told of every voice, for a moment
    assert own >= 0.8 * len(woken_for)


def test_put_in_place_it_stays_and_keeps_who_was_there(native_client: Any) -> None:
    native_client._queue = _ffi_client.FfiQueue()
    loop = asyncio.new_event_loop()
    early = native_client.queue.subscribe(loop)
    assert address_events()
    in_place = native_client.queue
    assert address_events()
    assert native_client.queue is in_place
    in_place.put(_left())
    loop.run_until_complete(asyncio.sleep(0))
    assert early.qsize() == 1
    loop.close()


def test_an_unknown_release_is_left_as_it_is(
    native_client: Any, caplog: pytest.LogCaptureFixture
) -> None:
    class Later(_ffi_client.FfiQueue):  # type: ignore[type-arg]
        pass

    native_client._queue = later = Later()
    with caplog.at_level("INFO", logger="agent_worker.call.native_events"):
        assert not address_events()
    assert native_client.queue is later
    assert "unknown" in caplog.text
