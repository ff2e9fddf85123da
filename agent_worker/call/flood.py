"""How much one participant may send to the agents of this process before the rest is dropped.

All calls of a process share one native library and its interpreter: 25,000 small messages of one
caller, each a stream with a task of its own, delayed every other call by seconds. What a caller can
send for a good reason is far less: a few typed messages, the presses of a button.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import Any

_MOST_SENDERS = 2000
_FORGET_S = 120.0


@dataclasses.dataclass(frozen=True)
class Allowance:
    """What a sender may send: so much at once, and so much more each second."""

    at_once: float
    per_second: float


MESSAGES = Allowance(at_once=60, per_second=20)
"""Streams, data packets and remote calls."""
BYTES = Allowance(at_once=256 * 1024, per_second=64 * 1024)
"""In them, as far as their length is told beforehand."""
CHANGES = Allowance(at_once=60, per_second=10)
"""Changes of name, metadata and attributes."""


class Bucket:
    """An allowance that is used up and fills again. No clock of its own."""

    def __init__(self, allowance: Allowance, now: float) -> None:
        self._allowance = allowance
        self._left = allowance.at_once
        self._at = now

    def take(self, amount: float, now: float) -> bool:
        """Takes so much, if it is there."""
        passed, self._at = max(now - self._at, 0.0), now
        most, more = self._allowance.at_once, self._allowance.per_second
        self._left = min(self._left + passed * more, most)
        if amount > self._left:
            return False
        self._left -= amount
        return True


@dataclasses.dataclass
class _Sender:
    messages: Bucket
    bytes: Bucket
    changes: Bucket
    seen_at: float
    dropped: int = 0


class Floodgate:
    """Decides for each event of a room whether it gets through; for one thread at a time.

    Args:
        on_flood: told once for each sender whose events are dropped.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        *,
        on_flood: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._on_flood = on_flood
        self._clock = clock
        self._senders: dict[tuple[int, str], _Sender] = {}

    def admits(self, room: int, sender: str, *, size: int = 0, change: bool = False) -> bool:
        """Whether something that a participant sent gets through.

        Args:
            room: which one, by any number.
            sender: the participant's identity.
            size: bytes, as far as known.
            change: of the participant's own name, metadata or attributes.
        """
        now = self._clock()
        known = self._sender((room, sender), now)
        known.seen_at = now
        if change:
            admitted = known.changes.take(1, now)
        else:
            admitted = known.messages.take(1, now) and known.bytes.take(size, now)
        if not admitted:
            known.dropped += 1
            if known.dropped == 1:
                self._on_flood()
        return admitted

    def _sender(self, key: tuple[int, str], now: float) -> _Sender:
        known = self._senders.get(key)
        if known is None:
            if len(self._senders) >= _MOST_SENDERS:
                self._forget(now)
            known = self._senders[key] = _Sender(
                Bucket(MESSAGES, now), Bucket(BYTES, now), Bucket(CHANGES, now), now
            )
        return known

    def _forget(self, now: float) -> None:
        recent = {k: s for k, s in self._senders.items() if now - s.seen_at < _FORGET_S}
        # that many at once is a flood of its own: all begin anew
        self._senders = recent if len(recent) < _MOST_SENDERS else {}


@dataclasses.dataclass(frozen=True)
class Sent:
    """What an event of the native library says about who sent how much."""

    room: int
    sender: str
    size: int = 0
    change: bool = False
    handle: int = 0
    """Of the content that waits in the native library; it must be let go when it is not wanted."""


_CHANGES = frozenset(
    {"participant_attributes_changed", "participant_metadata_changed", "participant_name_changed"}
)
_STREAMS = frozenset({"text_stream_opened", "byte_stream_opened"})
NEVER_READ = frozenset({"stream_header_received", "stream_chunk_received", "chat_message"}) | {
    "stream_trailer_received"
}
"""Events that the Python client of this release reads nowhere: the same comes as a stream."""


def sent(kind: str | None, event: Any) -> Sent | None:
    """Reads an event of the native library (`livekit.rtc`, release 1.1).

    Args:
        kind: which of its fields is set.
        event: an `FfiEvent`.

    Returns:
        None where it is nothing that a participant sent at will.
    """
    if kind == "rpc_method_invocation":
        call = event.rpc_method_invocation
        return Sent(call.local_participant_handle, call.caller_identity, len(call.payload))
    if kind != "room_event":
        return None
    room = event.room_event
    what = room.WhichOneof("message")
    if what in _CHANGES:
        return Sent(room.room_handle, getattr(room, what).participant_identity, change=True)
    if what in _STREAMS:
        opened = getattr(room, what)
        size = int(opened.reader.info.total_length)
        return Sent(
            room.room_handle, opened.participant_identity, size, handle=opened.reader.handle.id
        )
    if what == "data_packet_received":
        packet = room.data_packet_received
        if packet.WhichOneof("value") == "user":
            data = packet.user.data
            size = int(data.data.data_len)
            return Sent(room.room_handle, packet.participant_identity, size, handle=data.handle.id)
    return None
