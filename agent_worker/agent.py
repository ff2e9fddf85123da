"""The agent of one call: what it says first, and how its words become speech."""

from __future__ import annotations

import asyncio
import dataclasses
import math
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable
from contextlib import aclosing
from functools import partial
from typing import Any

from livekit.agents import (
    Agent,
    ConversationItemAddedEvent,
    ModelSettings,
    UserStateChangedEvent,
    llm,
    stt,
    tts,
)
from livekit.agents.types import NOT_GIVEN, FlushSentinel
from livekit.agents.voice import SpeechHandle
from livekit.agents.voice.io import PlaybackStartedEvent, TimedString

from livekit import rtc

from .faults.deafness import Hearing
from .faults.patience import OWN, Patience, in_time
from .hearing.joined_turns import first_half, joined, whole, without
from .hearing.turn_taking import TurnTaking
from .speech.pacing import paced
from .speech.read_aloud import read_aloud
from .speech.speaking import synthesize_phrases
from .speech.voice_health import VoiceHealth
from .speech.voiced_text import SpeakerMarks, cut_by_voice, voice_of, voiced
from .steady_time import steady_time
from .streaming_buffer import SentenceStreamBuffer
from .telemetry.latency import Generation, TurnLatency, noticing_speakable

Said = llm.ChatChunk | str | FlushSentinel
"""A piece of an answer."""

_OPENING_LENGTH = 3
"""Characters of "No," and its like."""


