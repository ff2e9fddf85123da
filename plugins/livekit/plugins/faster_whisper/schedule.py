"""Which waiting requests an engine runs next, decided without threads and without a clock.

Finals come before partials, older before newer. Requests with equal plans share a batch, but a
final never waits for partials that would ride along: a batch takes as long as all its members.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

TTicket = TypeVar("TTicket", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Waiting(Generic[TTicket]):
    """One request in the queue."""

    ticket: TTicket
    """The caller's own handle."""
    plan: Hashable
    """Requests with equal plans can run together."""
    is_final: bool
    stream: Hashable | None = None
    """Where it comes from; a stream has one waiting partial at most."""


class Schedule(Generic[TTicket]):
    """A bounded queue of requests."""

    def __init__(self, *, max_batch: int = 8, max_partials: int = 64) -> None:
        """Starts empty.

        Args:
            max_batch: Requests that may run together.
            max_partials: Waiting partials; finals are never turned away, and each stream has one
                at most.
        """
        self._max_batch = max_batch
        self._max_partials = max_partials
        self._finals: list[Waiting[TTicket]] = []
        self._partials: list[Waiting[TTicket]] = []

    def __len__(self) -> int:
        return len(self._finals) + len(self._partials)

    @property
    def finals(self) -> list[TTicket]:
        """Those that wait, the oldest first."""
        return [w.ticket for w in self._finals]

    @property
    def is_batch_full(self) -> bool:
        """Whether waiting longer for company can't help the next batch."""
        queue = self._finals or self._partials
        return sum(w.plan == queue[0].plan for w in queue) >= self._max_batch if queue else False

    def put(self, waiting: Waiting[TTicket]) -> list[TTicket]:
        """Queues a request and returns those that it pushes out.

        A partial pushes out its stream's waiting one, or where the queue is full, the oldest; a
        final its stream's waiting partial.
        """
        dropped = []
        if waiting.stream is not None:
            dropped = [w for w in self._partials if w.stream == waiting.stream]
        if not waiting.is_final and len(self._partials) - len(dropped) >= self._max_partials:
            kept = [w for w in self._partials if w not in dropped]
            dropped += kept[: len(kept) - self._max_partials + 1]
        self._partials = [w for w in self._partials if w not in dropped]
        (self._finals if waiting.is_final else self._partials).append(waiting)
        return [w.ticket for w in dropped]

    def remove(self, ticket: TTicket) -> bool:
        """Takes a request out; tells whether it was still waiting."""
        before = len(self)
        self._finals = [w for w in self._finals if w.ticket != ticket]
        self._partials = [w for w in self._partials if w.ticket != ticket]
        return len(self) < before

    def take(self) -> list[TTicket]:
        """Removes and returns the next batch, which is empty only when nothing waits."""
        queue = self._finals or self._partials
        if not queue:
            return []
        plan = queue[0].plan
        batch = [w for w in queue if w.plan == plan][: self._max_batch]
        for waiting in batch:
            queue.remove(waiting)
        return [w.ticket for w in batch]

    def clear(self) -> list[Any]:
        """Empties the queue and returns what waited."""
        tickets = [w.ticket for w in (*self._finals, *self._partials)]
        self._finals.clear()
        self._partials.clear()
        return tickets
