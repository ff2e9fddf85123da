"""Brings each event of LiveKit's native library only to the call that waits for it.

All rooms of a process share one native library, and its Python client hands every event (each 20 ms
of each caller's voice, the receipt of each 20 ms of each answer) to every subscriber of every room,
waking all their event loops; most look at it and throw it away. The work grows with the square of
the calls: on two cores six calls were answered after 3 s instead of 1. LiveKit runs one process for
each call, where that does not show; we run a thread, so that they can share a model.

Here whoever waits for one particular event is asked before it is woken. This leans on internals of
the ``livekit`` package, read in its release 1.1; where they are different, nothing is changed: see
`agent_worker.livekit_private`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from agent_worker import livekit_private

from .flood import NEVER_READ, Floodgate, sent

logger = logging.getLogger(__name__)

Wanted = Callable[[Any], bool]

_RECEIPT = "capture_audio_frame"
"""Event that some audio was taken: by far the most frequent one that is no voice. Only who handed
it in waits for it, and with a predicate; a subscriber to a kind of event never means this one."""


class AddressedQueue(livekit_private.Queue[Any]):
    """A subscriber's queue, which knows what its subscriber waits for."""

    wanted: Wanted | None = None

    async def wait_for(self, fnc: Wanted) -> Any:
        """Waits for an event for which `fnc` holds; those before it are dropped, mostly unseen."""
        self.wanted = fnc
        return await super().wait_for(fnc)


class AddressedEvents(livekit_private.FfiQueue[Any]):
    """The native library's subscribers, of which only those are woken that want an event.

    What one participant sends beyond measure is dropped here, before it wakes anybody.
    """

    def __init__(self) -> None:
        super().__init__()
        self._gate = Floodgate(on_flood=_tell_flood)
        self._unwanted: list[int] = []

    def subscribe(
        self,
        loop: asyncio.AbstractEventLoop | None = None,
        filter_fn: Wanted | None = None,
    ) -> AddressedQueue:
        """A queue of the events for which `filter_fn` holds, all of them without one."""
        queue = AddressedQueue()
        with self._lock:
            self._subscribers.append((queue, loop or asyncio.get_event_loop(), filter_fn))
        return queue

    def put(self, item: Any) -> None:
        """Called by the native library's threads, for each event."""
        kind = item.WhichOneof("message")
        is_receipt = kind == _RECEIPT
        with self._lock:
            if not self._admits(kind, item):
                return
            for queue, loop, filter_fn in self._subscribers:
                # one from before `address_events` is of another class
                addressed = queue if isinstance(queue, AddressedQueue) else None
                wanted = addressed.wanted if addressed else None
                if wanted is None and is_receipt and filter_fn is not None:
                    continue
                if not _wants(wanted or filter_fn, item):
                    continue
                if addressed and filter_fn is None:
                    # a stream waits for its own events for ever; anyone else may wait for another
                    addressed.wanted = None
                try:
                    loop.call_soon_threadsafe(queue.put_nowait, item)
                except RuntimeError:
                    logger.debug("an event for a loop that is closed")

    def _admits(self, kind: str | None, item: Any) -> bool:
        if kind == "room_event" and item.room_event.WhichOneof("message") in NEVER_READ:
            return False
        what = sent(kind, item)
        if what is None or self._gate.admits(
            what.room, what.sender, size=what.size, change=what.change
        ):
            return True
        if what.handle:
            self._let_go(what.handle)
        return False

    def _let_go(self, handle: int) -> None:
        # not here: this is a thread of the library, in the middle of telling us
        self._unwanted.append(handle)
        if len(self._unwanted) > 1:
            return
        for _, loop, _ in self._subscribers:
            try:
                loop.call_soon_threadsafe(self._dispose)
            except RuntimeError:
                continue
            return
        self._unwanted.clear()

    def _dispose(self) -> None:
        with self._lock:
            handles, self._unwanted = self._unwanted, []
        for handle in handles:
            livekit_private.let_go(handle)


def _tell_flood() -> None:
    logger.warning("a participant sends too much; the rest is dropped")


def _wants(wanted: Wanted | None, item: Any) -> bool:
    try:
        return wanted is None or wanted(item)
    except Exception:
        # as in the original: better one event too many
        return True


def address_events() -> bool:
    """Puts `AddressedEvents` in place, once and for the whole process; before any room is joined.

    Returns:
        Whether it is in place. If not, many calls at once cost more, and nothing else is different.
    """
    queue = livekit_private.event_queue()
    if isinstance(queue, AddressedEvents):
        return True
    if queue is None or type(queue) is not livekit_private.FfiQueue:
        logger.warning(
            "this release of livekit is unknown: its events are left as they are, and many calls "
            "at once are answered later; livekit 1.1 is known"
        )
        return False
    livekit_private.replace_event_queue(AddressedEvents())
    return True