class VoicePipelineAgent(Agent):
    """Cuts the model's tokens into phrases, speaks them early, and stops when interrupted.

    Older documents of LiveKit call this role ``VoicePipelineAgent``; here it is a subclass of
    `livekit.agents.Agent` for an `AgentSession` with any STT, LLM and TTS.

    Args:
        instructions: system prompt.
        greeting: said when the call begins; empty = the agent waits to be spoken to.
        min_sentence_length: characters under which a sentence joins the next one.
        sentences_ahead: phrases synthesised ahead of the playout at most.
        language: of the answers, for what stands in for code and links.
        pronounced: writes numbers and units of a phrase as they are said; None = they stay.
        tells_commit: the LLM takes ``extra_kwargs={"turn_committed": asyncio.Event}`` and holds
            tools with side effects back until it is set.
        latency: where the stages of each turn are noted.
        turns: owns the turns of this call; None = the session decides by itself.
        voice: is told when the TTS fails and when it is back; meanwhile answers go out in writing.
        voices: gives the engine for a speaker's voice, where the model says who speaks.
        patience: what is said while the model keeps a caller waiting; None = nothing, for ever.
        hearing: opens the recogniser's stream again when it breaks; needs `turns`.
        on_speaker: told who begins to speak in a reply, where the model says it, and after how many
            characters of the reply; before those words are out.
    """

    def __init__(
        self,
        *,
        instructions: str = "",
        greeting: str = "",
        min_sentence_length: int = 20,
        sentences_ahead: int = 3,
        language: str = "en",
        pronounced: Callable[[str], str] | None = None,
        tells_commit: bool = False,
        latency: TurnLatency | None = None,
        voice: VoiceHealth | None = None,
        turns: TurnTaking | None = None,
        voices: Callable[[str], tts.TTS[Any]] | None = None,
        who_calls: Callable[[], str | None] = lambda: None,
        patience: Patience | None = None,
        hearing: Hearing | None = None,
        on_speaker: Callable[[str, int], None] = lambda name, at: None,
    ) -> None:
        super().__init__(instructions=instructions)
        self._greeting = greeting
        self.before_greeting: Callable[[], None] = lambda: None
        """Called when the session has its outputs, and before the first word."""
        self._min_sentence_length = min_sentence_length
        self._sentences_ahead = sentences_ahead
        self._language = language
        self._pronounced = pronounced or str
        self._tells_commit = tells_commit
        self._latency = latency or TurnLatency()
        self._voice = voice or VoiceHealth()
        self._turns = turns
        self._voices = voices
        self._who_calls = who_calls
        self._patience = patience or Patience(filler_after_s=math.inf, give_up_after_s=math.inf)
        self._hearing = hearing
        self._on_speaker = on_speaker
        self._heard: Callable[[stt.SpeechEvent], None] = lambda event: None
        self._writes: Callable[[], Callable[[Said], None]] = lambda: lambda piece: None
        self._speakers: SpeakerMarks | None = None
        self._generation: Generation | None = None
        self._turn_open = False
        self._turn_committed = asyncio.Event()
        self._first_half = ""

    @property
    def latency(self) -> TurnLatency:
        """The stages of the turn under way."""
        return self._latency

    def overheard_by(
        self,
        *,
        heard: Callable[[stt.SpeechEvent], None],
        writes: Callable[[], Callable[[Said], None]],
    ) -> None:
        """Who is told what is heard and written, at once: the session tells of less, and later.

        Args:
            heard: takes each event of the recogniser.
            writes: called when the model begins to write; what it returns takes each piece of it.
        """
        self._heard = heard
        self._writes = writes

    def say(
        self,
        text: str | AsyncIterable[str],
        *,
        allow_interruptions: bool = True,
        add_to_chat_ctx: bool = True,
    ) -> SpeechHandle:
        """Speaks `text`; the caller may interrupt it unless told otherwise.

        Raises:
            RuntimeError: the agent is in no session.
        """
        return self.session.say(
            text, allow_interruptions=allow_interruptions, add_to_chat_ctx=add_to_chat_ctx
        )

    async def on_enter(self) -> None:
        """Greets."""
        self.before_greeting()
        # the gate is shut here and opened here: whoever observes a call steers nothing in it
        self.session.on("user_state_changed", self._on_user_state)
        self.session.on("conversation_item_added", self._on_item)
        if self._greeting:
            self.say(self._greeting)

    async def on_exit(self) -> None:
        """The call ends, or another agent takes over."""
        self.session.off("user_state_changed", self._on_user_state)
        self.session.off("conversation_item_added", self._on_item)

    def _on_user_state(self, event: UserStateChangedEvent) -> None:
        if event.new_state == "speaking":
            self.open_turn()

    def open_turn(self) -> None:
        """The caller began to speak: what is generated from now on is speculative."""
        self._turn_open = True
        self._turn_committed = asyncio.Event()

    def commit_turn(self) -> None:
        """The turn stands: tools with side effects may run."""
        self._turn_open = False
        self._turn_committed.set()

    def typed_turn(self) -> None:
        """The caller has written: the turn stands as soon as it is there."""
        self._latency.typed()
        self.commit_turn()

    async def on_user_turn_completed(
        self, turn_ctx: llm.ChatContext, new_message: llm.ChatMessage
    ) -> None:
        """The session has decided that the caller has finished."""
        self._latency.heard("committed")
        self.commit_turn()
        self._first_half = ""
        if self._turns is not None and self._turns.resumes:
            await self._take_back_first_half()

    async def _take_back_first_half(self) -> None:
        """The turn that the agent broke into goes out of the history, and into its rest."""
        half = first_half(self.chat_ctx)
        if half is None:
            return
        self._first_half = half.text
        await self.update_chat_ctx(without(self.chat_ctx, half))
        history = self.session.history
        history.items = without(history, half).items

    def _on_item(self, event: ConversationItemAddedEvent) -> None:
        # Here, where it stands already: the message of an answer begun ahead is not ours before.
        item = event.item
        if isinstance(item, llm.ChatMessage) and item.role == "user" and self._first_half:
            item.content = [whole(self._first_half, item.text_content or "")]
            self._first_half = ""

    async def stt_node(
        self, audio: AsyncIterable[rtc.AudioFrame], model_settings: ModelSettings
    ) -> AsyncGenerator[stt.SpeechEvent, None]:
        """Hears the caller; what was said over the agent and is no turn is left out."""
        engine = self.session.stt
        if self._turns is None or engine is None:
            events = Agent.default.stt_node(self, audio, model_settings)
        else:
            options = self.session.conn_options.stt_conn_options
            if self._hearing is None:
                events = self._turns.recognize(audio, engine, conn_options=options)
            else:
                # it tries again by itself, and knows then that something failed
                options = dataclasses.replace(options, max_retry=0)
                once = partial(self._turns.recognize, conn_options=options)
                events = self._hearing.recognize(audio, engine, once)
        async with aclosing(events):
            async for event in events:
                if event.type is stt.SpeechEventType.PREFLIGHT_TRANSCRIPT:
                    self._latency.heard("preflight")
                self._heard(event)
                yield event

    async def llm_node(
        self,
        chat_ctx: llm.ChatContext,
        tools: list[llm.Tool],
        model_settings: ModelSettings,
    ) -> AsyncGenerator[llm.ChatChunk | str | FlushSentinel, None]:
        """Asks the model, and tells it whether the turn stands yet."""
        model = self.session.llm
        if not isinstance(model, llm.LLM):
            raise RuntimeError("VoicePipelineAgent needs a session with an LLM")
        generation = self._generation = self._latency.begin_generation()
        extra: dict[str, object] = {}
        if self._tells_commit and self._turn_open:
            extra["turn_committed"] = self._turn_committed
        if self._tells_commit and (caller := self._who_calls()) is not None:
            extra["caller_id"] = caller
        committed = self._turn_committed if self._turn_open else _set_event()
        if self._turns is not None and self._turns.resumes:
            chat_ctx = joined(chat_ctx)
        speakers = self._speakers = SpeakerMarks()
        written = self._writes()
        async with (
            model.chat(
                chat_ctx=chat_ctx,
                tools=tools,
                tool_choice=model_settings.tool_choice,
                conn_options=self.session.conn_options.llm_conn_options,
                extra_kwargs=extra or NOT_GIVEN,
            ) as stream,
            aclosing(in_time(aiter(stream), self._patience, committed)) as chunks,
        ):
            async for chunk in chunks:
                # what breaks a reply in segments is no chunk
                if isinstance(chunk, llm.ChatChunk):
                    self._note(generation, chunk)
                    speakers.mark(chunk)
                written(chunk)
                yield chunk

    async def transcription_node(
        self, text: AsyncIterable[str | TimedString], model_settings: ModelSettings
    ) -> AsyncGenerator[str | TimedString, None]:
        """Hands the reply's words on as they are, and tells of the next one who speaks."""
        # of a guess that was dropped nothing comes here
        speakers, self._speakers = self._speakers, None
        async for piece in text:
            for name, at in speakers.new_names() if speakers is not None else ():
                self._on_speaker(name, at)
            yield piece

    def _note(self, generation: Generation, chunk: llm.ChatChunk) -> None:
        """Tells the clock what a piece of an answer says of its turn."""
        delta = chunk.delta
        if delta is not None and delta.content and not chunk.id.startswith(OWN):
            self._latency.mark(generation, "first_token")
        if chunk.usage is not None:
            self._latency.count(
                generation,
                chunk.usage.prompt_tokens,
                chunk.usage.prompt_cached_tokens,
                chunk.usage.completion_tokens,
            )
        if delta is not None and (cause := no_answer_of(delta)):
            self._latency.failed(cause)

    async def tts_node(
        self, text: AsyncIterable[str], model_settings: ModelSettings
    ) -> AsyncGenerator[rtc.AudioFrame, None]:
        """Speaks the reply phrase by phrase, never more than a few phrases ahead of the playout."""
        engine = self.session.tts
        if engine is None:
            raise RuntimeError("VoicePipelineAgent needs a session with a TTS")
        # a greeting or another say() has no generation: its stages belong to no turn
        generation, self._generation = self._generation, None
        playhead = _Playhead(
            self.session.output.audio,
            lambda at: self._latency.mark(generation, "first_audio_out", at=at),
        )
        buffer = SentenceStreamBuffer(
            min_sentence_length=self._min_sentence_length, opening_length=_OPENING_LENGTH
        )

        def cut(tokens: AsyncIterator[str]) -> AsyncGenerator[str, None]:
            pieces = noticing_speakable(
                read_aloud(tokens, language=self._language),
                lambda: self._latency.mark(generation, "first_speakable"),
            )
            return buffer.stream_with_sentences(pieces)

        phrases = self._phrases(cut_by_voice(text, cut), generation)
        frames = synthesize_phrases(
            phrases,
            engine,
            conn_options=self.session.conn_options.tts_conn_options,
            ahead=self._sentences_ahead,
            played_s=playhead.played_s,
            voice=self._voice,
            voices=self._voices,
        )
        soon = paced(frames, played_s=playhead.played_s)
        try:
            async with (
                aclosing(phrases),
                aclosing(frames),
                aclosing(soon) as audio,
            ):
                async for frame in audio:
                    self._latency.mark(generation, "first_audio")
                    playhead.has_audio = True
                    yield frame
        finally:
            playhead.close()

    async def _phrases(
        self, sentences: AsyncIterator[str], generation: Generation | None
    ) -> AsyncGenerator[str, None]:
        async for sentence in sentences:
            self._latency.mark(generation, "first_phrase")
            if self._turns is not None:
                self._turns.agent_says(sentence)
            yield voiced(self._pronounced(sentence), voice_of(sentence))


def _set_event() -> asyncio.Event:
    event = asyncio.Event()
    event.set()
    return event


def no_answer_of(delta: llm.ChoiceDelta) -> str:
    """Why there is no answer, where this piece stands in for it; see `langgraph.LLM`."""
    cause = (delta.extra or {}).get("no_answer")
    return cause if isinstance(cause, str) else ""


class _Playhead:
    """How much of a reply has been played: the wall since its first frame went out."""

    def __init__(self, output: object, on_started: Callable[[float], None]) -> None:
        self._tell_started = on_started
        self._output = output if isinstance(output, rtc.EventEmitter) else None
        self._started_at: float | None = None
        self.has_audio = False
        if self._output is not None:
            self._output.on("playback_started", self._on_started)

    def _on_started(self, event: PlaybackStartedEvent) -> None:
        # without audio of its own, this is the reply before it that plays
        if self.has_audio and self._started_at is None:
            self._started_at = event.created_at
            self._tell_started(event.created_at)

    def played_s(self) -> float:
        return 0.0 if self._started_at is None else steady_time() - self._started_at

    def close(self) -> None:
        if self._output is not None:
            self._output.off("playback_started", self._on_started)
