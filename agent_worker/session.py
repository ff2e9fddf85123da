"""One call: settings and engines become an AgentSession with its agent, observed to its end."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import sys
from collections.abc import Coroutine
from typing import Any, Protocol

from livekit.agents import (
    AgentSession,
    AgentStateChangedEvent,
    ConversationItemAddedEvent,
    ErrorEvent,
    UserInputTranscribedEvent,
    UserStateChangedEvent,
    inference,
    llm,
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
from .backchannel import BargeInPolicy
from .engines import Engines
from .inactivity import InactivityPolicy
from .latency import TOPIC, TurnLatency, TurnRecord
from .lifetime import Lifetime
from .settings import Settings
from .speaking import Voice
from .spoken_numbers import SpokenNumbers
from .steady_output import SteadyOutput
from .turn_taking import TurnTaking
from .turns import EndOfTurnPolicy, Waits

logger = logging.getLogger(__name__)

VOICE_ATTRIBUTE = "agent.voice"
"""Participant attribute of the agent: "speaking", or "text-only" while its voice has failed."""


class Outlet(Protocol):
    """What clients are told beside audio and transcripts, over whichever transport."""

    async def send(self, topic: str, text: str) -> None:
        """Sends a message."""

    async def set_attributes(self, attributes: dict[str, str]) -> None:
        """Publishes a state."""


@dataclasses.dataclass
class Call:
    """What serves one caller, over whichever transport."""

    session: AgentSession[None]
    agent: VoicePipelineAgent
    engines: Engines
    turns: TurnTaking
    lifetime: Lifetime
    steady: SteadyOutput | None = None

    async def start(self, *, room: rtc.Room | None = None, push_to_talk: bool = False) -> None:
        """Starts the session, in a room or on the input and output that were set on it.

        Args:
            push_to_talk: listen only between `TurnTaking.begin_turn` and `end_turn`.
        """
        if room is None:
            await self.session.start(self.agent, record=False)
        else:
            options = room_options(self.agent)
            await self.session.start(self.agent, room=room, room_options=options, record=False)
        # a room's own output drops what it had queued when it is held
        self.steady = SteadyOutput.put_in_place(self.session)
        if push_to_talk:
            self.session.input.set_audio_enabled(False)

    async def aclose(self) -> None:
        """Ends the session and closes its engines; safe to call twice."""
        await self.lifetime.aclose()
        await self.turns.aclose()
        if self.steady is not None:
            await self.steady.aclose()
        await self.session.aclose()
        await self.engines.aclose()


def build_call(settings: Settings, engines: Engines, *, outlet: Outlet | None = None) -> Call:
    """Puts the parts of one call together.

    Args:
        settings: of this worker.
        engines: of this call.
        outlet: takes each turn's latency record and the state of the voice; None = only the log.
    """
    latency = TurnLatency()
    observer = _Observer(latency, outlet)
    turns = TurnTaking(
        end_of_turn=EndOfTurnPolicy(
            Waits(agreed_s=settings.min_endpointing_s, doubt_s=settings.max_endpointing_s)
        ),
        barge_in=BargeInPolicy(pause_after_s=settings.interruption_min_s),
    )
    agent = VoicePipelineAgent(
        instructions=settings.instructions,
        greeting=settings.greeting,
        min_sentence_length=settings.min_sentence_length,
        sentences_ahead=settings.sentences_ahead,
        language=settings.spoken_language,
        speakable=SpokenNumbers(settings.spoken_language) if settings.spell_numbers else None,
        # every flow is reached through our plugin, which understands it
        tells_commit=True,
        latency=latency,
        voice=Voice(on_change=observer.voice_changed),
        turns=turns,
    )
    session: AgentSession[None] = AgentSession(
        stt=engines.stt,
        llm=engines.llm,
        tts=engines.tts,
        vad=inference.VAD(model="silero", min_silence_duration=settings.vad_min_silence_s),
        turn_handling=turns.options(settings.turns),
        # markdown, pictures and code are taken out phrase by phrase, by the agent
        tts_text_transforms=None,
        # how long a caller may be silent is the lifetime's business
        user_away_timeout=None,
        use_tts_aligned_transcript=engines.tts.capabilities.aligned_transcript,
        aec_warmup_duration=settings.aec_warmup_s or None,
        # a stage that fails again and again must not hang up on the caller
        conn_options=SessionConnectOptions(max_unrecoverable_errors=sys.maxsize),
    )
    observer.watch(session, agent)
    turns.attach(session)
    lifetime = Lifetime(
        InactivityPolicy(
            silence_s=settings.session_timeout_s, clock=asyncio.get_running_loop().time
        ),
        goodbye=settings.goodbye,
    )
    lifetime.attach(session)
    return Call(session, agent, engines, turns, lifetime)


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


class RoomOutlet:
    """Tells the clients of a LiveKit room: text streams and the agent's attributes."""

    def __init__(self, room: rtc.Room) -> None:
        self._room = room

    async def send(self, topic: str, text: str) -> None:
        """Sends a text stream to everyone in the room."""
        if self._room.isconnected():
            await self._room.local_participant.send_text(text, topic=topic)

    async def set_attributes(self, attributes: dict[str, str]) -> None:
        """Sets attributes of the agent's participant."""
        if self._room.isconnected():
            await self._room.local_participant.set_attributes(attributes)


class _Observer:
    """Notes what the session tells, and says what went wrong. Steers nothing."""

    def __init__(self, latency: TurnLatency, outlet: Outlet | None) -> None:
        self._latency = latency
        self._outlet = outlet
        self._tasks: set[asyncio.Task[None]] = set()

    def watch(self, session: AgentSession[None], agent: VoicePipelineAgent) -> None:
        """Follows a session from now on."""
        self._agent = agent
        session.on("user_state_changed", self._on_user_state)
        session.on("user_input_transcribed", self._on_transcribed)
        session.on("agent_state_changed", self._on_agent_state)
        session.on("conversation_item_added", self._on_item)
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

    def _on_item(self, event: ConversationItemAddedEvent) -> None:
        item = event.item
        if isinstance(item, llm.ChatMessage) and item.role == "assistant" and item.interrupted:
            self._report(self._latency.interrupted())

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

    def voice_changed(self, works: bool) -> None:
        """The TTS failed, or is back."""
        if works:
            logger.info("the voice is back")
        else:
            logger.warning("the voice failed; the agent answers in writing until it is back")
        state = "speaking" if works else "text-only"
        if self._outlet is not None:
            self._tell(self._outlet.set_attributes({VOICE_ATTRIBUTE: state}))

    def _report(self, record: TurnRecord | None) -> None:
        if record is None:
            return
        logger.info("turn", extra={"turn": record.turn, "stages_ms": record.stages_ms})
        if self._outlet is not None:
            self._tell(self._outlet.send(TOPIC, record.to_json()))

    def _tell(self, message: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(self._send(message))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _send(self, message: Coroutine[Any, Any, None]) -> None:
        try:
            await message
        except Exception as e:
            # a client that leaves midway must not cost the call
            logger.debug("a client could not be told", extra={"cause": type(e).__name__})
