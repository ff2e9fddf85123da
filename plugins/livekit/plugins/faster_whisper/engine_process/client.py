"""An engine that runs in a process of its own, as its callers see it: like one in theirs."""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections.abc import Callable, Hashable
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass, replace
from multiprocessing.connection import Client, Connection

from livekit.agents import APIConnectionError, APIError

from livekit.plugins.faster_whisper.any_engine import AnyEngine
from livekit.plugins.faster_whisper.engine import LOAD_LIMIT_S
from livekit.plugins.faster_whisper.errors import PartialDropped, closed_error
from livekit.plugins.faster_whisper.job import Decoded, Job, settle
from livekit.plugins.faster_whisper.log import logger
from livekit.plugins.faster_whisper.models import ModelSpec
from livekit.plugins.faster_whisper.schedule import Schedule, Waiting
from livekit.plugins.faster_whisper.statistics import Counts, EngineStatistics

from .messages import (
    SILENCE_S,
    Answer,
    Cancel,
    Meeting,
    Request,
    State,
    Wanted,
    receive,
    send,
)

TRIES = 2
"""A request is sent to so many processes; a second death in its company is no accident."""
_RETRY_S = 0.02
_UNREACHABLE_S = 60.0
"""Without any process for so long, the engine is given up."""


@dataclass(eq=False, slots=True)
class _Ticket:
    number: int
    job: Job
    future: Future[Decoded]
    stream: int | str | None
    tries: int = 0


