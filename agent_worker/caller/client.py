"""A caller made of code: joins a room, speaks PCM as its microphone, records what comes back.

It is a plain room client on the ``livekit`` package and knows nothing of the worker, so what it
measures is what a person would have heard.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import numpy as np

from agent_worker.telemetry.latency import TOPIC as LATENCY_TOPIC
from livekit import rtc

from .microphone import CallerError, Line, Microphone, Spoken
from .sound import SAMPLE_RATE, Pcm, Recording, is_audible
from .transcripts import Transcripts
from .wav import write_wav

__all__ = ["SAMPLE_RATE", "CallerError", "Pcm", "SimulatedCaller", "Spoken"]

T = TypeVar("T")


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
        self.room = rtc.Room()
        """Of the `livekit` package, for what has no method here."""
        self._microphone = Microphone(frame_s, self._record_own)
        self._tasks: set[asyncio.Task[Any]] = set()
        self._changed = asyncio.Condition()
        self._agent_gone = asyncio.Event()
        self._joined_at = 0.0
        self._own = Recording()
        self._agent = Recording()
        self._texts = Transcripts()
        self.audible_at: list[float] = []
        """When a voice of the agent was received, frame by frame, in Unix seconds."""
        self.on_heard: Callable[[Pcm], None] | None = None
        """Gets all that is received, as it comes."""
        self.latency_records: list[dict[str, Any]] = []
        """What the agent published on its latency topic, in order."""

    async def __aenter__(self) -> Self:
        room = self.room
        room.on("track_subscribed", self._on_track)
        room.on("participant_disconnected", lambda _: self._agent_gone.set())
        room.on("disconnected", lambda _: self._agent_gone.set())
        room.register_text_stream_handler("lk.transcription", self._on_transcription)
        room.register_text_stream_handler(LATENCY_TOPIC, self._on_latency)
        try:
            await room.connect(self._url, self._token)
        except rtc.ConnectError as e:
            await self._microphone.aclose()
            raise CallerError(f"can't join the room at {self._url}: {e}") from e
        self._joined_at = time.time()
        await room.local_participant.publish_track(
            self._microphone.track(),
            rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_MICROPHONE),
        )
        self._spawn(self._microphone.run())
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
        await self.room.disconnect()
        tasks, self._tasks = self._tasks, set()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._microphone.aclose()

    # -- speaking ------------------------------------------------------------------------------
    async def speak(self, pcm: Pcm) -> Spoken:
        """Speaks in real time, and returns when the last sample has left the microphone."""
        return await self.play(Line(pcm))

    async def play(self, line: Line) -> Spoken:
        """The same for sound that is made as it is needed."""
        return await self._microphone.play(line)

    def _record_own(self, frame: Pcm) -> None:
        self._own.add(frame, time.time() - self._joined_at)

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
                if self.on_heard is not None:
                    self.on_heard(samples)
                if is_audible(samples):
                    self.audible_at.append(now)
                    await self._notify()
        finally:
            await stream.aclose()

    async def audible_after(self, moment: float, *, timeout_s: float) -> float:
        """The time at which the agent's voice was first received after `moment`, in Unix seconds.

        Raises:
            CallerError: nothing came within `timeout_s`.
        """

        def first() -> float | None:
            return next((at for at in self.audible_at if at > moment), None)

        return await self._until(first, timeout_s, "no voice from the agent")

    def last_audible_before(self, moment: float) -> float | None:
        """When the agent's voice was last received before `moment`; None = never."""
        return next((at for at in reversed(self.audible_at) if at < moment), None)

    async def silent(self, *, for_s: float, timeout_s: float) -> float:
        """Waits until nothing was heard for `for_s`. Returns when the last voice was received.

        Raises:
            CallerError: it kept speaking for `timeout_s`.
        """
        deadline = time.monotonic() + timeout_s
        since = time.time()
        while time.monotonic() < deadline:
            last = self.audible_at[-1] if self.audible_at else 0.0
            if time.time() - max(last, since - for_s) >= for_s:
                return last
            await asyncio.sleep(0.02)
        raise CallerError(f"the agent was not silent within {timeout_s:.0f} s")

    def agent_state(self) -> str:
        """What the agent says that it does: listening, thinking, speaking; empty without one."""
        return self.agent_attribute("lk.agent.state")

    def agent_attribute(self, name: str) -> str:
        """An attribute of the agent's participant; empty where there is none."""
        for participant in self.room.remote_participants.values():
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
        people = self.room.remote_participants.values()
        agents = [p for p in people if p.kind == rtc.ParticipantKind.PARTICIPANT_KIND_AGENT]
        if not agents:
            raise CallerError(f"there is no agent to call {method} of")
        try:
            reply = await self.room.local_participant.perform_rpc(
                destination_identity=agents[0].identity, method=method, payload=""
            )
        except rtc.RpcError as e:
            raise CallerError(f"the agent refuses {method}: {e.message}") from e
        return str(reply)

    async def write(self, text: str) -> float:
        """Types a message to the agent. Returns when, in Unix seconds."""
        at = time.time()
        await self.room.local_participant.send_text(text, topic="lk.chat")
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
        own = self.room.local_participant.identity
        return self._texts.of(own, since, until, only_final=True)

    def answered(self, since: float, until: float = math.inf) -> str:
        """What the agent has begun to say in a time, as far as it was spoken."""
        own = self.room.local_participant.identity
        return self._texts.of_others(own, since, until)

    async def wait_for_answer(self, since: float, *, timeout_s: float) -> str:
        """Waits for the end of an answer's transcript.

        Raises:
            CallerError: none ended in time.
        """
        own = self.room.local_participant.identity

        def ended() -> str | None:
            return self.answered(since) if self._texts.others_ended(own, since) else None

        return await self._until(ended, timeout_s, "no answer in writing")

    def _on_transcription(self, reader: rtc.TextStreamReader, identity: str) -> None:
        self._spawn(self._read_transcription(reader, identity))

    async def _read_transcription(self, reader: rtc.TextStreamReader, identity: str) -> None:
        attributes = reader.info.attributes or {}
        text = self._texts.begin(identity, attributes.get("lk.segment_id", ""), time.time())
        with contextlib.suppress(rtc.StreamError):
            # an answer that is cut off by hanging up is as long as it got
            async for chunk in reader:
                text.text += chunk
        # a stream of the agent's own words ends when they have been spoken
        own = identity == self.room.local_participant.identity
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
