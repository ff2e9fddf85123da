"""Brings each event of LiveKit's native library only to the call that waits for it.

All rooms of a process share one native library, and its Python client hands every event (each 20 ms
of each caller's voice, the receipt of each 20 ms of each answer) to every subscriber of every room,
waking all their event loops; most look at it and throw it away. The work grows with the square of
the calls: on two cores six calls were answered after 3 s instead of 1. LiveKit runs one process for
each call, where that does not show; we run a thread, so that they can share a model.

Here whoever waits for one particular event is asked before it is woken. The library's own threads,
as few as the machine has cores, bring the events and wait until each is taken: while they wait for
a lock or the interpreter, nothing of any call goes out. So no lock is held while an event is
handed on, the stream that a voice is for is looked up and not searched, and a call that has not
yet woken for one event is not woken for the next. (With a lock, on two cores, eight calls kept
those threads busy to 90 %: an attribute took up to 9 s to be set, an answer 4 s to go out.)

This leans on internals of the ``livekit`` package, read in its release 1.1; where they are
different, nothing is changed: see `agent_worker.livekit_private`.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from agent_worker import livekit_private

from .flood import NEVER_READ, Floodgate, sent

logger = logging.getLogger(__name__)

Wanted = Callable[[Any], bool]
Subscriber = tuple[livekit_private.Queue[Any], asyncio.AbstractEventLoop, Wanted | None]

_VOICE = "audio_stream_event"
"""The most frequent event; it is for one stream. No request is answered by it."""
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

    Args:
        early: who was subscribed before.
    """

    def __init__(self, early: Sequence[Subscriber] = ()) -> None:
        super().__init__()
        self._gate = Floodgate(on_flood=_tell_flood)
        self._gate_lock = threading.Lock()
        self._unwanted: list[int] = []
        # read without a lock by the library's threads: each change makes new ones
        self._askers: tuple[_Listener, ...] = ()
        """Who waits for the answer to a request."""
        self._streams: tuple[_Listener, ...] = ()
        """Who is told of a kind of event: rooms, voices, text as it comes."""
        self._of_voice: dict[int, _Listener] = {}
        """By the handle of a voice's stream, once it was found."""
        for queue, loop, filter_fn in early:
            self._add(queue, loop, filter_fn)

    def subscribe(
        self,
        loop: asyncio.AbstractEventLoop | None = None,
        filter_fn: Wanted | None = None,
    ) -> AddressedQueue:
        """A queue of the events for which `filter_fn` holds, all but voices without one."""
        queue = AddressedQueue()
        self._add(queue, loop or asyncio.get_event_loop(), filter_fn)
        return queue

    def unsubscribe(self, queue: livekit_private.Queue[Any]) -> None:
        """Brings nothing more to a queue."""
        with self._lock:
            self._askers = tuple(known for known in self._askers if known.queue is not queue)
            self._streams = tuple(known for known in self._streams if known.queue is not queue)
            self._of_voice = {
                handle: known
                for handle, known in self._of_voice.items()
                if known.queue is not queue
            }

    def put(self, item: Any) -> None:
        """Called by the native library's threads, for each event."""
        kind = item.WhichOneof("message")
        if kind == _VOICE:
            self._bring_voice(item)
        elif self._admits(kind, item):
            if kind != _RECEIPT:
                for stream in self._streams:
                    if stream.wants(item):
                        stream.bring(item)
            for asker in self._askers:
                if asker.wants(item):
                    # it may wait for another one after this
                    asker.has_not_asked()
                    asker.bring(item)

    def _add(
        self,
        queue: livekit_private.Queue[Any],
        loop: asyncio.AbstractEventLoop,
        filter_fn: Wanted | None,
    ) -> None:
        with self._lock:
            mailboxes = (known.mailbox for known in (*self._streams, *self._askers))
            mailbox = next((box for box in mailboxes if box.loop is loop), None)
            listener = _Listener(queue, filter_fn, mailbox or _Mailbox(loop))
            if filter_fn is None:
                self._askers = (*self._askers, listener)
            else:
                self._streams = (*self._streams, listener)

    def _bring_voice(self, item: Any) -> None:
        handle = item.audio_stream_event.stream_handle
        if (known := self._of_voice.get(handle)) is not None:
            known.bring(item)
            return
        for stream in self._streams:
            if not stream.wants(item):
                continue
            stream.bring(item)
            if stream.has_asked:
                with self._lock:
                    # not one that has just gone
                    if stream in self._streams:
                        self._of_voice[handle] = stream

    def _admits(self, kind: str | None, item: Any) -> bool:
        if kind == "room_event" and item.room_event.WhichOneof("message") in NEVER_READ:
            return False
        what = sent(kind, item)
        if what is None:
            return True
        with self._gate_lock:
            admits = self._gate.admits(what.room, what.sender, size=what.size, change=what.change)
        if not admits and what.handle:
            self._let_go(what.handle)
        return admits

    def _let_go(self, handle: int) -> None:
        # not here: this is a thread of the library, in the middle of telling us
        with self._gate_lock:
            self._unwanted.append(handle)
            if len(self._unwanted) > 1:
                return
        for known in (*self._streams, *self._askers):
            try:
                known.mailbox.loop.call_soon_threadsafe(self._dispose)
            except RuntimeError:
                continue
            return
        with self._gate_lock:
            self._unwanted.clear()

    def _dispose(self) -> None:
        with self._gate_lock:
            handles, self._unwanted = self._unwanted, []
        for handle in handles:
            livekit_private.let_go(handle)


class _Mailbox:
    """What was brought for the queues of one event loop, which is woken once for all of it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._letters: deque[tuple[livekit_private.Queue[Any], Any]] = deque()
        self._is_called = False

    def post(self, queue: livekit_private.Queue[Any], item: Any) -> None:
        """Called by any thread."""
        self._letters.append((queue, item))
        if self._is_called:
            return
        self._is_called = True
        try:
            self.loop.call_soon_threadsafe(self._empty)
        except RuntimeError:
            logger.debug("an event for a loop that is closed")
            self._is_called = False
            self._letters.clear()

    def _empty(self) -> None:
        # first: what is posted from here on calls anew
        self._is_called = False
        while self._letters:
            queue, item = self._letters.popleft()
            queue.put_nowait(item)


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class _Listener:
    """A queue, and what its subscriber wants to hear of."""

    queue: livekit_private.Queue[Any]
    filter_fn: Wanted | None
    mailbox: _Mailbox

    @property
    def has_asked(self) -> bool:
        """Whether it waits for events of its own."""
        # one from before `address_events` is of another class, and can't tell
        return isinstance(self.queue, AddressedQueue) and self.queue.wanted is not None

    def has_not_asked(self) -> None:
        """It has what it waited for."""
        if isinstance(self.queue, AddressedQueue):
            self.queue.wanted = None

    def wants(self, item: Any) -> bool:
        """Whether it is to be woken for an event."""
        asked = self.queue.wanted if isinstance(self.queue, AddressedQueue) else None
        wanted = asked or self.filter_fn
        try:
            return wanted is None or wanted(item)
        except Exception:
            # as in the original: better one event too many
            return True

    def bring(self, item: Any) -> None:
        """Puts an event into its queue, soon, in the queue's own loop."""
        self.mailbox.post(self.queue, item)


def _tell_flood() -> None:
    logger.warning("a participant sends too much; the rest is dropped")


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
    livekit_private.replace_event_queue(AddressedEvents(livekit_private.subscribers(queue)))
    return True
