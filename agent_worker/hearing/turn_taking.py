"""Carries out what `TurnUnderWay` decides, on a running `AgentSession`.

Three places of the session are enough for it, all of them public:

* `TurnTaking.detector` is the session's turn detector. The session asks it when a transcript is
  there and the caller is silent, and drops the question when the caller goes on. It answers when
  the policy's wait is over, so that wait is continuous, not a choice between two delays.
* `TurnTaking.recognize` is the agent's `stt_node`. What was said over the agent and is no turn (a
  backchannel, an echo) never reaches the session; and the recogniser is flushed when the policy
  thinks that the turn is over, not at the first silence.
* The session's events tell who speaks, with the times of the sound itself.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any, Literal

from livekit.agents import (
    DEFAULT_API_CONNECT_OPTIONS,
    AgentSession,
    AgentStateChangedEvent,
    APIConnectOptions,
    LanguageCode,
    TurnHandlingOptions,
    UserStateChangedEvent,
    llm,
    stt,
    utils,
)

from agent_worker.steady_time import steady_time
from livekit import rtc

from .agent_voice import AgentVoice
from .backchannel import BargeInPolicy, Overlap
from .end_of_turn_model import PauseListener
from .turn_under_way import TurnUnderWay
from .turns import EndOfTurnPolicy

logger = logging.getLogger(__name__)

Mode = Literal["auto", "half_duplex", "push_to_talk"]

_NEVER_S = 3600.0

_TRANSCRIPTS = (
    stt.SpeechEventType.INTERIM_TRANSCRIPT,
    stt.SpeechEventType.PREFLIGHT_TRANSCRIPT,
    stt.SpeechEventType.FINAL_TRANSCRIPT,
)


class TurnTaking:
    """Turn-taking of one call."""

    def __init__(
        self,
        *,
        end_of_turn: EndOfTurnPolicy | None = None,
        barge_in: BargeInPolicy | None = None,
        listener: PauseListener | None = None,
        final_timeout_s: float = 1.5,
        clock: Callable[[], float] = steady_time,
    ) -> None:
        """
        Args:
            end_of_turn: When the caller has finished.
            barge_in: What speech over the agent means.
            listener: Hears in the caller's pauses whether the turn is over; None: only the words
                tell. It is closed with this object.
            final_timeout_s: Seconds of silence after which a turn is committed though the
                recogniser still owes the end of it.
            clock: Seconds since the epoch, as in the session's events.
        """
        self._turn = TurnUnderWay(
            end_of_turn=end_of_turn,
            barge_in=barge_in,
            final_timeout_s=final_timeout_s,
            clock=clock,
        )
        self._listener = listener
        self._final_timeout_s = final_timeout_s
        self._clock = clock
        self._detector = _Detector(self._until_over)
        self._session: AgentSession[Any] | None = None
        self._voice = AgentVoice()
        self._changed = asyncio.Event()
        self._turn_changed = asyncio.Event()
        self._watcher: asyncio.Task[None] | None = None
        self._flush: Callable[[], None] | None = None
        self._closed = False

    @property
    def resumes(self) -> bool:
        """Whether the turn under way, or taken last, goes on with one that the agent broke into."""
        return self._turn.resumes

    @property
    def detector(self) -> _Detector:
        """What to pass as the session's `turn_detection`."""
        return self._detector

    def options(self, mode: Mode = "auto") -> TurnHandlingOptions:
        """The session's `turn_handling` under which this object owns the turns.

        Args:
            mode: "auto": the policies decide. "half_duplex": they do, and the agent does not listen
                while it speaks. "push_to_talk": a turn ends with `commit`; see `PushToTalk`.
        """
        return {
            "turn_detection": "manual" if mode == "push_to_talk" else self._detector,
            # The detector answers when it is time; the session adds nothing.
            "endpointing": {"mode": "fixed", "min_delay": 0.0, "max_delay": 0.0},
            # A voice alone never interrupts; `BargeInPolicy` decides, with the words.
            "interruption": {
                "enabled": mode != "half_duplex",
                "mode": "vad",
                "min_duration": _NEVER_S,
                "resume_false_interruption": True,
                "false_interruption_timeout": 0.3,
            },
            "preemptive_generation": {"enabled": True, "preemptive_tts": True},
        }

    def attach(self, session: AgentSession[Any]) -> None:
        """Listens to a session's events; call once, in a running event loop, before its start."""
        if self._session is not None:
            raise RuntimeError("TurnTaking serves one session")
        self._session = session
        self._voice.attach(session)
        session.on("user_state_changed", self._on_user_state)
        session.on("agent_state_changed", self._on_agent_state)
        self._watcher = asyncio.create_task(self._watch(), name="turn_taking.watch")

    async def aclose(self) -> None:
        """Stops; safe to call twice. Called first, it spares a closing session the wait."""
        self._closed = True
        self._turn_changed.set()
        if self._session is not None:
            self._session.off("user_state_changed", self._on_user_state)
            self._session.off("agent_state_changed", self._on_agent_state)
            self._session = None
        if self._watcher is not None:
            await utils.aio.cancel_and_wait(self._watcher)
        await self._voice.aclose()
        if self._listener is not None:
            await self._listener.aclose()

    def listen(self, on: bool) -> None:
        """Turns the agent's hearing on or off; it begins as the session was started."""
        self._running().input.set_audio_enabled(on)

    async def hush(self) -> None:
        """Drops what the agent is saying, and returns when it is silent."""
        self._running()
        await self._voice.interrupt()

    async def until_quiet(self, *, timeout_s: float) -> None:
        """Returns when no voice is heard from the caller, or at the latest after `timeout_s`."""
        latest = self._clock() + timeout_s
        while self._speaking() and self._clock() < latest:
            self._turn_changed.clear()
            await _wait(self._turn_changed, latest - self._clock())

    async def commit(self) -> str:
        """Has the turn so far answered, whatever the policy says; returns what was heard."""
        session = self._running()
        if self._flush is not None:
            self._flush()
        heard = await session.commit_user_turn(
            transcript_timeout=self._final_timeout_s, stt_flush_duration=0.0
        )
        self._turn.taken()
        return heard

    def forget_turn(self) -> None:
        """Forgets what was said and is not answered yet: its speaker left, or takes it back.

        The recogniser begins anew too, so that no sound of before reaches the next turn.
        """
        self._running().clear_user_turn()
        self._turn.forgotten()
        self._voice.let_go()

    def _running(self) -> AgentSession[Any]:
        if self._session is None:
            raise RuntimeError("TurnTaking is not attached to a session")
        return self._session

    def agent_says(self, text: str) -> None:
        """Tells the words that the agent speaks now or soon, phrase by phrase."""
        self._turn.agent_says(text)

    async def recognize(
        self,
        audio: AsyncIterable[rtc.AudioFrame],
        engine: stt.STT[Any],
        *,
        conn_options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS,
    ) -> AsyncGenerator[stt.SpeechEvent, None]:
        """The agent's `stt_node`: what the engine hears, without what is not meant for the agent.

        Args:
            audio: The caller's voice.
            engine: A streaming recogniser; wrap another one in `stt.StreamAdapter`.
            conn_options: For its stream.
        """
        async with engine.stream(conn_options=conn_options) as stream:
            self._flush = stream.flush if engine.capabilities.manual_flush else None
            self._changed.set()
            forwarding = asyncio.create_task(
                self._forward(audio, stream), name="turn_taking.forward"
            )
            try:
                async for event in stream:
                    if (kept := self._hear(event)) is not None:
                        yield kept
            finally:
                self._flush = None
                await utils.aio.cancel_and_wait(forwarding)

    async def _forward(
        self, audio: AsyncIterable[rtc.AudioFrame], stream: stt.RecognizeStream
    ) -> None:
        async for frame in audio:
            self._turn.sounds(frame)
            if self._listener is not None:
                self._listener.push(frame)
            stream.push_frame(frame)
        stream.end_input()

    async def _until_over(self, chat_ctx: llm.ChatContext) -> None:
        """Returns when the turn under way is over; cancelled when the caller goes on."""
        if not self._turn.text:
            # Nothing came through `recognize`: typed, or from an agent with an stt_node of its own.
            messages = [item for item in chat_ctx.items if item.type == "message"]
            by_caller = bool(messages) and messages[-1].role == "user"
            self._turn.typed(messages[-1].text_content or "" if by_caller else None)
        finals = self._turn.finals
        while not self._closed and (wait_s := self._turn.over_in_s(finals)) > 0:
            self._turn_changed.clear()
            await _wait(self._turn_changed, min(wait_s, _NEVER_S))
        self._turn.taken()
        self._turn.was_the_callers()

    def _speaking(self) -> bool:
        return self._session is not None and self._session.user_state == "speaking"

    def _hear(self, event: stt.SpeechEvent) -> stt.SpeechEvent | None:
        """Takes an event of the recogniser; returns what the session shall see of it."""
        if event.type not in _TRANSCRIPTS or not event.alternatives:
            return event
        data = event.alternatives[0]
        is_final = event.type is stt.SpeechEventType.FINAL_TRANSCRIPT
        heard = self._turn.heard(
            data.text,
            is_final=is_final,
            language=str(data.language),
            closing_probability=_closing_probability(data),
        )
        self._act(heard.voice)
        self._notify()
        if heard.kept is None:
            # A final that is not sent would leave whoever waits for it waiting.
            return _with_text(event, "") if is_final else None
        return event if heard.kept == data.text else _with_text(event, heard.kept)

    def _on_user_state(self, event: UserStateChangedEvent) -> None:
        # The event carries the time of the sound, not that of its detection.
        at = event.created_at
        if event.new_state == "speaking":
            if self._listener is not None:
                self._listener.speech_started()
            self._act(self._turn.caller_spoke(at))
        elif event.old_state == "speaking":
            self._turn.caller_fell_silent(at)
            if self._listener is not None:
                self._listener.speech_ended(self._clock() - at, self._model_says)
        self._notify()

    def _model_says(self, probability: float) -> None:
        self._turn.model_says(probability)
        self._notify()

    def _on_agent_state(self, event: AgentStateChangedEvent) -> None:
        if event.new_state == "speaking":
            self._turn.agent_spoke()
        elif event.old_state == "speaking":
            self._turn.agent_fell_silent()
        self._notify()

    def _notify(self) -> None:
        self._changed.set()
        self._turn_changed.set()

    async def _watch(self) -> None:
        """Does what becomes due by time alone."""
        while True:
            self._changed.clear()
            if self._turn.overlaps:
                # They do until the final transcript of it, which may be long in coming.
                self._act(self._turn.overlap())
            if self._flush is not None and self._turn.wants_final():
                self._flush()
            due = self._turn.due(asks_for_finals=self._flush is not None)
            wait_s = _NEVER_S if due is None else due - self._clock()
            await _wait(self._changed, max(wait_s, 0.001))

    def _act(self, overlap: Overlap) -> None:
        """Does to the agent's voice what speech over it asks for."""
        if overlap is not Overlap.WAIT:
            logger.debug("overlap", extra={"decision": overlap.value})
        match overlap:
            case Overlap.PAUSE:
                self._voice.hold()
            case Overlap.IGNORE:
                self._voice.let_go()
            case Overlap.STOP:
                if self._voice.stop():
                    self._turn.agent_was_stopped()
            case Overlap.WAIT:
                pass


