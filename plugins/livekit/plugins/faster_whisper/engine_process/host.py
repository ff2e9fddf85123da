"""What runs in an engine's process: the engine, and the socket that its callers come to."""

from __future__ import annotations

import logging
import os
import pickle
import queue
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, Listener

from livekit.agents import APIError

from livekit.plugins.faster_whisper.engine import STALL_S, Engine
from livekit.plugins.faster_whisper.errors import PartialDropped
from livekit.plugins.faster_whisper.job import Decoded, Decoder
from livekit.plugins.faster_whisper.models import ModelSpec

from .lifeline import end_with_parent
from .messages import STATE_EVERY_S, Answer, Cancel, Meeting, Request, State, receive, send

_MOST_ANSWERS = 1000
"""That wait for a caller who doesn't read; then it is left."""
_LISTEN_LIMIT_S = 1.0

Load = Callable[[ModelSpec], Decoder]


@dataclass(frozen=True, slots=True)
class Assignment:
    """What the keeper writes to the process, once, as a pickle: what it is to be."""

    spec: ModelSpec
    meeting: Meeting
    stall_s: float = STALL_S


@dataclass(eq=False)
class _Caller:
    """A process with calls in it."""

    connection: Connection
    answers: queue.Queue[Answer | State | None] = field(
        default_factory=lambda: queue.Queue(_MOST_ANSWERS)
    )
    futures: dict[int, Future[Decoded]] = field(default_factory=dict)


def serve(load: Load) -> None:
    """Waits for an assignment on stdin, and is that engine until the parent is gone."""
    parent = os.fdopen(os.dup(sys.stdin.fileno()), "rb", buffering=0)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s: %(message)s")
    try:
        assignment = pickle.load(parent)
    except EOFError:
        # A spare that was never needed.
        os._exit(0)
    end_with_parent(parent)
    Host(assignment, load).run()


class Host:
    """One engine for the callers of several processes."""

    def __init__(self, assignment: Assignment, load: Load) -> None:
        """Listens, and starts to load."""
        self._listener = Listener(
            assignment.meeting.address, backlog=64, authkey=assignment.meeting.secret
        )
        spec = assignment.spec
        self._engine = Engine(lambda: load(spec), name=repr(spec.model), stall_s=assignment.stall_s)
        self._callers: set[_Caller] = set()
        self._lock = threading.Lock()

    def run(self) -> None:
        """Never returns: a process whose engine hangs ends itself, and gets a successor."""
        threading.Thread(target=self._accept, name="accept", daemon=True).start()
        while True:
            time.sleep(STATE_EVERY_S)
            error = self._engine.failure
            if error is not None and self._engine.loaded:
                os._exit(3)
            state = State(
                self._engine.statistics(),
                broken="" if error is None else str(error.message),
                retryable=error is None or error.retryable,
            )
            with self._lock:
                callers = list(self._callers)
            for caller in callers:
                self._tell(caller, state)
            if error is not None:
                # it is said; whoever asks again gets a process that tries again
                time.sleep(_LISTEN_LIMIT_S)
                os._exit(4)

    def _accept(self) -> None:
        while True:
            try:
                connection = self._listener.accept()
            except Exception as e:
                # one who doesn't know the secret, or left in the middle of proving it
                logging.getLogger(__name__).debug("a caller was refused: %r", e)
                continue
            caller = _Caller(connection)
            with self._lock:
                self._callers.add(caller)
            self._tell(caller, State(self._engine.statistics()))
            for work in (self._read, self._write):
                threading.Thread(target=work, args=(caller,), daemon=True).start()

    def _read(self, caller: _Caller) -> None:
        try:
            while True:
                message = receive(caller.connection)
                if isinstance(message, Request):
                    self._submit(caller, message)
                elif isinstance(message, Cancel) and (
                    future := caller.futures.pop(message.number, None)
                ):
                    future.cancel()
        except (OSError, EOFError):
            pass
        finally:
            self._leave(caller)

    def _submit(self, caller: _Caller, request: Request) -> None:
        # streams of two processes may have the same number
        future = self._engine.submit(request.job, stream=(id(caller), request.stream))
        caller.futures[request.number] = future
        future.add_done_callback(lambda done: self._answer(caller, request.number, done))

    def _answer(self, caller: _Caller, number: int, done: Future[Decoded]) -> None:
        caller.futures.pop(number, None)
        if done.cancelled():
            return
        error = done.exception()
        if error is None:
            answer = Answer(number, decoded=done.result())
        elif isinstance(error, PartialDropped):
            answer = Answer(number)
        else:
            retryable = error.retryable if isinstance(error, APIError) else True
            answer = Answer(number, error=str(error) or repr(error), retryable=retryable)
        self._tell(caller, answer)

    def _tell(self, caller: _Caller, message: Answer | State) -> None:
        """Never waits: one process that has stopped must not stop the engine for all."""
        try:
            caller.answers.put_nowait(message)
        except queue.Full:
            self._leave(caller)

    def _write(self, caller: _Caller) -> None:
        try:
            while (message := caller.answers.get()) is not None:
                send(caller.connection, message)
        except OSError:
            pass
        finally:
            self._leave(caller)
            caller.connection.close()

    def _leave(self, caller: _Caller) -> None:
        with self._lock:
            self._callers.discard(caller)
        for future in list(caller.futures.values()):
            future.cancel()
        caller.futures.clear()
        try:
            caller.answers.put_nowait(None)
        except queue.Full:
            caller.connection.close()
