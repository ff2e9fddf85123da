"""Running turns: one at a time in each session, cancelled at once when nobody listens.

The graph runs in a task of its own that feeds a bounded queue. Handing its stream straight to
the web framework would leave the model generating after the client has gone: the framework's
repeated cancellation kills LangGraph's clean-up (langgraph issues 5682 and 8302).
"""

import asyncio
import logging
from collections import OrderedDict, deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace

from graph_speech.events import End, Excuse, Failure, Filler, Question, Speech, VoiceEvent
from graph_speech.filler import FillerTimer
from graph_speech.runner import GraphSpeech
from graph_speech.turn import TurnRequest
from graph_speech.wire import to_wire

from .events import Event

logger = logging.getLogger("flows")

_QUEUE_SIZE = 256
"""Events that wait before a graph is held back."""

_JOINED_FROM = 4096
"""Events that wait before tokens are joined: a model is not held back, and its tokens come as the
socket brings them."""


@dataclass(frozen=True)
class FillerOptions:
    """The phrase that bridges a slow tool."""

    after_s: float = 0.7
    text: str = "One moment, please."


@dataclass
class Turn:
    """One turn of a session: a run of the graph, and the events that it has made."""

    id: str
    flow_id: str
    filler: FillerOptions | None = None
    committed: asyncio.Event = field(default_factory=asyncio.Event)
    _events: deque[Event] = field(default_factory=deque)
    """What was not taken yet; bounded by `_room`, and by joining tokens."""
    _ready: asyncio.Event = field(default_factory=asyncio.Event)
    _drained: asyncio.Event = field(default_factory=asyncio.Event)
    _reason: str = "cancelled"
    _task: asyncio.Task[None] | None = None
    _cancelled: bool = False
    _spoke: bool = False
    _filler_timer: FillerTimer | None = None

    def start(self, speech: GraphSpeech, request: TurnRequest) -> None:
        """Run the graph in a task of its own."""
        if self.filler is not None:
            self._filler_timer = FillerTimer(self.filler.after_s, self._fill, self.committed)
        request = replace(request, committed=self.committed)
        self._task = asyncio.create_task(
            speech.run(request, self._tell, room=self._room), name=f"turn {self.id}"
        )
        # Not in the task itself: one that is cancelled before its first step never runs.
        self._task.add_done_callback(self._end)

    @property
    def running(self) -> bool:
        """Whether the graph is still at work."""
        return self._task is not None and not self._task.done()

    def cancel(self) -> bool:
        """Stop the run; returns whether there was one to stop.

        The task is cancelled once only: a second cancellation would hit LangGraph's clean-up,
        and the model would go on generating.
        """
        if self._task is None or self._cancelled:
            return False
        self._cancelled = self._task.cancel()
        return self._cancelled

    async def wait(self) -> None:
        """Wait until the run has ended, one way or another."""
        if self._task is not None:
            await asyncio.wait([self._task])

    async def batches(self, ping_s: float) -> AsyncIterator[list[Event]]:
        """The events, as many at a time as there are; an empty list after `ping_s` of silence."""
        while True:
            try:
                async with asyncio.timeout(ping_s):
                    await self._ready.wait()
            except TimeoutError:
                yield []
                continue
            self._ready.clear()
            batch = list(self._events)
            self._events.clear()
            self._drained.set()
            if batch:
                yield batch
                if batch[-1]["type"] == "done":
                    return

    def _tell(self, event: VoiceEvent) -> None:
        if self._filler_timer is not None:
            self._filler_timer.take(event)
        match event:
            case Speech() | Filler() | Question():
                self._spoke = True
            case Excuse():
                logger.warning(
                    "there was no answer, a sentence was spoken instead",
                    extra={"flow": self.flow_id, "cause": event.cause},
                )
            case Failure():
                fault = type(event.error).__name__
                logger.warning("flow failed", extra={"flow": self.flow_id, "fault": fault})
                logger.debug("flow failed", exc_info=event.error)
                # a retry would say again what went out
                event = replace(event, retryable=event.retryable and not self._spoke)
            case End(reason):
                self._reason = reason
                return
        wire = to_wire(event)
        if wire is not None:
            self._put(wire)

    def _put(self, event: Event) -> None:
        if len(self._events) >= _JOINED_FROM and _joins(self._events[-1], event):
            # nobody takes them: what a model may answer is bounded, how many tokens it has is not
            self._events[-1] = {**event, "content": self._events[-1]["content"] + event["content"]}
        else:
            self._events.append(event)
        self._ready.set()

    async def _room(self) -> None:
        while len(self._events) >= _QUEUE_SIZE:
            self._drained.clear()
            await self._drained.wait()

    def _end(self, task: asyncio.Task[None]) -> None:
        if self._filler_timer is not None:
            self._filler_timer.stop()
        if task.cancelled():
            # Who cancels does not want the rest.
            self._reason = "cancelled"
            self._events.clear()
        elif (fault := task.exception()) is not None:
            # the runner tells what fails in a graph: this is a defect of ours
            logger.error("a turn broke", exc_info=fault)
            self._reason = "failed"
            self._put({**(to_wire(Failure("flow_failed", "The flow failed.")) or {})})
        self._put({"type": "done", "turn_id": self.id, "reason": self._reason})

    def _fill(self) -> None:
        if self.filler is not None:
            self._tell(Filler(self.filler.text))


def _joins(last: Event, event: Event) -> bool:
    return last["type"] == event["type"] == "token" and not (last.keys() | event.keys()) - {
        "type",
        "content",
    }


class EarlyCommits:
    """Commits that came in before their turn: two requests may overtake each other."""

    def __init__(self, size: int = 1024) -> None:
        self._ids: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._size = size

    def add(self, session: str, turn_id: str) -> None:
        """Remember a commit, and forget the oldest where there are too many."""
        self._ids[session, turn_id] = None
        while len(self._ids) > self._size:
            self._ids.popitem(last=False)

    def take(self, session: str, turn_id: str) -> bool:
        """Whether this turn was committed already."""
        return self._ids.pop((session, turn_id), 0) is None
