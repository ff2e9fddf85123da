"""One call: settings and engines become an AgentSession with its agent, observed to its end."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from livekit.agents import (
    AgentSession,
    AgentStateChangedEvent,
    ErrorEvent,
    UserInputTranscribedEvent,
    UserStateChangedEvent,
    inference,
)
from livekit.agents.voice.agent_session import SessionConnectOptions
from livekit.agents.voice.room_io import (
    AudioInputOptions,
    AudioOutputOptions,
    RoomOptions,
    TextInputEvent,
    TextInputOptions,
)

from livekit import rtc

from .agent import VoicePipelineAgent
from .engines import Engines
from .latency import TOPIC, TurnLatency, TurnRecord
from .settings import Settings

logger = logging.getLogger(__name__)

Publish = Callable[[TurnRecord], Awaitable[None]]


@dataclasses.dataclass(frozen=True)
class Call:
    """What serves one caller, over whichever transport."""

    session: AgentSession[None]
    agent: VoicePipelineAgent
    engines: Engines

    async def aclose(self) -> None:
        """Ends the session and closes its engines; safe to call twice."""
        await self.session.aclose()
        await self.engines.aclose()


def build_call(settings: Settings, engines: Engines, *, publish: Publish | None = None) -> Call:
    """Puts the parts of one call together.

    Args:
        settings: of this worker.
        engines: of this call.
        publish: what to do with each turn's latency record; None = it is only logged.
    """
    latency = TurnLatency()
    agent = VoicePipelineAgent(
        instructions=settings.instructions,
        greeting=settings.greeting,
        min_sentence_length=settings.min_sentence_length,
        sentences_ahead=settings.sentences_ahead,
        tells_commit=engines.tells_commit,
        latency=latency,
    )
    session: AgentSession[None] = AgentSession(
        stt=engines.stt,
        llm=engines.llm,
        tts=engines.tts,
        vad=inference.VAD(model="silero", min_silence_duration=settings.vad_min_silence_s),
        turn_handling={
            "turn_detection": "vad",
            "endpointing": {
                "min_delay": settings.min_endpointing_s,
                "max_delay": settings.max_endpointing_s,
            },
            # the default may ask LiveKit's cloud; this never does
            "interruption": {"mode": "vad", "min_duration": settings.interruption_min_s},
            "preemptive_generation": {"enabled": True, "preemptive_tts": True},
        },
        use_tts_aligned_transcript=engines.tts.capabilities.aligned_transcript,
        aec_warmup_duration=settings.aec_warmup_s or None,
        # a stage that fails again and again must not hang up on the caller
        conn_options=SessionConnectOptions(max_unrecoverable_errors=sys.maxsize),
    )
    _Observer(session, agent, latency, publish)
    return Call(session, agent, engines)


def room_options(agent: VoicePipelineAgent) -> RoomOptions:
    """How a call is attached to a room: small frames in, typed messages taken as turns."""

    async def typed(session: AgentSession[Any], event: TextInputEvent) -> None:
        await session.interrupt()
        agent.commit_turn()
        session.generate_reply(user_input=event.text)

    return RoomOptions(
        text_input=TextInputOptions(text_input_cb=typed),
        audio_input=AudioInputOptions(sample_rate=16_000, frame_size_ms=20),
        audio_output=AudioOutputOptions(sample_rate=24_000),
    )


def publish_to(room: rtc.Room) -> Publish:
    """Sends each turn's record to the clients of a room, on the topic ``agent.latency``."""

    async def publish(record: TurnRecord) -> None:
        if room.isconnected():
            await room.local_participant.send_text(record.to_json(), topic=TOPIC)

    return publish


class _Observer:
    """Notes what the session tells, and says what went wrong. Steers nothing."""

    def __init__(
        self,
        session: AgentSession[None],
        agent: VoicePipelineAgent,
        latency: TurnLatency,
        publish: Publish | None,
    ) -> None:
        self._agent = agent
        self._latency = latency
        self._publish = publish
        self._tasks: set[asyncio.Task[None]] = set()
        session.on("user_state_changed", self._on_user_state)
        session.on("user_input_transcribed", self._on_transcribed)
        session.on("agent_state_changed", self._on_agent_state)
        session.on("error", self._on_error)

    def _on_user_state(self, event: UserStateChangedEvent) -> None:
        if event.new_state == "speaking":
            self._agent.open_turn()
            self._latency.speech_started()
        elif event.old_state == "speaking":
            self._latency.speech_ended(event.created_at)

    def _on_transcribed(self, event: UserInputTranscribedEvent) -> None:
        if event.is_final:
            self._latency.heard("final")

    def _on_agent_state(self, event: AgentStateChangedEvent) -> None:
        if event.new_state == "speaking":
            self._report(self._latency.speaking())

    def _on_error(self, event: ErrorEvent) -> None:
        cause = getattr(event.error, "error", event.error)
        logger.warning(
            "a stage failed; the call goes on",
            extra={
                "stage": type(event.source).__name__,
                "label": getattr(event.source, "label", ""),
                "cause": type(cause).__name__,
                "recoverable": getattr(event.error, "recoverable", False),
            },
        )

    def _report(self, record: TurnRecord | None) -> None:
        if record is None:
            return
        logger.info("turn", extra={"turn": record.turn, "stages_ms": record.stages_ms})
        if self._publish is not None:
            task = asyncio.get_running_loop().create_task(self._send(self._publish, record))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _send(self, publish: Publish, record: TurnRecord) -> None:
        try:
            await publish(record)
        except Exception as e:
            # a client that leaves midway must not cost the call
            logger.debug("latency record not sent", extra={"cause": type(e).__name__})
