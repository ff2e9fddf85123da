"""An audio output that can be held at any moment and loses no sample of what it was playing.

LiveKit's room output drops up to 200 ms of queued audio when it is paused. This one sits in
front of it and hands frames on in real time, a little ahead, so that pausing is only to stop
handing on.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Protocol, runtime_checkable

from livekit.agents import AgentSession, utils
from livekit.agents.voice import io

from livekit import rtc


@runtime_checkable
class _Socket(Protocol):
    """The place in a chain of outputs where the last one can be exchanged."""

    @property
    def next_in_chain(self) -> io.AudioOutput: ...
    def set_next_in_chain(self, new: io.AudioOutput) -> None: ...


class SteadyOutput(io.AudioOutput):
    """Paces the frames for another output; see `put_in_place`."""

    @classmethod
    def put_in_place(
        cls, session: AgentSession[Any], *, received: asyncio.Future[None] | None = None
    ) -> SteadyOutput | None:
        """Puts one right in front of the output that plays; call it once the session has that.

        There, what keeps the transcript in step with the voice is held along with it.

        Args:
            session: whose output.
            received: Done once somebody receives what is played; None: played from the start.

        Returns:
            What the caller must close, or None if the session has no audio output.
        """
        link = output = session.output.audio
        if output is None:
            return None
        while link is not None:
            if isinstance(link, _Socket):
                steady = cls(link.next_in_chain, received=received)
                link.set_next_in_chain(steady)
                return steady
            link = link.next_in_chain
        steady = cls(output, received=received)
        session.output.audio = steady
        return steady

    def __init__(
        self,
        following: io.AudioOutput,
        *,
        received: asyncio.Future[None] | None = None,
        ahead_s: float = 0.1,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        Args:
            following: Where the audio goes.
            received: As `put_in_place` takes it.
            ahead_s: Seconds handed on before they are due: what is still heard after a pause.
            clock: Returns seconds; any origin.
        """
        super().__init__(
            label="Steady",
            capabilities=io.AudioOutputCapabilities(pause=True),
            next_in_chain=following,
            sample_rate=following.sample_rate,
        )
        assert self.next_in_chain is not None
        self._following: io.AudioOutput = self.next_in_chain
        self._received = received
        self._ahead_s = ahead_s
        self._clock = clock
        self._queue: deque[rtc.AudioFrame | None] = deque()
        """Frames; None: the end of a segment."""
        self._changed = asyncio.Event()
        self._held = False
        self._dry_at = 0.0
        self._capturing = False
        self._handed_on = False
        self._dropping = False
        self._pump: asyncio.Task[None] | None = None

    @property
    def can_pause(self) -> bool:
        return True

    async def capture_frame(self, frame: rtc.AudioFrame) -> None:
        await super().capture_frame(frame)
        if self._pump is None:
            self._pump = asyncio.create_task(self._hand_on(), name="steady_output.pump")
        self._capturing = True
        if not self._dropping:
            self._queue.extend(_pieces(frame))
            self._changed.set()

    def flush(self) -> None:
        super().flush()
        if not self._capturing:
            return
        self._capturing = False
        if not self._dropping:
            self._queue.append(None)
            self._changed.set()
            return
        self._dropping = False
        self._finish_cleared()

    def clear_buffer(self) -> None:
        """Drops what was not handed on; what is not flushed yet is dropped as it comes."""
        ended = sum(item is None for item in self._queue)
        self._queue.clear()
        self._changed.set()
        # before the flush: that would let the last piece of the cut-off words out, a click
        self._following.clear_buffer()
        if self._handed_on and ended:
            self._finish_cleared()
            ended -= 1
        for _ in range(ended):
            self.on_playback_finished(playback_position=0.0, interrupted=True)
        self._dropping = self._capturing

    def pause(self) -> None:
        self._held = True

    def resume(self) -> None:
        self._held = False
        self._changed.set()

    async def aclose(self) -> None:
        """Stops; safe to call twice. The output behind it belongs to others."""
        if self._pump is not None:
            await utils.aio.cancel_and_wait(self._pump)

    def _finish_cleared(self) -> None:
        """Ends a segment that was cleared, there or here."""
        if self._handed_on:
            self._handed_on = False
            self._following.flush()
        else:
            self.on_playback_finished(playback_position=0.0, interrupted=True)

    async def _hand_on(self) -> None:
        if self._received is not None:
            # LiveKit's output waits for the same, and every later word of the call with it: an
            # interruption must end neither that wait nor what is waited for
            await asyncio.shield(self._received)
        while True:
            self._changed.clear()
            if self._held or not self._queue:
                await self._changed.wait()
                continue
            if (early_s := self._dry_at - self._clock() - self._ahead_s) > 0:
                await asyncio.sleep(min(early_s, 0.02))
                continue
            item = self._queue.popleft()
            if item is None:
                self._handed_on = False
                self._following.flush()
                continue
            self._handed_on = True
            self._dry_at = max(self._dry_at, self._clock()) + item.duration
            await self._following.capture_frame(item)


def _pieces(frame: rtc.AudioFrame) -> Iterator[rtc.AudioFrame]:
    """A frame in pieces of 20 ms: what is handed on can't be held any more."""
    data, channels = frame.data, frame.num_channels
    step = max(frame.sample_rate // 50, 1)
    for begin in range(0, frame.samples_per_channel, step):
        samples = min(step, frame.samples_per_channel - begin)
        piece = data[begin * channels : (begin + samples) * channels]
        yield rtc.AudioFrame(piece.tobytes(), frame.sample_rate, channels, samples)
