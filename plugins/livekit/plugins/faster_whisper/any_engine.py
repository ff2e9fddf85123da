"""What any engine is to those who ask it: in this process, or in one of its own."""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Hashable
from concurrent.futures import Future

from livekit.agents import APITimeoutError

from .job import Decoded, Job
from .statistics import EngineStatistics


class AnyEngine(ABC):
    """Decodes what it is asked to, for many streams."""

    _name: str
    _load_limit_s: float
    _last_progress: float
    """When it last finished anything, on the monotonic clock."""
    _ready: Future[None]

    @property
    @abstractmethod
    def usable(self) -> bool:
        """Whether new requests have a chance: not closed, not failed, not hung."""

    @property
    @abstractmethod
    def loaded(self) -> bool:
        """Whether the model is in memory."""

    @abstractmethod
    def submit(self, job: Job, *, stream: Hashable | None = None) -> Future[Decoded]:
        """Queues a job.

        The future ends with `PartialDropped` where a partial gave way, with an `APIError` where
        the model failed. Cancelling it frees its place in the queue; a run under way goes to its
        end and its result is dropped.

        Args:
            job: What to decode.
            stream: Whose it is; a stream's partial pushes out its waiting one.
        """

    @abstractmethod
    def statistics(self) -> EngineStatistics:
        """Returns what the engine has done so far."""

    @abstractmethod
    def close(self, timeout_s: float = 1.0) -> None:
        """Ends it, and fails what waits. Safe to call twice."""

    async def wait_until_loaded(self, timeout_s: float | None = None) -> None:
        """Waits for the model.

        Raises:
            APIConnectionError: It can't be loaded; not retryable.
            APITimeoutError: It took longer than `timeout_s`.
        """
        try:
            ready = asyncio.wrap_future(self._ready)
            # Somebody has to look at a failure that comes after this caller has gone.
            ready.add_done_callback(lambda done: done.cancelled() or done.exception())
            limit_s = self._load_limit_s if timeout_s is None else timeout_s
            await asyncio.wait_for(asyncio.shield(ready), limit_s)
        except TimeoutError:
            _ = self.usable
            raise APITimeoutError(f"Whisper model {self._name} is still loading") from None

    async def decode(
        self,
        job: Job,
        *,
        stream: Hashable | None = None,
        timeout_s: float,
        while_stuck_only: bool = False,
    ) -> Decoded:
        """Decodes a job and waits for the result.

        Args:
            job: What to decode.
            stream: Whose it is.
            timeout_s: Seconds to wait.
            while_stuck_only: Count only time in which the engine finishes nothing at all. A final
                of a live call then survives any queue, but not a model that hangs.

        Raises:
            APITimeoutError: Nothing came in time; retryable.
            APIConnectionError: The model failed.
            PartialDropped: A partial gave way.
        """
        future = self.submit(job, stream=stream)
        started = time.monotonic()
        waiting = asyncio.wrap_future(future)
        try:
            while True:
                since = started
                if while_stuck_only:
                    since = max(started, self._last_progress)
                    if not self.loaded:
                        since = max(since, started + self._load_limit_s)
                left = since + timeout_s - time.monotonic()
                done, _ = await asyncio.wait({waiting}, timeout=max(0.0, left))
                if done:
                    return waiting.result()
                if not while_stuck_only or time.monotonic() - self._last_progress >= timeout_s:
                    _ = self.usable
                    if waiting.done():
                        return waiting.result()
                    raise APITimeoutError(
                        f"Whisper model {self._name} gave no answer in {timeout_s:g} s"
                    )
        finally:
            if not waiting.done():
                # This cancels the request in the queue as well.
                waiting.cancel()
            elif not waiting.cancelled():
                waiting.exception()