class _Detector:
    """The session's view of `TurnTaking`: a turn detector that takes its time."""

    def __init__(self, until_over: Callable[[llm.ChatContext], Awaitable[None]]) -> None:
        self._until_over = until_over

    @property
    def model(self) -> str:
        return "end-of-turn-policy"

    @property
    def provider(self) -> str:
        return "agent_worker"

    async def unlikely_threshold(self, language: LanguageCode | None) -> float | None:
        """The answer comes when the turn is over, so it is never unlikely."""
        return 0.0

    async def supports_language(self, language: LanguageCode | None) -> bool:
        return True

    async def predict_end_of_turn(
        self, chat_ctx: llm.ChatContext, *, timeout: float | None = None
    ) -> float:
        """Returns 1.0 as soon as the turn is over."""
        await self._until_over(chat_ctx)
        return 1.0


async def _wait(event: asyncio.Event, timeout_s: float) -> None:
    # asyncio.wait_for of Python 3.11 loses a cancellation that comes together with the event.
    with suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            await event.wait()


def _closing_probability(data: stt.SpeechData) -> float | None:
    """How sure the recogniser is of the mark at the end, if it is one that tells."""
    told = (data.metadata or {}).get("closing_probability")
    return float(told) if isinstance(told, int | float) else None


def _with_text(event: stt.SpeechEvent, text: str) -> stt.SpeechEvent:
    return replace(event, alternatives=[replace(event.alternatives[0], text=text, words=None)])
