"""A caller made of code: joins a room, speaks PCM as its microphone, records what comes back.

It is a plain room client on the ``livekit`` package and knows nothing of the worker, so what it
measures is what a person would have heard.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import numpy as np
import numpy.typing as npt

from agent_worker.telemetry.latency import TOPIC as LATENCY_TOPIC
from livekit import rtc

from .wav import write_wav

SAMPLE_RATE = 24_000
"""Hertz, of the microphone, the received audio and the recordings."""

_AUDIBLE_RMS = 80.0
"""Of int16 samples, about -52 dBFS: far above what the codec leaves of silence, below any voice."""

T = TypeVar("T")
Pcm = npt.NDArray[np.int16]


class CallerError(Exception):
    """The call did not go as a call should. The message says where it stopped."""


@dataclasses.dataclass(frozen=True)
class Spoken:
    """When a line left the microphone, in Unix seconds."""

    started_at: float
    """First sample with voice in it."""
    ended_at: float
    """Last one."""


@dataclasses.dataclass
class Transcript:
    """One transcription stream of a room, as it stands."""

    segment_id: str
    text: str
    final: bool
    at: float


class SimulatedCaller:
    """Joins `room` as a person would: microphone on, agent's audio and transcripts received.

    Args:
        url: the LiveKit server.
        token: an access token for one room.
        frame_s: seconds of audio sent and received at once, in steps of 10 ms. What is heard is
            dated as exactly as that; many callers at once cost less with more.
    """

    def __init__(self, url: str, token: str, *, frame_s: float = 0.01) -> None:
        self._url = url
        self._token = token
        self._frame_s = frame_s
        self._frame = round(SAMPLE_RATE * frame_s)
        self._room = rtc.Room()
        self._source = rtc.AudioSource(SAMPLE_RATE, 1, queue_size_ms=100)
        self._tasks: set[asyncio.Task[Any]] = set()
        self._pending: asyncio.Queue[_Line] = asyncio.Queue()
        self._changed = asyncio.Condition()
        self._agent_gone = asyncio.Event()
        self._joined_at = 0.0
        self._own = _Recording()
        self._agent = _Recording()
        self._audible_at: list[float] = []
        self._texts: dict[str, list[Transcript]] = {}
        self.latency_records: list[dict[str, Any]] = []
        """What the agent published on its latency topic, in order."""

    async def __aenter__(self) -> Self:
        room = self._room
        room.on("track_subscribed", self._on_track)
        room.on("participant_disconnected", lambda _: self._agent_gone.set())
        room.on("disconnected", lambda _: self._agent_gone.set())
        room.register_text_stream_handler("lk.transcription", self._on_transcription)
        room.register_text_stream_handler(LATENCY_TOPIC, self._on_latency)
        try:
            await room.connect(self._url, self._token)
        except rtc.ConnectError as e:
            await self._source.aclose()
            raise CallerError(f"can't join the room at {self._url}: {e}") from e
        self._joined_at = time.time()
        track = rtc.LocalAudioTrack.create_audio_track("microphone", self._source)
        await room.local_participant.publish_track(
            track, rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_MICROPHONE)
        )
        self._spawn(self._microphone())
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Hangs up. Safe to call twice."""
        await self._room.disconnect()
        tasks, self._tasks = self._tasks, set()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._source.aclose()

    # -- speaking ------------------------------------------------------------------------------
    async def speak(self, pcm: Pcm) -> Spoken:
        """Speaks in real time, and returns when the last sample has left the microphone."""
        line = _Line(pcm, asyncio.get_running_loop().create_future())
        self._pending.put_nowait(line)
        return await line.done

    async def _microphone(self) -> None:
        """An open microphone: silence between the lines, frame by frame on the wall's clock."""
        silence = np.zeros(self._frame, np.int16)
        line: _Line | None = None
        start = time.monotonic()
        try:
            for tick in range(2**62):
                if line is None and not self._pending.empty():
                    line = self._pending.get_nowait()
                plays_at = time.time() + self._queued_s()
                frame = silence if line is None else line.next_frame(self._frame, plays_at)
                self._own.add(frame, time.time() - self._joined_at)
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

    def _queued_s(self) -> float:
        queued_s: float = self._source.queued_duration
        return queued_s

    # -- hearing -------------------------------------------------------------------------------
    def _on_track(
        self,
        track: rtc.Track,
        publication: rtc.RemoteTrackPublication,
        participant: rtc.RemoteParticipant,
    ) -> None:
        if track.kind == rtc.TrackKind.KIND_AUDIO:
            self._spawn(self._listen(track))

    async def _listen(self, track: rtc.Track) -> None:
        stream = rtc.AudioStream(
            track,
            sample_rate=SAMPLE_RATE,
            num_channels=1,
            frame_size_ms=round(self._frame_s * 1000),
        )
        try:
            async for event in stream:
                now = time.time()
                samples = np.frombuffer(event.frame.data, np.int16)
                self._agent.add(samples, now - self._joined_at)
                if _rms(samples) >= _AUDIBLE_RMS:
                    self._audible_at.append(now)
                    await self._notify()
        finally:
            await stream.aclose()

    async def audible_after(self, moment: float, *, timeout_s: float) -> float:
        """The time at which the agent's voice was first received after `moment`, in Unix seconds.

        Raises:
            CallerError: nothing came within `timeout_s`.
        """

        def first() -> float | None:
            return next((at for at in self._audible_at if at > moment), None)

        return await self._until(first, timeout_s, "no voice from the agent")

    def last_audible_before(self, moment: float) -> float | None:
        """When the agent's voice was last received before `moment`; None = never."""
        return next((at for at in reversed(self._audible_at) if at < moment), None)

    async def silent(self, *, for_s: float, timeout_s: float) -> float:
        """Waits until nothing was heard for `for_s`. Returns when the last voice was received.

        Raises:
            CallerError: it kept speaking for `timeout_s`.
        """
        deadline = time.monotonic() + timeout_s
        since = time.time()
        while time.monotonic() < deadline:
            last = self._audible_at[-1] if self._audible_at else 0.0
            if time.time() - max(last, since - for_s) >= for_s:
                return last
            await asyncio.sleep(0.02)
        raise CallerError(f"the agent was not silent within {timeout_s:.0f} s")

    def agent_state(self) -> str:
        """What the agent says that it does: listening, thinking, speaking; empty without one."""
        return self.agent_attribute("lk.agent.state")

    def agent_attribute(self, name: str) -> str:
        """An attribute of the agent's participant; empty where there is none."""
        for participant in self._room.remote_participants.values():
            if name in participant.attributes:
                return str(participant.attributes[name])
        return ""

    async def wait_for_agent_state(self, state: str, *, timeout_s: float) -> None:
        """Waits for a state of the agent.

        Raises:
            CallerError: it did not come.
        """
        deadline = time.monotonic() + timeout_s
        while self.agent_state() != state:
            if time.monotonic() > deadline:
                raise CallerError(
                    f"the agent is {self.agent_state() or 'not here'}, not {state}, "
                    f"after {timeout_s:.0f} s"
                )
            await asyncio.sleep(0.02)

    async def call_agent(self, method: str) -> str:
        """Calls a method of the agent over RPC, as a client's buttons do.

        Raises:
            CallerError: there is no agent, or it refuses.
        """
        people = self._room.remote_participants.values()
        agents = [p for p in people if p.kind == rtc.ParticipantKind.PARTICIPANT_KIND_AGENT]
        if not agents:
            raise CallerError(f"there is no agent to call {method} of")
        try:
            reply = await self._room.local_participant.perform_rpc(
                destination_identity=agents[0].identity, method=method, payload=""
            )
        except rtc.RpcError as e:
            raise CallerError(f"the agent refuses {method}: {e.message}") from e
        return str(reply)

    async def write(self, text: str) -> float:
        """Types a message to the agent. Returns when, in Unix seconds."""
        at = time.time()
        await self._room.local_participant.send_text(text, topic="lk.chat")
        return at

    async def wait_for_agent_to_leave(self, *, timeout_s: float) -> None:
        """Waits until the agent has left the room, or the room has closed.

        Raises:
            CallerError: it stayed.
        """
        try:
            await asyncio.wait_for(self._agent_gone.wait(), timeout_s)
        except TimeoutError:
            raise CallerError(f"the agent is still there after {timeout_s:.0f} s") from None

    # -- reading -------------------------------------------------------------------------------
    def heard(self, since: float, until: float = math.inf) -> str:
        """What the agent understood of this caller since a time: its final transcripts."""
        own = self._room.local_participant.identity
        return self._joined(own, since, until, only_final=True)

    def answered(self, since: float, until: float = math.inf) -> str:
        """What the agent has begun to say in a time, as far as it was spoken."""
        own = self._room.local_participant.identity
        parts = [self._joined(who, since, until) for who in self._texts if who != own]
        return " ".join(part for part in parts if part)

    async def wait_for_answer(self, since: float, *, timeout_s: float) -> str:
        """Waits for the end of an answer's transcript.

        Raises:
            CallerError: none ended in time.
        """
        own = self._room.local_participant.identity

        def ended() -> str | None:
            texts = [
                t for who, ts in self._texts.items() if who != own for t in ts if t.at >= since
            ]
            return self.answered(since) if texts and all(t.final for t in texts) else None

        return await self._until(ended, timeout_s, "no answer in writing")

    def _joined(
        self, identity: str, since: float, until: float, *, only_final: bool = False
    ) -> str:
        segments: dict[str, str] = {}
        for text in self._texts.get(identity, []):
            if since <= text.at < until and (text.final or not only_final):
                segments[text.segment_id] = text.text
        return " ".join(text.strip() for text in segments.values() if text.strip())

    def _on_transcription(self, reader: rtc.TextStreamReader, identity: str) -> None:
        self._spawn(self._read_transcription(reader, identity))

    async def _read_transcription(self, reader: rtc.TextStreamReader, identity: str) -> None:
        attributes = reader.info.attributes or {}
        text = Transcript(attributes.get("lk.segment_id", ""), "", False, time.time())
        self._texts.setdefault(identity, []).append(text)
        with contextlib.suppress(rtc.StreamError):
            # an answer that is cut off by hanging up is as long as it got
            async for chunk in reader:
                text.text += chunk
        # a stream of the agent's own words ends when they have been spoken
        own = identity == self._room.local_participant.identity
        text.final = attributes.get("lk.transcription_final") == "true" or not own
        await self._notify()

    def _on_latency(self, reader: rtc.TextStreamReader, identity: str) -> None:
        self._spawn(self._read_latency(reader))

    async def _read_latency(self, reader: rtc.TextStreamReader) -> None:
        record = json.loads(await reader.read_all())
        self.latency_records.append(record)
        await self._notify()

    async def wait_for_latency_record(self, since: float, *, timeout_s: float) -> dict[str, Any]:
        """The agent's own record of the turn whose speech ended after `since`.

        Raises:
            CallerError: none came.
        """
        return await self._until(
            lambda: self.latency_record(since), timeout_s, "no record of the turn"
        )

    def latency_record(self, since: float) -> dict[str, Any] | None:
        """That record, if it is here."""
        return next((r for r in self.latency_records if r["speech_ended_at"] >= since), None)

    # -- recording -----------------------------------------------------------------------------
    def save_recordings(self, caller: Path, agent: Path) -> None:
        """Writes both sides as mono 16-bit WAV; both begin when the caller joined."""
        write_wav(caller, self._own.samples(), SAMPLE_RATE)
        write_wav(agent, self._agent.samples(), SAMPLE_RATE)

    # -- the plumbing --------------------------------------------------------------------------
    async def _until(self, ready: Callable[[], T | None], timeout_s: float, failure: str) -> T:
        async def wait() -> T:
            async with self._changed:
                while (value := ready()) is None:
                    await self._changed.wait()
                return value

        try:
            return await asyncio.wait_for(wait(), timeout_s)
        except TimeoutError:
            raise CallerError(f"{failure} within {timeout_s:.0f} s") from None

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    def _spawn(self, coroutine: Any) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class _Line:
    """PCM on its way through the microphone."""

    def __init__(self, pcm: Pcm, done: asyncio.Future[Spoken]) -> None:
        voiced = np.flatnonzero(np.abs(pcm.astype(np.int32)) >= _AUDIBLE_RMS)
        if not len(voiced):
            raise CallerError("there is no voice in what the caller should say")
        self._pcm = pcm
        self._first, self._last = int(voiced[0]), int(voiced[-1])
        self._position = 0
        self._started_at = self._ended_at = 0.0
        self.done = done

    @property
    def exhausted(self) -> bool:
        return self._position >= len(self._pcm)

    def next_frame(self, length: int, plays_at: float) -> Pcm:
        begin, end = self._position, self._position + length
        if begin <= self._first < end:
            self._started_at = plays_at + (self._first - begin) / SAMPLE_RATE
        if begin <= self._last < end:
            self._ended_at = plays_at + (self._last - begin) / SAMPLE_RATE
        self._position = end
        frame = self._pcm[begin:end]
        return np.pad(frame, (0, length - len(frame)))

    def finish(self) -> None:
        if not self.done.done():
            self.done.set_result(Spoken(self._started_at, self._ended_at))


class _Recording:
    """Samples laid on the call's own time line, so that both sides can be heard together."""

    def __init__(self) -> None:
        self._parts: list[Pcm] = []
        self._length = 0

    def add(self, samples: Pcm, at_s: float) -> None:
        gap = int(at_s * SAMPLE_RATE) - self._length - len(samples)
        # below 100 ms it is jitter of the arrival, not a hole
        if gap > SAMPLE_RATE // 10:
            self._parts.append(np.zeros(gap, np.int16))
            self._length += gap
        self._parts.append(samples.copy())
        self._length += len(samples)

    def samples(self) -> Pcm:
        return np.concatenate(self._parts) if self._parts else np.zeros(0, np.int16)


def _rms(samples: Pcm) -> float:
    if not len(samples):
        return 0.0
    return float(np.sqrt(np.mean(np.square(samples.astype(np.float64)))))
