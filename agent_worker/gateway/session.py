"""One caller's session behind the gateway; it outlives a lost connection for a while."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Sequence
from typing import Any

from livekit.agents import (
    AgentStateChangedEvent,
    CloseEvent,
    ErrorEvent,
    UserInputTranscribedEvent,
    utils,
)
from livekit.agents.voice.transcription import TranscriptSynchronizer

from agent_worker.call.flood import Allowance, Bucket
from livekit import rtc

from .answering import GatewayCall, Overheard, TakesTyping
from .audio import GatewayAudioInput, GatewayAudioOutput
from .callers import Caller
from .client_outlet import ClientOutlet
from .confidence import Confidence
from .outbox import Outbox, Outgoing
from .protocol import (
    MAX_BUFFERED_S,
    SAMPLE_RATE,
    VOICE_RATE,
    AudioFormat,
    Close,
    Send,
    SessionStart,
    error,
)
from .reply import Reply
from .words import SayingTap, SpokenWords, WordsTap

logger = logging.getLogger(__name__)

_ANSWERED = Allowance(at_once=6, per_second=1)
"""Written messages: each one asks the model anew."""
_INTERRUPT_PATIENCE_S = 2.0
_PONG_PATIENCE_S = 2.0


class LiveSession:
    """Ties an `AgentSession` to whichever connection its caller is at.

    Args:
        request: the caller's `session_start`.
        call: what answers.
        caller: whose it is, for one who comes back without the id.
        last_seq: of the voice that was sent before, where another conversation went before it.
    """

    def __init__(
        self,
        request: SessionStart,
        call: GatewayCall,
        *,
        caller: Caller | None = None,
        last_seq: int = -1,
    ) -> None:
        self.id = request.session_id
        self.request = request
        self.caller = caller or Caller()
        self.audio: AudioFormat = request.audio
        self.voice = AudioFormat(
            sample_rate=request.output_sample_rate or VOICE_RATE, format=request.audio.format
        )
        self._call = call
        self._reply = Reply(self.voice, last_seq=last_seq)
        self._outbox: Outbox | None = None
        self._client_heard_at = time.monotonic()
        # Between a resumption and the end of what was under way before it.
        self._silent = False
        self._confidence = Confidence()
        self._words = WordsTap(self._on_token)
        if isinstance(call.agent, Overheard):
            call.agent.overheard_by(heard=self._confidence.heard, writes=self._words.begins)
        self._input = GatewayAudioInput()
        self._output = GatewayAudioOutput(
            self._send_audio, self._voice_stopped, sample_rate=self.voice.sample_rate
        )
        self._sync = TranscriptSynchronizer(
            next_in_chain_audio=self._output, next_in_chain_text=SpokenWords(self._on_spoken)
        )
        self._resampler = (
            None
            if self.audio.sample_rate == SAMPLE_RATE or self.audio.format == "opus"
            else rtc.AudioResampler(self.audio.sample_rate, SAMPLE_RATE)
        )
        self._decoder: Any = None
        self._encoder: Any = None
        self._renew_codecs()
        self._tasks: set[asyncio.Task[None]] = set()
        self._typed = Bucket(_ANSWERED, time.monotonic())
        # a call that is told of nothing but its sound and words has none
        outlet = getattr(call, "outlet", None)
        self._outlet = outlet if isinstance(outlet, ClientOutlet) else ClientOutlet()
        self._outlet.follow(self._tell)
        self._closed = False
        self.ended = asyncio.Event()
        self.gone = asyncio.Event()
        """Set when all that belonged to it is closed."""
        self.before: LiveSession | None = None
        """The one that the client has left for this one, until that is gone."""

    @property
    def last_seq(self) -> int:
        """The last `tts_audio` that was sent; -1 before the first."""
        return self._reply.last_seq

    @property
    def waiting(self) -> bool:
        """Whether its connection is gone, and it waits for its client."""
        return self._outbox is None

    @property
    def over(self) -> bool:
        """Whether it can't be taken up again, though it may still be closing."""
        return self.ended.is_set() or self._call.lifetime.over

    async def is_in_use(self, *, stale_s: float) -> bool:
        """Whether a client is at its connection: it has just sent something, or answers a ping."""
        if self._outbox is None:
            return False
        if time.monotonic() - self._client_heard_at < stale_s:
            return True
        return await self._outbox.is_answered(_PONG_PATIENCE_S)

    def is_at(self, outbox: Outbox) -> bool:
        """Whether this is the connection that has the session."""
        return self._outbox is outbox

    def client_heard(self) -> None:
        """The client has sent something."""
        self._client_heard_at = time.monotonic()

    async def start(self) -> None:
        """Starts the `AgentSession` with this caller's microphone and loudspeaker."""
        session = self._call.session
        session.input.audio = self._input
        session.output.audio = self._sync.audio_output
        # Through the synchronizer, so that after an interruption the history holds what was heard.
        session.output.transcription = SayingTap(self._words.say, self._sync.text_output)
        session.on("user_input_transcribed", self._on_transcribed)
        session.on("agent_state_changed", self._on_agent_state)
        session.on("error", self._on_error)
        session.on("close", self._on_close)
        await session.start(self._call.agent, record=False)

    def attach(self, outbox: Outbox) -> None:
        """Sends to this connection from now on, `session_started` first."""
        self._take(outbox)
        self._welcome(resumed=False)

    def follow(self, outbox: Outbox) -> None:
        """Sends to this connection from now on, where another conversation has ended."""
        self._take(outbox)
        self._post(
            [Send({"type": "session_reset", "session_id": self.id, "last_seq": self.last_seq})]
        )

    def leave(self) -> None:
        """The client has another conversation now: nothing of this one is told any more."""
        self._outbox = None
        self.ended.set()

    async def resume(self, outbox: Outbox) -> None:
        """Sends to this connection what comes from now on, and nothing that began before."""
        if self._outbox is not None:
            moved = error("session_moved", "resumed over another connection", recoverable=False)
            self._post([moved, Close(1000, "session_moved")])
        self._take(outbox)
        self._silent = True
        self._input.clear()
        await self.interrupt()
        if self.is_at(outbox):
            self._silent = False
            self._reply.begin_again()
            self._renew_codecs()
            self._welcome(resumed=True)

    def _take(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self.client_heard()
        self._call.lifetime.caller_returned()

    def _welcome(self, *, resumed: bool) -> None:
        self._post(
            [
                Send(
                    {
                        "type": "session_started",
                        "session_id": self.id,
                        "audio": self.audio.model_dump(),
                        "output": self.voice.model_dump(),
                        "resumed": resumed,
                        "last_seq": self.last_seq,
                    }
                ),
                *self._outlet.state(),
            ]
        )

    async def detach(self) -> None:
        """The connection is gone: the agent stops, and nothing old is heard or sent later.

        The call's `Lifetime` waits for the client to come back, as it does in a room.
        """
        self._outbox = None
        self._input.clear()
        self._call.lifetime.caller_left()
        await self.interrupt()

    def hear(self, data: bytes) -> Send | None:
        """Takes a frame from the client. Returns the error where it had to be dropped."""
        if self._decoder is not None:
            try:
                data = self._decoder.decode(data)
            except ValueError:
                return error("bad_audio", "the packet is no Opus frame")
        elif self._resampler is not None:
            frame = rtc.AudioFrame(data, self.audio.sample_rate, 1, len(data) // 2)
            data = b"".join(bytes(part.data) for part in self._resampler.push(frame))
        if data and not self._input.push(data):
            return error("audio_overflow", f"over {MAX_BUFFERED_S:.0f} s wait to be heard; dropped")
        return None

    def end_of_audio(self) -> None:
        """The client has stopped sending for now; silence is heard whenever no frames come."""
        self._input.end()

    async def answer(self, text: str) -> Send | None:
        """Takes what the caller wrote for their turn. Returns the error where it was left out."""
        if not self._typed.take(1, time.monotonic()):
            return error("too_fast", "too many messages at once; wait a little")
        self._call.lifetime.caller_acts()
        await self.interrupt()
        if isinstance(self._call.agent, TakesTyping):
            self._call.agent.typed_turn()
        # Not running any more, or not yet: there is nobody to answer.
        with contextlib.suppress(RuntimeError):
            self._call.session.generate_reply(user_input=text)
        return None

    async def interrupt(self) -> None:
        """Makes the agent be quiet."""
        # Not running any more, or not yet: there is nothing to interrupt.
        with contextlib.suppress(RuntimeError):
            quiet = self._call.session.interrupt(force=True)
            # A tool may take its time; nobody waits for it.
            await asyncio.wait([quiet], timeout=_INTERRUPT_PATIENCE_S)

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

    @property
    def _heard(self) -> bool:
        """Whether there is anybody to tell what the agent says and hears now."""
        return self._outbox is not None and not self._silent

    def _renew_codecs(self) -> None:
        if self.audio.format != "opus":
            return
        # PyAV brings FFmpeg with it: loaded only when a client asks for Opus.
        from .opus import OpusDecoder, OpusEncoder

        self._decoder, self._encoder = OpusDecoder(), OpusEncoder(self.voice.sample_rate)

    async def _send_audio(self, pcm: bytes) -> None:
        if not self._heard:
            return
        frames = [pcm] if self._encoder is None else self._encoder.encode(pcm)
        for frame in frames:
            self._post([*self._reply.audio(), frame])

    def _tell(self, message: Send) -> None:
        if self._heard:
            self._post([message])

    def _voice_stopped(self, interrupted: bool) -> None:
        if self._heard:
            self._post(self._reply.audio_stopped(interrupted=interrupted))

    def _on_token(self, text: str) -> None:
        if self._heard:
            self._post(self._reply.token(text))

    def _on_spoken(self, text: str) -> None:
        if self._heard:
            self._post(self._reply.spoken(text))

    def _on_transcribed(self, event: UserInputTranscribedEvent) -> None:
        if not self._heard:
            return
        text = event.transcript
        kind = "asr_final" if event.is_final else "asr_partial"
        confidence = self._confidence.of(text)
        self._post([Send({"type": kind, "text": text, "confidence": confidence})])

    def _on_agent_state(self, event: AgentStateChangedEvent) -> None:
        if event.new_state == "thinking":
            self._words.release()
        if event.new_state in ("listening", "idle"):
            if self._heard:
                self._post(self._reply.ended())
        elif self._outbox is None and not self._closed:
            # An answer to what was said before the line broke: nobody would hear it.
            self._spawn(self.interrupt())

    def _on_error(self, event: ErrorEvent) -> None:
        stage = type(event.source).__name__
        self._post([error("stage_failed", f"{stage} failed; the session goes on")])

    def _on_close(self, event: CloseEvent) -> None:
        if self._closed:
            return
        if self._call.lifetime.over:
            self.finish("session_timeout", "nobody spoke for a long time")
        else:
            self.finish("session_ended", "the session has ended")

    def finish(self, code: str, message: str) -> None:
        """Ends the session from this side, and tells the client why."""
        self._post([error(code, message, recoverable=False), Close(1000, code)])
        self.ended.set()

    def _spawn(self, work: Any) -> None:
        task: asyncio.Task[None] = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
