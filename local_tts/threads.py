"""The threads that an engine works in, apart from the event loop."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")


class WorkThreads(ThreadPoolExecutor):
    """Threads that can say how much waits for them."""

    def __init__(self, max_workers: int, name: str) -> None:
        super().__init__(max_workers, thread_name_prefix=name)
        self._submitted: set[Future[Any]] = set()

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """As of any executor."""
        future = super().submit(fn, *args, **kwargs)
        self._submitted.add(future)
        future.add_done_callback(self._submitted.discard)
        return future

    @property
    def waiting(self) -> int:
        """Pieces of work that no thread has begun."""
        return sum(not (job.running() or job.done()) for job in tuple(self._submitted))
