"""One call: settings and engines become an AgentSession with its agent, observed to its end."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import sys
import uuid

from livekit.agents import AgentSession, APIConnectOptions, inference
from livekit.agents.voice.agent_session import SessionConnectOptions
from livekit.agents.voice.room_io import (
    AudioInputOptions,
    AudioOutputOptions,
    RoomOptions,
)

from livekit import rtc

from .agent import VoicePipelineAgent
from .call.inactivity import InactivityPolicy
from .call.lifetime import Lifetime
from .call.observer import Observer, Outlet
from .call.typed_messages import TypedMessages
from .call.who_calls import WhoCalls
from .engines.build import Engines
from .engines.language_model import aside_mark
from .engines.languages import languages
from .faults.deafness import Hearing
from .faults.patience import Patience
from .faults.words import fault_words
from .hearing.end_of_turn_model import PauseListener, shared_model
from .hearing.overlap_watch import WatchedBargeIn
from .hearing.turn_taking import TurnTaking
from .hearing.turns import EndOfTurnPolicy, Waits
from .language_tags import primary
from .settings import Settings
from .speech.spoken_numbers import SpokenNumbers
from .speech.steady_output import SteadyOutput
from .speech.voice_health import VoiceHealth
from .steady_time import hold_time_steady
from .telemetry.cost import Prices
from .telemetry.latency import TurnLatency
from .telemetry.outlets import Telemetry


@dataclasses.dataclass
class Call:
    """What serves one caller, over whichever transport."""

    session: AgentSession[None]
    agent: VoicePipelineAgent
    engines: Engines
    turns: TurnTaking
    lifetime: Lifetime
    observer: Observer
    who: WhoCalls
    steady: SteadyOutput | None = None
    typed: TypedMessages | None = None
    outlet: Outlet | None = None
    """Where its client is told of it."""

    async def start(
        self, *, room: rtc.Room | None = None, listening: bool = True, alone: bool = True
    ) -> None:
        """Starts the session, in a room or on the input and output that were set on it.

        Args:
            listening: from the start; False: only once `TurnTaking.listen` says so.
            alone: see `room_options`.
        """
        # the greeting is on its way before the start is over, and would go past this output
        self.agent.before_greeting = lambda: self._steady_output(in_room=room is not None)
        if room is None:
            await self.session.start(self.agent, record=False)
        else:
            await self.session.start(
                self.agent, room=room, room_options=room_options(alone=alone), record=False
            )
            self.who.follow(lambda: self.session.room_io.linked_participant)
            self.typed = TypedMessages(
                room,
                self.session,
                on_message=self.lifetime.caller_acts,
                on_turn=self.agent.typed_turn,
            )
        if not listening:
            self.session.input.set_audio_enabled(False)

    def _steady_output(self, *, in_room: bool) -> None:
        received = self.session.room_io.subscribed_fut if in_room else None
        # a room's own output drops what it had queued when it is held
        self.steady = SteadyOutput.put_in_place(self.session, received=received)

    async def aclose(self) -> None:
        """Ends the session and closes its engines; safe to call twice."""
        try:
            if self.typed is not None:
                await self.typed.aclose()
            await self.lifetime.aclose()
            await self.turns.aclose()
            if self.steady is not None:
                await self.steady.aclose()
            await self.session.aclose()
            await self.engines.aclose()
        finally:
            self.observer.close()


def build_call(
    settings: Settings,
    engines: Engines,
    *,
    outlet: Outlet | None = None,
    telemetry: Telemetry | None = None,
    call_id: str = "",
    caller_id: str | None = None,
) -> Call:
    """Puts the parts of one call together.

    Args:
        settings: of this worker.
        engines: of this call.
        outlet: takes each turn's latency record and the state of the voice; None = only the log.
        telemetry: of the process; None = it only counts.
        call_id: names the call in the telemetry; a random one by default.
        caller_id: who calls, where there is no room whose participants tell it.
    """
    hold_time_steady()
    latency = TurnLatency(prices=_prices(settings) if engines.asks_model else None)
    observer = Observer(
        latency,
        outlet,
        telemetry=telemetry or Telemetry(),
        call_id=call_id or uuid.uuid4().hex[:12],
    )
    turns = TurnTaking(
        end_of_turn=EndOfTurnPolicy(
            Waits(agreed_s=settings.min_endpointing_s, doubt_s=settings.max_endpointing_s)
        ),
        barge_in=WatchedBargeIn(
            observer.overlap_ignored, pause_after_s=settings.interruption_min_s
        ),
        listener=_listener(settings),
    )
    who = WhoCalls(settings.caller_id, caller_id)
    hearing = Hearing(
        fault_words(settings.spoken_language, settings.own_fault_words()),
        standby=engines.standby_stt,
        on_change=observer.hearing_changed,
    )
    agent = VoicePipelineAgent(
        instructions=settings.instructions,
        greeting=settings.greeting,
        min_sentence_length=settings.min_sentence_length,
        sentences_ahead=settings.sentences_ahead,
        language=settings.spoken_language,
        pronounced=SpokenNumbers(settings.spoken_language) if settings.spell_numbers else None,
        # every flow is reached through our plugin, which understands it
        tells_commit=True,
        latency=latency,
        voice=VoiceHealth(on_change=observer.voice_changed),
        turns=turns,
        voices=engines.voices,
        who_calls=who,
        patience=_patience(settings),
        hearing=hearing,
        on_speaker=observer.speaker_begins,
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
        conn_options=SessionConnectOptions(
            llm_conn_options=APIConnectOptions(timeout=settings.first_word_timeout_s),
            max_unrecoverable_errors=sys.maxsize,
        ),
    )
    observer.watch(session)
    turns.attach(session)
    hearing.attach(session)
    lifetime = Lifetime(
        InactivityPolicy(
            silence_s=settings.session_timeout_s,
            return_within_s=settings.return_within_s,
            # ten seconds more than the slowest voice takes to say it
            goodbye_s=10.0 + len(settings.goodbye) / 4,
            clock=asyncio.get_running_loop().time,
        ),
        goodbye=settings.goodbye,
    )
    lifetime.attach(session)
    return Call(session, agent, engines, turns, lifetime, observer, who, outlet=outlet)


def _patience(settings: Settings) -> Patience:
    known = languages().get(primary(settings.spoken_language)) or languages()["en"]
    fillers = itertools.cycle(known.fillers)
    return Patience(
        filler=lambda: next(fillers),
        filler_after_s=min(3.5, settings.first_word_timeout_s / 2),
        apology=known.apology,
        give_up_after_s=settings.first_word_timeout_s,
        mark=aside_mark,
    )


def _prices(settings: Settings) -> Prices | None:
    if settings.llm_price_prompt is None and settings.llm_price_completion is None:
        return None
    return Prices(
        prompt=settings.llm_price_prompt or 0.0,
        completion=settings.llm_price_completion or 0.0,
        cached=settings.llm_price_cached,
        currency=settings.llm_currency,
    )


def _listener(settings: Settings) -> PauseListener | None:
    if settings.end_of_turn_model == "off":
        return None
    model = shared_model()
    # once in a process, where nothing loaded it before: in a call it would hold up the others
    model.prewarm()
    return PauseListener(model, language=settings.language)


def room_options(*, alone: bool = True) -> RoomOptions:
    """How a call is attached to a room: small frames in; who comes and goes is left to us.

    Args:
        alone: whether it is the only call of its process. Each frame costs about the same, however
            long: on two cores eight calls were answered after 1.5 s with frames of 20 ms, after
            0.8 s with 40. A call alone is answered 10 ms earlier with the short ones.
    """
    return RoomOptions(
        # see typed_messages.py
        text_input=False,
        audio_input=AudioInputOptions(sample_rate=16_000, frame_size_ms=20 if alone else 40),
        audio_output=AudioOutputOptions(sample_rate=24_000),
        # a caller who leaves may come back: see presence.py
        close_on_disconnect=False,
    )


class RoomOutlet:
    """Tells the clients of a LiveKit room: text streams and the agent's attributes."""

    def __init__(self, room: rtc.Room) -> None:
        self._room = room
        self._early: dict[str, str] = {}
        self._task: asyncio.Task[None] | None = None
        room.on("connected", self._on_connected)
        room.on("connection_state_changed", self._on_connected)

    def _on_connected(self, *args: object) -> None:
        if self._early and self._room.isconnected():
            early, self._early = self._early, {}
            self._task = asyncio.create_task(self.set_attributes(early))

    async def send(self, topic: str, text: str) -> None:
        """Sends a text stream to everyone in the room."""
        if self._room.isconnected():
            await self._room.local_participant.send_text(text, topic=topic)

    async def set_attributes(self, attributes: dict[str, str]) -> None:
        """Sets attributes of the agent's participant."""
        if self._room.isconnected():
            await self._room.local_participant.set_attributes(attributes)
        else:
            # an engine may fail before the room is joined
            self._early |= attributes
