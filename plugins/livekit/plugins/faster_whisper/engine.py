"""The only owner of a Whisper model.

One thread loads the model and runs it, batch by batch; callers get futures. Nothing of a stream
is kept here between two requests.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Hashable
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass

from livekit.agents import APIConnectionError, APIError

from .any_engine import AnyEngine
from .errors import PartialDropped, closed_error, decode_error, load_error
from .job import Decoded, Decoder, Job, settle
from .log import logger
from .schedule import Schedule, Waiting
from .statistics import Counts, EngineStatistics

GATHER_S = 0.015
"""How long a request waits for others to share its batch, while several streams are active."""
STALL_S = 20.0
"""A batch that runs longer is taken for hung, and the engine is given up."""
LOAD_LIMIT_S = 120.0
"""Loading longer counts as hung."""


@dataclass(eq=False, slots=True)
class _Ticket:
    job: Job
    future: Future[Decoded]
    queued_at: float
    stream: Hashable | None = None


class Engine(AnyEngine):
    """Loads a model in a thread of its own, and decodes what is asked of it."""

    def __init__(
        self,
        load: Callable[[], Decoder],
        *,
        name: str = "",
        max_batch: int = 8,
        max_partials: int = 64,
        stall_s: float = STALL_S,
        load_limit_s: float = LOAD_LIMIT_S,
    ) -> None:
        """Starts loading.

        Args:
            load: Makes the decoder; called once, in the engine's thread.
            name: For logs and errors.
            max_batch: Requests that may run together.
            max_partials: Partials that may wait.
            stall_s: Seconds after which a running batch is taken for hung.
            load_limit_s: Seconds after which loading is taken for hung.
        """
        self._load = load
        self._name = name
        self._stall_s = stall_s
        self._load_limit_s = load_limit_s
        self._schedule: Schedule[_Ticket] = Schedule(max_batch=max_batch, max_partials=max_partials)
        self._changed = threading.Condition()
        self._counts = Counts()
        self._decoder: Decoder | None = None
        self._broken: APIError | None = None
        self._closed = False
        self._running: list[_Ticket] = []
        self._running_since: float | None = time.monotonic()
        self._last_progress = time.monotonic()
        self._ready: Future[None] = Future()
        self._thread = threading.Thread(
            target=self._work, name=f"faster-whisper {name}", daemon=True
        )
        self._thread.start()

    @property
    def usable(self) -> bool:
        """Whether new requests have a chance: not closed, not failed, not hung."""
        with self._changed:
            self._give_up_if_hung()
            return not self._closed and self._broken is None

    @property
    def failure(self) -> APIError | None:
        """Why it can't be used any more; None while it can."""
        with self._changed:
            self._give_up_if_hung()
            return self._broken

    @property
    def loaded(self) -> bool:
        """Whether the model is in memory."""
        return self._decoder is not None

    def submit(self, job: Job, *, stream: Hashable | None = None) -> Future[Decoded]:
        """Queues a job.

        The future ends with `PartialDropped` where a partial gave way, with an `APIError` where
        the model failed. Cancelling it frees its place in the queue; a run under way goes to its
        end and its result is dropped.

        Args:
            job: What to decode.
            stream: Whose it is; a stream's partial pushes out its waiting one.
        """
        future: Future[Decoded] = Future()
        ticket = _Ticket(job, future, time.monotonic(), stream)
        with self._changed:
            self._give_up_if_hung()
            if self._broken is not None or self._closed:
                future.set_exception(self._broken or closed_error(self._name))
                return future
            self._counts.requests += 1
            if stream is not None:
                self._counts.recent_streams[stream] = ticket.queued_at
            plan = _plan_or_none(self._decoder, job) if self._decoder else None
            dropped = self._schedule.put(Waiting(ticket, plan, job.is_final, stream))
            self._counts.partials_dropped += len(dropped)
            self._changed.notify_all()
        for loser in dropped:
            if loser.future.set_running_or_notify_cancel():
                loser.future.set_exception(PartialDropped())
        future.add_done_callback(lambda done: self._forget(ticket) if done.cancelled() else None)
        return future

    def statistics(self) -> EngineStatistics:
        """Returns what the engine has done so far."""
        with self._changed:
            since = [ticket.queued_at for ticket in self._schedule.finals]
            recent_s = self._counts.recent_final_wait_s(since, time.monotonic())
            return self._counts.summary(
                loaded=self.loaded, depth=len(self._schedule), recent_final_wait_s=recent_s
            )

    def close(self, timeout_s: float = 1.0) -> None:
        """Ends the thread after the batch under way, and fails what waits. Safe to call twice."""
        with self._changed:
            self._closed = True
            waiting = self._schedule.clear()
            self._changed.notify_all()
        _fail(waiting, closed_error(self._name))
        if self._thread is not threading.current_thread():
            self._thread.join(timeout_s)

    def _forget(self, ticket: _Ticket) -> None:
        with self._changed:
            self._counts.cancelled += self._schedule.remove(ticket)

    def _give_up_if_hung(self) -> None:
        """Holds the lock. A hung thread can't be ended, only left behind."""
        limit = self._stall_s if self.loaded else self._load_limit_s
        since = self._running_since
        if self._broken is not None or since is None or time.monotonic() - since < limit:
            return
        self._break(
            APIConnectionError(
                f"Whisper model {self._name} hangs for over {limit:g} s; its engine was given up",
                retryable=True,
            )
        )

    def _break(self, error: APIError) -> None:
        """Holds the lock."""
        self._broken = error
        self._counts.failures += 1
        _fail(self._schedule.clear(), error)
        for ticket in self._running:
            settle(ticket.future, error)
        with contextlib.suppress(InvalidStateError):
            self._ready.set_exception(error)
        self._changed.notify_all()

    def _work(self) -> None:
        try:
            decoder = self._load()
        except Exception as e:
            failure = load_error(self._name, e)
            logger.error("Whisper model could not be loaded", extra={"model": self._name})
            with self._changed:
                self._running_since = None
                self._break(failure)
            return
        with self._changed:
            self._decoder = decoder
            self._running_since = None
            self._last_progress = time.monotonic()
            for ticket in self._schedule.clear():
                plan = _plan_or_none(decoder, ticket.job)
                self._schedule.put(Waiting(ticket, plan, ticket.job.is_final, ticket.stream))
        with contextlib.suppress(InvalidStateError):
            self._ready.set_result(None)
        while batch := self._next_batch():
            self._run(decoder, batch)

    def _next_batch(self) -> list[_Ticket]:
        """Waits for work; empty means that the engine is at its end."""
        while True:
            with self._changed:
                self._running_since = None
                self._changed.wait_for(lambda: self._over or len(self._schedule) > 0)
                if not self._over and self._has_company() and not self._schedule.is_batch_full:
                    self._changed.wait_for(
                        lambda: self._over or self._schedule.is_batch_full, GATHER_S
                    )
                if self._over:
                    return []
                now = time.monotonic()
                taken = self._schedule.take()
                # Before the futures are told, so that a cancel in this moment finds it running.
                batch = [t for t in taken if t.future.set_running_or_notify_cancel()]
                if not batch:
                    continue
                self._running = batch
                self._running_since = now
                self._counts.batches += 1
                self._counts.batched += len(batch)
                for ticket in batch:
                    waited = now - ticket.queued_at
                    self._counts.waited_s += waited
                    if ticket.job.is_final:
                        self._counts.final_waited(waited, now)
                return batch

    @property
    def _over(self) -> bool:
        return self._closed or self._broken is not None

    def _has_company(self) -> bool:
        """Holds the lock. With one active stream there is nobody to wait for."""
        streams = self._counts.recent_streams
        horizon = time.monotonic() - 1.0
        for stream in [s for s, at in streams.items() if at < horizon]:
            del streams[stream]
        return len(streams) > 1

    def _run(self, decoder: Decoder, batch: list[_Ticket]) -> None:
        started = time.monotonic()
        try:
            results = decoder.decode([ticket.job for ticket in batch])
        except Exception as e:
            self._after_failure(decoder, batch, e)
        else:
            for ticket, result in zip(batch, results, strict=True):
                settle(ticket.future, result)
        finally:
            with self._changed:
                self._running = []
                self._counts.busy_s += time.monotonic() - started
                self._last_progress = time.monotonic()

    def _after_failure(self, decoder: Decoder, batch: list[_Ticket], error: Exception) -> None:
        with self._changed:
            self._counts.failures += 1
        logger.warning("Whisper failed on a batch", extra={"size": len(batch)}, exc_info=error)
        if len(batch) == 1:
            settle(batch[0].future, decode_error(self._name, error))
            return
        # One bad request must not take the others with it.
        for ticket in batch:
            try:
                result = decoder.decode([ticket.job])[0]
            except Exception as e:
                settle(ticket.future, decode_error(self._name, e))
            else:
                settle(ticket.future, result)


def _plan_or_none(decoder: Decoder, job: Job) -> Hashable:
    try:
        return decoder.plan(job)
    except Exception:
        # It fails again when it is run, and is reported then.
        return object()


def _fail(tickets: list[_Ticket], error: Exception) -> None:
    for ticket in tickets:
        if ticket.future.set_running_or_notify_cancel():
            ticket.future.set_exception(error)