class RemoteEngine(AnyEngine):
    """Sends its requests to the process that has the model, and again to the next one if it dies.

    A stream waits meanwhile as it waits for a busy engine: its audio is in the request.
    """

    def __init__(
        self,
        spec: ModelSpec,
        keeper: Meeting,
        *,
        max_partials: int = 64,
        silence_s: float = SILENCE_S,
        load_limit_s: float = LOAD_LIMIT_S,
    ) -> None:
        """Starts looking for the process.

        Args:
            spec: The model.
            keeper: Where `EngineProcesses` listens.
            max_partials: Partials that may wait here, while the process is away or slow.
            silence_s: Seconds after which a process that says nothing is taken for hung.
            load_limit_s: Seconds that the model may take to load.
        """
        self._spec = spec
        self._name = repr(spec.model)
        self._keeper = keeper
        self._silence_s = silence_s
        self._load_limit_s = load_limit_s
        self._last_progress = time.monotonic()
        self._ready: Future[None] = Future()
        self._numbers = itertools.count()
        self._changed = threading.Condition()
        # What waits here goes in the engine's own order, one by one.
        self._outbox: Schedule[_Ticket] = Schedule(max_batch=1, max_partials=max_partials)
        self._sent: dict[int, _Ticket] = {}
        self._cancelled: list[int] = []
        self._state: State | None = None
        self._connected = False
        self._broken: APIError | None = None
        self._closed = False
        self._thread = threading.Thread(
            target=self._stay_connected, name=f"faster-whisper link {self._name}", daemon=True
        )
        self._thread.start()

    @property
    def usable(self) -> bool:
        """Whether new requests have a chance; a process that is just being replaced has."""
        with self._changed:
            return not self._over

    @property
    def loaded(self) -> bool:
        """Whether a process has the model in memory, and is in reach."""
        state = self._state
        return self._connected and state is not None and state.statistics.loaded

    def submit(self, job: Job, *, stream: Hashable | None = None) -> Future[Decoded]:
        """As `AnyEngine.submit`. Never waits for the process."""
        future: Future[Decoded] = Future()
        key = stream if stream is None or isinstance(stream, int | str) else id(stream)
        with self._changed:
            if self._over:
                future.set_exception(self._broken or closed_error(self._name))
                return future
            ticket = _Ticket(next(self._numbers), job, future, key)
            dropped = self._queue(ticket)
        _drop(dropped)
        future.add_done_callback(lambda done: self._forget(ticket) if done.cancelled() else None)
        return future

    def statistics(self) -> EngineStatistics:
        """What the process has done so far for everybody; `depth` counts this engine's own."""
        with self._changed:
            depth = len(self._outbox) + len(self._sent)
            state = self._state
        if state is None:
            return Counts().summary(loaded=False, depth=depth)
        return replace(state.statistics, loaded=self.loaded, depth=depth)

    def close(self, timeout_s: float = 1.0) -> None:
        """Leaves the process to others, and fails what waits. Safe to call twice."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._fail_all(closed_error(self._name))
        if self._thread is not threading.current_thread():
            self._thread.join(timeout_s)

    @property
    def _over(self) -> bool:
        return self._closed or self._broken is not None

    def _queue(self, ticket: _Ticket) -> list[_Ticket]:
        """Holds the lock. Returns the partials that give way."""
        waiting = Waiting(ticket, ticket.number, ticket.job.is_final, ticket.stream)
        dropped = self._outbox.put(waiting)
        self._changed.notify_all()
        return dropped

    def _forget(self, ticket: _Ticket) -> None:
        with self._changed:
            if not self._outbox.remove(ticket) and ticket.number in self._sent:
                del self._sent[ticket.number]
                self._cancelled.append(ticket.number)
                self._changed.notify_all()

    # -- in the engine's thread ----------------------------------------------------------------
    def _stay_connected(self) -> None:
        lost: str | None = None
        since = time.monotonic()
        while not self._over:
            try:
                address = self._ask_for_process(lost)
                with Client(address, authkey=self._keeper.secret) as connection:
                    self._talk(connection)
                since = time.monotonic()
                lost = address
            except (OSError, EOFError) as e:
                # It may not listen yet, or the keeper is about to start another.
                if time.monotonic() - since > _UNREACHABLE_S:
                    self._give_up(f"its process can't be reached: {e}", retryable=True)
                with self._changed:
                    self._changed.wait_for(lambda: self._over, _RETRY_S)

    def _ask_for_process(self, lost: str | None) -> str:
        with Client(self._keeper.address, authkey=self._keeper.secret) as keeper:
            send(keeper, Wanted(self._spec, instead_of=lost))
            if not keeper.poll(self._silence_s):
                raise TimeoutError("the keeper of engines says nothing")
            address = receive(keeper)
        if not isinstance(address, str):
            raise TypeError("no address came")
        return address

    def _talk(self, connection: Connection) -> None:
        """Serves one process until it is gone, silent, or this engine is at its end."""
        with self._changed:
            self._connected = True
            self._last_progress = time.monotonic()
        gone = threading.Event()
        reader = threading.Thread(
            target=self._read,
            args=(connection, gone),
            name=f"faster-whisper answers {self._name}",
            daemon=True,
        )
        reader.start()
        try:
            while not gone.is_set() and not self._over:
                for message in self._next_messages(gone.is_set):
                    send(connection, message)
        except OSError:
            pass
        finally:
            gone.set()
            reader.join()
            self._after_loss()

    def _next_messages(self, gone: Callable[[], bool]) -> list[Request | Cancel]:
        with self._changed:
            self._changed.wait_for(
                lambda: gone() or self._over or self._cancelled or len(self._outbox) > 0, 1.0
            )
            messages: list[Request | Cancel] = [Cancel(number) for number in self._cancelled]
            self._cancelled.clear()
            if not gone():
                for ticket in self._outbox.take():
                    ticket.tries += 1
                    self._sent[ticket.number] = ticket
                    messages.append(Request(ticket.number, ticket.job, ticket.stream))
            return messages

    def _read(self, connection: Connection, gone: threading.Event) -> None:
        heard_at = time.monotonic()
        try:
            while not gone.is_set():
                if not connection.poll(0.2):
                    # While it loads, its Python may be kept from running for long.
                    limit = self._silence_s if self.loaded else self._load_limit_s
                    if time.monotonic() - heard_at > limit:
                        logger.error(
                            "an engine's process is silent", extra={"model": self._spec.model}
                        )
                        break
                    continue
                message = receive(connection)
                heard_at = time.monotonic()
                if isinstance(message, Answer):
                    self._settle(message)
                elif isinstance(message, State):
                    self._note(message)
        except (OSError, EOFError):
            pass
        finally:
            gone.set()
            with self._changed:
                self._changed.notify_all()

    def _note(self, state: State) -> None:
        with self._changed:
            before = self._state.statistics.batches if self._state else -1
            if state.statistics.batches != before:
                self._last_progress = time.monotonic()
            self._state = state
        if state.broken:
            self._give_up(state.broken, retryable=state.retryable)
        elif state.statistics.loaded:
            with contextlib.suppress(InvalidStateError):
                self._ready.set_result(None)

    def _settle(self, answer: Answer) -> None:
        with self._changed:
            self._last_progress = time.monotonic()
            ticket = self._sent.pop(answer.number, None)
        if ticket is None:
            return
        if answer.decoded is not None:
            settle(ticket.future, answer.decoded)
        elif answer.error:
            settle(ticket.future, APIConnectionError(answer.error, retryable=answer.retryable))
        else:
            settle(ticket.future, PartialDropped())

    def _after_loss(self) -> None:
        """What was at the process is sent to the next one; a partial is not worth it."""
        with self._changed:
            self._connected = False
            self._state = None
            self._cancelled.clear()
            lost = list(self._sent.values())
            self._sent.clear()
            again = [t for t in lost if t.job.is_final and t.tries < TRIES]
            dropped = [d for t in again for d in self._queue(t)]
        _drop(dropped)
        for ticket in lost:
            if not ticket.job.is_final:
                settle(ticket.future, PartialDropped())
            elif ticket.tries >= TRIES:
                message = f"the process of Whisper model {self._name} died twice over a request"
                settle(ticket.future, APIConnectionError(message, retryable=True))
        if lost and not self._over:
            logger.warning(
                "an engine's process is gone; its requests go to the next one",
                extra={"model": self._spec.model, "requests": len(again)},
            )

    def _give_up(self, why: str, *, retryable: bool) -> None:
        error = APIConnectionError(f"Whisper model {self._name}: {why}", retryable=retryable)
        with self._changed:
            self._broken = self._broken or error
            self._changed.notify_all()
        with contextlib.suppress(InvalidStateError):
            self._ready.set_exception(error)
        self._fail_all(error)

    def _fail_all(self, error: APIError) -> None:
        with self._changed:
            tickets = [*self._outbox.clear(), *self._sent.values()]
            self._sent.clear()
        for ticket in tickets:
            settle(ticket.future, error)


def _drop(tickets: list[_Ticket]) -> None:
    for ticket in tickets:
        settle(ticket.future, PartialDropped())
