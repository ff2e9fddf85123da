"""What one call tells about itself: each turn's latency, the state of its voice, its failures."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Coroutine
from typing import Any, Protocol

from livekit.agents import (
    AgentSession,
    AgentStateChangedEvent,
    ConversationItemAddedEvent,
    ErrorEvent,
    UserInputTranscribedEvent,
    UserStateChangedEvent,
    llm,
    stt,
    tts,
)
from livekit.agents.voice import io

from agent_worker.telemetry.latency import TOPIC, TurnLatency, TurnRecord
from agent_worker.telemetry.outlets import Telemetry

logger = logging.getLogger(__name__)

VOICE_ATTRIBUTE = "agent.voice"
"""Participant attribute of the agent: "speaking", or "text-only" while its voice has failed."""

HEARING_ATTRIBUTE = "agent.hearing"
"""Participant attribute of the agent: "lost" while its recogniser has failed, else "working"."""


SPEAKER_TOPIC = "agent.speaker"
"""LiveKit text topic: JSON with `name`, and `at`, the characters of the reply before them."""


class Outlet(Protocol):
    """What clients are told beside audio and transcripts, over whichever transport."""

    async def send(self, topic: str, text: str) -> None:
        """Sends a message."""

    async def set_attributes(self, attributes: dict[str, str]) -> None:
        """Publishes a state."""


class Observer:
    """Notes what the session tells, and says what went wrong. Steers nothing."""

    def __init__(
        self,
        latency: TurnLatency,
        outlet: Outlet | None,
        *,
        telemetry: Telemetry,
        call_id: str,
    ) -> None:
        self._latency = latency
        self._outlet = outlet
        self._telemetry = telemetry
        self._call_id = call_id
        self._closed = False
        self._output: io.AudioOutput | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def watch(self, session: AgentSession[None]) -> None:
        """Follows a session from now on, to `close`."""
        self._telemetry.metrics.calls.inc()
        self._session = session
        session.on("user_state_changed", self._on_user_state)
        session.on("user_input_transcribed", self._on_transcribed)
        session.on("agent_state_changed", self._on_agent_state)
        session.on("conversation_item_added", self._on_item)
        session.on("error", self._on_error)

    def close(self) -> None:
        """The call has ended; safe to call twice."""
        if not self._closed:
            self._closed = True
            self._telemetry.metrics.calls.dec()
            self._latency.call_ended()
            self._hand_over()
            summary = self._latency.summary()
            logger.info("call", extra={"call": self._call_id, **summary.to_dict()})
            self._telemetry.call_ended(self._call_id, summary)

    def overlap_ignored(self, had_words: bool, was_held: bool) -> None:
        """Something was said over the agent, and it did not stop."""
        self._telemetry.metrics.overlap_ignored(had_words=had_words, was_held=was_held)

    def _hand_over(self) -> None:
        """Passes on the records that are complete."""
        for record in self._latency.ended():
            self._telemetry.turn_ended(self._call_id, record)

    def _on_user_state(self, event: UserStateChangedEvent) -> None:
        if event.new_state == "speaking":
            self._latency.speech_started()
        elif event.old_state == "speaking":
            self._latency.speech_ended(event.created_at)

    def _on_transcribed(self, event: UserInputTranscribedEvent) -> None:
        if event.is_final:
            self._latency.heard("final")

    def _on_agent_state(self, event: AgentStateChangedEvent) -> None:
        if event.new_state == "speaking":
            self._follow_output()
            self._report(self._latency.speaking())
        elif event.old_state == "speaking" and event.new_state != "thinking":
            # while a tool works, the rest of the answer is still to come
            self._latency.answer_ended()
        self._hand_over()

    def _follow_output(self) -> None:
        """Listens to the output that plays; a room's is put in place when the session starts."""
        output = self._session.output.audio
        if output is self._output:
            return
        if self._output is not None:
            self._output.off("playback_finished", self._on_played)
        self._output = output
        if output is not None:
            output.on("playback_finished", self._on_played)

    def _on_played(self, event: io.PlaybackFinishedEvent) -> None:
        self._latency.played(event.playback_position, interrupted=event.interrupted)

    def _on_item(self, event: ConversationItemAddedEvent) -> None:
        item = event.item
        if isinstance(item, llm.ChatMessage) and item.role == "assistant" and item.interrupted:
            self._report(self._latency.interrupted(len(item.text_content or "")))

    def _on_error(self, event: ErrorEvent) -> None:
        cause = getattr(event.error, "error", event.error)
        recoverable = bool(getattr(event.error, "recoverable", False))
        why = cause_of(cause) if isinstance(cause, BaseException) else type(cause).__name__
        if isinstance(event.source, llm.LLM):
            self._latency.failed(why)
        logger.warning(
            "a stage failed; the call goes on",
            extra={
                "stage": type(event.source).__name__,
                "label": getattr(event.source, "label", ""),
                "cause": type(cause).__name__,
                "why": why,
                "recoverable": recoverable,
            },
        )
        self._telemetry.metrics.failed(_stage_of(event.source), recoverable=recoverable)

    def speaker_begins(self, name: str, at: int) -> None:
        """One of several characters begins, after so many characters of the reply."""
        if self._outlet is not None:
            told = json.dumps({"name": name, "at": at}, ensure_ascii=False)
            self._tell(self._outlet.send(SPEAKER_TOPIC, told))

    def voice_changed(self, works: bool) -> None:
        """The TTS failed, or is back."""
        if works:
            logger.info("the voice is back")
        else:
            logger.warning("the voice failed; the agent answers in writing until it is back")
        state = "speaking" if works else "text-only"
        if self._outlet is not None:
            self._tell(self._outlet.set_attributes({VOICE_ATTRIBUTE: state}))

    def hearing_changed(self, works: bool) -> None:
        """The recogniser failed, or is back."""
        logger.warning("the agent hears again" if works else "the agent does not hear the caller")
        if self._outlet is not None:
            state = "working" if works else "lost"
            self._tell(self._outlet.set_attributes({HEARING_ATTRIBUTE: state}))

    def _report(self, record: TurnRecord | None) -> None:
        if record is None:
            return
        logger.info("turn", extra=record.to_dict())
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


def _stage_of(source: object) -> str:
    match source:
        case stt.STT():
            return "stt"
        case llm.LLM():
            return "llm"
        case tts.TTS():
            return "tts"
        case _:
            return "other"


def cause_of(error: BaseException) -> str:
    """Why a stage failed, in one sentence, for the log and the turn's record.

    What stages know of it they leave as notes on what they raise. The words of other errors are
    not taken: a server's may repeat what the caller said.
    """
    seen: set[int] = set()
    name = type(error).__name__
    step: BaseException | None = error
    while step is not None and id(step) not in seen:
        seen.add(id(step))
        notes = getattr(step, "__notes__", ())
        if notes:
            return str(notes[0])
        name = type(step).__name__
        step = step.__cause__
    return name
