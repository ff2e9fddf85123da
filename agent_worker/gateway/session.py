"""One caller's session behind the gateway; it outlives a lost connection for a while."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Sequence
from typing import Any, Protocol

from livekit.agents import (
    Agent,
    AgentSession,
    AgentStateChangedEvent,
    CloseEvent,
    ErrorEvent,
    UserInputTranscribedEvent,
    UserStateChangedEvent,
    utils,
)
from livekit.agents.voice.transcription import TranscriptSynchronizer

from .audio import GatewayAudioInput, GatewayAudioOutput, TokenTap
from .protocol import AudioFormat, Close, Reply, Send, SessionStart, error

logger = logging.getLogger(__name__)

Outgoing = Send | bytes | Close


class GatewayCall(Protocol):
    """What answers one caller: a session that is not started yet, and its agent."""

    @property
    def session(self) -> AgentSession[Any]: ...

    @property
    def agent(self) -> Agent: ...

    async def aclose(self) -> None:
        """Ends the session and closes what belongs to it; safe to call twice."""


class Outbox:
    """What is to be sent to one connection. Bounded: a client that doesn't read is let go."""

    def __init__(self, limit: int = 512) -> None:
        self._queue: asyncio.Queue[Outgoing] = asyncio.Queue()
        self._limit = limit
        self.overflowed = asyncio.Event()

    def put(self, message: Outgoing) -> None:
        """Queues a message; past the limit it is dropped and `overflowed` is set."""
        if self._queue.qsize() >= self._limit:
            self.overflowed.set()
            return
        self._queue.put_nowait(message)

    async def get(self) -> Outgoing:
        """The next message, in order."""
        return await self._queue.get()


class LiveSession:
    """Ties an `AgentSession` to whichever connection its caller is at.

    Args:
        request: the caller's `session_start`.
        call: what answers.
        idle_timeout_s: seconds in which neither side speaks, after which the session ends.
    """

    def __init__(
        self, request: SessionStart, call: GatewayCall, *, idle_timeout_s: float = 300.0
    ) -> None:
        self.id = request.session_id
        self.audio: AudioFormat = request.audio
        self.detached_at: float | None = None
        self._call = call
        self._idle_timeout_s = idle_timeout_s
        self._reply = Reply(request.audio)
        self._outbox: Outbox | None = None
        self._input = GatewayAudioInput()
        self._output = GatewayAudioOutput(self._send_audio, self._voice_stopped)
        self._sync = TranscriptSynchronizer(
            next_in_chain_audio=self._output, next_in_chain_text=None
        )
        self._decoder: Any = None
        self._encoder: Any = None
        if request.audio.format == "opus":
            # PyAV brings FFmpeg with it: loaded only when a client asks for Opus.
            from .opus import OpusDecoder, OpusEncoder

            self._decoder, self._encoder = OpusDecoder(), OpusEncoder()
        self._last_activity = time.monotonic()
        self._busy = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False
        self.ended = asyncio.Event()

    @property
    def last_seq(self) -> int:
        """The last `tts_audio` that was sent; -1 before the first."""
        return self._reply.last_seq

    @property
    def attached(self) -> bool:
        """Whether a connection has the session."""
        return self._outbox is not None

    async def start(self) -> None:
        """Starts the `AgentSession` with this caller's microphone and loudspeaker."""
        session = self._call.session
        session.input.audio = self._input
        session.output.audio = self._sync.audio_output
        # Through the synchronizer, so that after an interruption the history holds what was heard.
        session.output.transcription = TokenTap(self._on_token, self._sync.text_output)
        session.on("user_input_transcribed", self._on_transcribed)
        session.on("user_state_changed", self._on_user_state)
        session.on("agent_state_changed", self._on_agent_state)
        session.on("error", self._on_error)
        session.on("close", self._on_close)
        self._spawn(self._watch_idle())
        await session.start(self._call.agent, record=False)

    def attach(self, outbox: Outbox, *, resumed: bool) -> None:
        """Sends to this connection from now on, `session_started` first."""
        self._outbox = outbox
        self.detached_at = None
        self._last_activity = time.monotonic()
        self._post(
            [
                Send(
                    {
                        "type": "session_started",
                        "session_id": self.id,
                        "audio": self.audio.model_dump(),
                        "resumed": resumed,
                        "last_seq": self.last_seq,
                    }
                )
            ]
        )

    async def detach(self) -> None:
        """The connection is gone: the agent stops, and nothing old is heard or sent later."""
        self._outbox = None
        self.detached_at = time.monotonic()
        self._input.clear()
        await self.interrupt()

    def hear(self, data: bytes) -> bool:
        """Takes a frame from the client. Returns False where it had to be dropped."""
        if self._decoder is not None:
            try:
                data = self._decoder.decode(data)
            except ValueError:
                return False
        return self._input.push(data) if data else True

    async def interrupt(self) -> None:
        """Makes the agent be quiet."""
        # Not running any more, or not yet: there is nothing to interrupt.
        with contextlib.suppress(RuntimeError):
            await self._call.session.interrupt(force=True)

    async def aclose(self) -> None:
        """Ends the session; safe to call twice."""
        if self._closed:
            return
        self._closed = True
        self._input.close()
        await utils.aio.cancel_and_wait(*self._tasks)
        try:
            await self._call.aclose()
        finally:
            await self._output.aclose()
            await self._sync.aclose()
            self.ended.set()

    def _post(self, messages: Sequence[Outgoing]) -> None:
        if self._outbox is not None:
            for message in messages:
                self._outbox.put(message)

    async def _send_audio(self, pcm: bytes) -> None:
        frames = [pcm] if self._encoder is None else self._encoder.encode(pcm)
        for frame in frames:
            self._post([*self._reply.audio(), frame])

    def _voice_stopped(self, interrupted: bool) -> None:
        self._post(self._reply.audio_stopped(interrupted=interrupted))

    def _on_token(self, text: str) -> None:
        self._post(self._reply.token(text))

    def _on_transcribed(self, event: UserInputTranscribedEvent) -> None:
        if event.is_final:
            self._post([Send({"type": "asr_final", "text": event.transcript})])
        else:
            # The session's event carries no confidence; the field is there, and says so.
            message = {"type": "asr_partial", "text": event.transcript, "confidence": None}
            self._post([Send(message)])

    def _on_user_state(self, event: UserStateChangedEvent) -> None:
        self._last_activity = time.monotonic()
        self._busy = event.new_state == "speaking"

    def _on_agent_state(self, event: AgentStateChangedEvent) -> None:
        self._last_activity = time.monotonic()
        if event.new_state in ("listening", "idle"):
            self._post(self._reply.ended())

    def _on_error(self, event: ErrorEvent) -> None:
        stage = type(event.source).__name__
        self._post([error("stage_failed", f"{stage} failed; the session goes on")])

    def _on_close(self, event: CloseEvent) -> None:
        if not self._closed:
            self.finish("session_ended", "the session has ended")

    def finish(self, code: str, message: str) -> None:
        """Ends the session from this side, and tells the client why."""
        self._post([error(code, message, recoverable=False), Close(1000, code)])
        self.ended.set()

    async def _watch_idle(self) -> None:
        while True:
            left = self._last_activity + self._idle_timeout_s - time.monotonic()
            if self._busy or self._call.session.agent_state in ("thinking", "speaking"):
                left = self._idle_timeout_s
            elif left <= 0:
                self.finish("session_timeout", "nobody spoke for a long time")
                return
            await asyncio.sleep(left)

    def _spawn(self, work: Any) -> None:
        task: asyncio.Task[None] = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
