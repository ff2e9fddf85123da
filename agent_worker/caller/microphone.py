"""The open microphone of a simulated caller: silence, and lines spoken in real time."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Callable

import numpy as np

from livekit import rtc

from .sound import AUDIBLE_RMS, SAMPLE_RATE, Pcm


class CallerError(Exception):
    """The call did not go as a call should. The message says where it stopped."""


@dataclasses.dataclass(frozen=True)
class Spoken:
    """When a line left the microphone, in Unix seconds."""

    started_at: float
    """First sample with voice in it."""
    ended_at: float
    """Last one."""


class Line:
    """PCM on its way through the microphone; to be made in a running event loop.

    Raises:
        CallerError: There is no voice in it.
    """

    def __init__(self, pcm: Pcm) -> None:
        voiced = np.flatnonzero(np.abs(pcm.astype(np.int32)) >= AUDIBLE_RMS)
        if not len(voiced):
            raise CallerError("there is no voice in what the caller should say")
        self._pcm = pcm
        self._first, self._last = int(voiced[0]), int(voiced[-1])
        self._position = 0
        self._started_at = self._ended_at = 0.0
        self.done: asyncio.Future[Spoken] = asyncio.get_running_loop().create_future()
        """Set when its last sample has left."""

    @property
    def exhausted(self) -> bool:
        """Whether nothing is left of it."""
        return self._position >= len(self._pcm)

    def next_frame(self, length: int, plays_at: float) -> Pcm:
        """So many samples, with silence behind its end; they are heard at `plays_at`."""
        begin, end = self._position, self._position + length
        if begin <= self._first < end:
            self._started_at = plays_at + (self._first - begin) / SAMPLE_RATE
        if begin <= self._last < end:
            self._ended_at = plays_at + (self._last - begin) / SAMPLE_RATE
        self._position = end
        frame = self._pcm[begin:end]
        return np.pad(frame, (0, length - len(frame)))

    def finish(self) -> None:
        """Its last frame was sent."""
        if not self.done.done():
            self.done.set_result(Spoken(self._started_at, self._ended_at))


class Microphone:
    """Feeds a LiveKit audio source, frame by frame on the wall's clock.

    Args:
        frame_s: Seconds of audio sent at once.
        on_frame: Gets each frame as it is sent.
    """

    def __init__(self, frame_s: float, on_frame: Callable[[Pcm], None]) -> None:
        self._frame_s = frame_s
        self._frame = round(SAMPLE_RATE * frame_s)
        self._on_frame = on_frame
        self._source = rtc.AudioSource(SAMPLE_RATE, 1, queue_size_ms=100)
        self._pending: asyncio.Queue[Line] = asyncio.Queue()

    def track(self) -> rtc.LocalAudioTrack:
        """What to publish."""
        return rtc.LocalAudioTrack.create_audio_track("microphone", self._source)

    async def play(self, line: Line) -> Spoken:
        """Sends a line behind those that wait; returns when its last sample has left."""
        self._pending.put_nowait(line)
        return await line.done

    async def run(self) -> None:
        """Sends until it is cancelled."""
        silence = np.zeros(self._frame, np.int16)
        line: Line | None = None
        start = time.monotonic()
        try:
            for tick in range(2**62):
                if line is None and not self._pending.empty():
                    line = self._pending.get_nowait()
                plays_at = time.time() + self._queued_s()
                frame = silence if line is None else line.next_frame(self._frame, plays_at)
                self._on_frame(frame)
                await self._source.capture_frame(
                    rtc.AudioFrame(frame.tobytes(), SAMPLE_RATE, 1, len(frame))
                )
                if line is not None and line.exhausted:
                    line.finish()
                    line = None
                due = start + (tick + 1) * self._frame_s
                await asyncio.sleep(max(0.0, due - time.monotonic()))
        except Exception as e:
            # whoever waits for the line would wait for ever
            if line is not None and not line.done.done():
                line.done.set_exception(e)
            raise

    async def aclose(self) -> None:
        """Lets the source go; safe to call twice."""
        await self._source.aclose()

    def _queued_s(self) -> float:
        queued_s: float = self._source.queued_duration
        return queued_s
