"""The microphone and the loudspeaker of an `AgentSession` whose caller is at a WebSocket."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable

from livekit.agents import utils
from livekit.agents.voice import io

from livekit import rtc

from .protocol import MAX_BUFFERED_S, SAMPLE_RATE

FRAME_S = 0.02
FRAME_SAMPLES = int(SAMPLE_RATE * FRAME_S)
"""Of the caller's sound."""

LEAD_S = 0.3
"""How far the voice is sent ahead of its playout: the client's jitter buffer holds as much. What is
cut off by an interruption is never more than this."""


_LEAST_BYTES = FRAME_SAMPLES
"""10 ms, handed on as soon as they are there."""

_MOST_BYTES = 4 * FRAME_SAMPLES
"""40 ms, however much has come at once."""

_PATIENCE_S = 5 * FRAME_S
"""Longer than a frame, so that a client with jitter is not padded within a word."""

_JITTER_S = 0.08
"""How late the next piece may come, where pieces are long: a browser's script processor gives a
quarter of a second at a time."""


class GatewayAudioInput(io.AudioInput):
    """Frames from the client, and silence while there are none: a turn ends in silence, and a
    client that has stopped sending would never be answered."""

    def __init__(self) -> None:
        super().__init__(label="websocket")
        # Bytes, not the frames as they came: a client may send them one sample each.
        self._pcm = bytearray()
        self._arrived = asyncio.Event()
        self._closed = False
        # Of the last two pieces: the very last one may be what was left over.
        self._piece_s: deque[float] = deque((0.0, 0.0), maxlen=2)

    def push(self, pcm: bytes) -> bool:
        """Takes PCM16, mono, 16 kHz. Returns False where the buffer is full: it is dropped."""
        if len(self._pcm) + len(pcm) > MAX_BUFFERED_S * SAMPLE_RATE * 2:
            return False
        self._pcm += pcm
        self._piece_s.append(len(pcm) / 2 / SAMPLE_RATE)
        if len(self._pcm) >= _LEAST_BYTES:
            self._arrived.set()
        return True

    def clear(self) -> None:
        """Forgets what was not heard yet."""
        self._pcm.clear()

    def end(self) -> None:
        """Nothing more is coming for now: the silence begins soon."""
        self._piece_s.extend((0.0, 0.0))

    def close(self) -> None:
        """Ends the iteration."""
        self._closed = True
        self._arrived.set()

    async def __anext__(self) -> rtc.AudioFrame:
        if len(self._pcm) < _LEAST_BYTES and not self._closed:
            self._arrived.clear()
            try:
                async with asyncio.timeout(max(_PATIENCE_S, max(self._piece_s) + _JITTER_S)):
                    await self._arrived.wait()
            except TimeoutError:
                return self._take(10 * FRAME_SAMPLES)
        if self._closed:
            raise StopAsyncIteration
        return self._take(min(len(self._pcm), _MOST_BYTES))

    def _take(self, size: int) -> rtc.AudioFrame:
        """The oldest sound, filled up with silence to so many bytes."""
        pcm = bytes(self._pcm[:size]).ljust(size, b"\0")
        del self._pcm[:size]
        return rtc.AudioFrame(pcm, SAMPLE_RATE, 1, size // 2)


class GatewayAudioOutput(io.AudioOutput):
    """Sends the voice in frames of 20 ms, a little ahead of the time at which they are heard.

    Args:
        send: takes one frame of PCM16.
        stopped: is told that a stretch of voice is over, and whether it was cut off.
        sample_rate: of the voice, in Hertz.
    """

    def __init__(
        self,
        send: Callable[[bytes], Awaitable[None]],
        stopped: Callable[[bool], None],
        *,
        sample_rate: int,
    ) -> None:
        super().__init__(
            label="websocket",
            capabilities=io.AudioOutputCapabilities(pause=True),
            sample_rate=sample_rate,
        )
        self._send = send
        self._stopped = stopped
        self._chunks = utils.audio.AudioByteStream(sample_rate, 1, int(sample_rate * FRAME_S))
        self._segment: _Segment | None = None
        self.running = asyncio.Event()
        """Cleared while the session waits whether it was really interrupted."""
        self.running.set()
        # After a cut, the rest of the stretch may still be pushed until it is flushed.
        self._deaf = False

    async def capture_frame(self, frame: rtc.AudioFrame) -> None:
        """Takes audio of any length at its rate; never waits."""
        await super().capture_frame(frame)
        if self._deaf:
            return
        if self._segment is None:
            self._segment = _Segment(self)
        self._segment.push(self._chunks.push(frame.data))

    def flush(self) -> None:
        """The stretch is complete; it ends when it has been played."""
        super().flush()
        self._deaf = False
        if self._segment is not None and not self._segment.complete:
            self._segment.push(self._chunks.flush())
            self._segment.end()

    def clear_buffer(self) -> None:
        """Stops the voice at once."""
        segment, self._segment = self._segment, None
        if segment is None:
            return
        self._deaf = not segment.complete
        self._chunks.clear()
        segment.cancel()
        self._stopped(True)
        self.on_playback_finished(playback_position=segment.played_s, interrupted=True)

    def pause(self) -> None:
        """Sends no more for now; the client falls silent when it has played what it has."""
        super().pause()
        self.running.clear()

    def resume(self) -> None:
        """Goes on where it paused."""
        super().resume()
        self.running.set()

    async def aclose(self) -> None:
        """Stops the voice and its task."""
        segment = self._segment
        self.clear_buffer()
        if segment is not None:
            await utils.aio.cancel_and_wait(segment.task)

    async def _play(self, segment: _Segment) -> None:
        async for frame in segment:
            await self._send(bytes(frame.data))
        self._segment = None
        self._stopped(False)
        self.on_playback_finished(playback_position=segment.pushed_s, interrupted=False)


class _Segment:
    """One stretch of voice on its way to the client; frames come out when they are due."""

    def __init__(self, output: GatewayAudioOutput) -> None:
        self._output = output
        self._frames: deque[rtc.AudioFrame] = deque()
        self._changed = asyncio.Event()
        self._started_at: float | None = None
        self._sent_s = 0.0
        self.pushed_s = 0.0
        self.complete = False
        self.task = asyncio.create_task(output._play(self))

    @property
    def played_s(self) -> float:
        """Seconds of it that the client has heard by now."""
        if self._started_at is None:
            return 0.0
        return min(self._sent_s, time.monotonic() - self._started_at)

    def push(self, frames: list[rtc.AudioFrame]) -> None:
        self._frames.extend(frames)
        self.pushed_s += sum(frame.duration for frame in frames)
        self._changed.set()

    def end(self) -> None:
        self.complete = True
        self._changed.set()

    def cancel(self) -> None:
        self.task.cancel()
        self._frames.clear()

    def __aiter__(self) -> _Segment:
        return self

    async def __anext__(self) -> rtc.AudioFrame:
        while not self._frames:
            if self.complete:
                await self._sleep_until(self._sent_s)
                raise StopAsyncIteration
            self._changed.clear()
            await self._changed.wait()
        await self._output.running.wait()
        if self._started_at is None:
            self._started_at = time.monotonic()
            self._output.on_playback_started(created_at=time.time())
        # After a pause, or where the engine fell behind, the client has run dry: it plays on from
        # now.
        dry_s = time.monotonic() - self._started_at - self._sent_s
        if dry_s > 0:
            self._started_at += dry_s
        await self._sleep_until(self._sent_s - LEAD_S)
        frame = self._frames.popleft()
        self._sent_s += frame.duration
        return frame

    async def _sleep_until(self, position_s: float) -> None:
        if self._started_at is not None:
            await asyncio.sleep(max(0.0, self._started_at + position_s - time.monotonic()))
