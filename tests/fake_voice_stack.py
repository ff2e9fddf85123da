"""An `AgentSession` without models: hears loud frames as words, thinks nothing, speaks a tone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from livekit.agents import Agent, AgentSession, LanguageCode, ModelSettings, llm, stt, tts, utils
from livekit.agents.types import DEFAULT_API_CONNECT_OPTIONS, APIConnectOptions

from agent_worker.call.inactivity import InactivityPolicy
from agent_worker.call.lifetime import Lifetime
from agent_worker.gateway.client_outlet import ClientOutlet
from agent_worker.gateway.protocol import SessionStart
from agent_worker.gateway.words import Said
from livekit import rtc

LOUD = 1000.0
"""Root mean square of PCM16 from which a frame counts as voice."""

SILENCE_S = 0.15
RATE = 24_000


class LoudnessSTT(stt.STT[Any]):
    """Hears the words given for every stretch of loud frames, and is as sure as told."""

    def __init__(self, words: str, *, confidence: float = 0.9) -> None:
        super().__init__(capabilities=stt.STTCapabilities(streaming=True, interim_results=True))
        self.words = words
        self.confidence = confidence

    async def _recognize_impl(self, *args: Any, **kwargs: Any) -> stt.SpeechEvent:
        raise NotImplementedError

    def stream(
        self, *, conn_options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS, **kwargs: Any
    ) -> stt.RecognizeStream:
        return _Hearing(stt=self, conn_options=conn_options, sample_rate=16_000)


class _Hearing(stt.RecognizeStream):
    async def _run(self) -> None:
        engine = self._stt
        assert isinstance(engine, LoudnessSTT)
        speaking, quiet_s = False, 0.0
        async for frame in self._input_ch:
            if isinstance(frame, self._FlushSentinel):
                # A flush asks for the words so far; without an answer a closing session waits.
                self._say(stt.SpeechEventType.FINAL_TRANSCRIPT)
                continue
            samples = np.frombuffer(frame.data, dtype=np.int16).astype(np.float64)
            loud = float(np.sqrt(np.mean(samples**2))) > LOUD
            quiet_s = 0.0 if loud else quiet_s + frame.duration
            if loud and not speaking:
                speaking = True
                self._say(stt.SpeechEventType.START_OF_SPEECH)
                self._say(stt.SpeechEventType.INTERIM_TRANSCRIPT, engine.words.split()[0])
            elif speaking and quiet_s >= SILENCE_S:
                speaking = False
                self._say(stt.SpeechEventType.FINAL_TRANSCRIPT, engine.words)
                self._say(stt.SpeechEventType.END_OF_SPEECH)

    def _say(self, kind: stt.SpeechEventType, text: str = "") -> None:
        assert isinstance(self._stt, LoudnessSTT)
        data = stt.SpeechData(
            language=LanguageCode("en"), text=text, confidence=self._stt.confidence
        )
        self._event_ch.send_nowait(stt.SpeechEvent(type=kind, alternatives=[data]))


class ScriptLLM(llm.LLM[Any]):
    """Answers with the words given, one token each, after some thought."""

    def __init__(self, answer: str, *, think_s: float = 0.0) -> None:
        super().__init__()
        self.answer = answer
        self.think_s = think_s
        self.words_due: asyncio.Semaphore | None = None
        """Released once for each word that may be written; None: all at once."""
        self.asked: list[list[str]] = []
        """What it was told each time: the messages' texts."""

    def chat(self, *, chat_ctx: llm.ChatContext, **kwargs: Any) -> llm.LLMStream:
        texts = [message.text_content or "" for message in chat_ctx.messages()]
        self.asked.append(texts)
        return _Thinking(
            self,
            chat_ctx=chat_ctx,
            tools=kwargs.get("tools") or [],
            conn_options=kwargs.get("conn_options", DEFAULT_API_CONNECT_OPTIONS),
        )


class _Thinking(llm.LLMStream):
    async def _run(self) -> None:
        assert isinstance(self._llm, ScriptLLM)
        request_id = utils.shortuuid()
        await asyncio.sleep(self._llm.think_s)
        for word in self._llm.answer.split():
            if self._llm.words_due is not None:
                await self._llm.words_due.acquire()
            delta = llm.ChoiceDelta(role="assistant", content=word + " ")
            self._event_ch.send_nowait(llm.ChatChunk(id=request_id, delta=delta))
            await asyncio.sleep(0)


class ToneTTS(tts.TTS[Any]):
    """Speaks every text as a tone of the same length."""

    def __init__(self, seconds: float) -> None:
        super().__init__(
            capabilities=tts.TTSCapabilities(streaming=False), sample_rate=RATE, num_channels=1
        )
        self.seconds = seconds

    def synthesize(
        self, text: str, *, conn_options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS
    ) -> tts.ChunkedStream:
        return _Speaking(tts=self, input_text=text, conn_options=conn_options)


class _Speaking(tts.ChunkedStream):
    async def _run(self, output_emitter: tts.AudioEmitter) -> None:
        engine = self._tts
        assert isinstance(engine, ToneTTS)
        output_emitter.initialize(
            request_id=utils.shortuuid(),
            sample_rate=RATE,
            num_channels=1,
            mime_type="audio/pcm",
            frame_size_ms=40,
        )
        output_emitter.push(tone(engine.seconds, RATE))
        output_emitter.flush()


def tone(seconds: float, rate: int = 16_000) -> bytes:
    """PCM16 of a loud 440 Hz tone."""
    t = np.arange(int(seconds * rate)) / rate
    return (np.sin(2 * np.pi * 440 * t) * 12_000).astype(np.int16).tobytes()


@dataclass
class FakeCall:
    """What the gateway gets from its factory."""

    session: AgentSession[None]
    agent: Agent
    lifetime: Lifetime
    outlet: ClientOutlet | None = None
    closed: int = 0

    async def aclose(self) -> None:
        self.closed += 1
        await self.lifetime.aclose()
        await self.session.aclose()


@dataclass
class FakeStack:
    """Makes calls, and remembers them."""

    words: str = "hello there"
    answer: str = "Good day."
    voice_s: float = 0.2
    think_s: float = 0.0
    confidence: float = 0.9
    greeting: str = ""
    goodbye: str = ""
    silence_s: float = 300.0
    return_within_s: float = 30.0
    calls: list[FakeCall] = field(default_factory=list)
    languages: list[str | None] = field(default_factory=list)
    fail: Exception | None = None
    outlet: ClientOutlet | None = None

    async def build_call(self, request: SessionStart | None) -> FakeCall:
        self.languages.append(request.lang if request else None)
        if self.fail is not None:
            raise self.fail
        session: AgentSession[None] = AgentSession(
            stt=LoudnessSTT(self.words, confidence=self.confidence),
            llm=ScriptLLM(self.answer, think_s=self.think_s),
            tts=ToneTTS(self.voice_s),
            turn_handling={
                "turn_detection": "stt",
                "endpointing": {"min_delay": 0.0, "max_delay": 0.1},
                "interruption": {"mode": "vad"},
            },
            vad=None,
            session_close_transcript_timeout=0.05,
        )
        call = FakeCall(session, _Greeter(self.greeting), self.lifetime(session), self.outlet)
        self.calls.append(call)
        return call

    def lifetime(self, session: AgentSession[None]) -> Lifetime:
        """What ends this call."""
        lifetime = Lifetime(
            InactivityPolicy(
                silence_s=self.silence_s,
                return_within_s=self.return_within_s,
                clock=asyncio.get_running_loop().time,
            ),
            goodbye=self.goodbye,
        )
        lifetime.attach(session)
        return lifetime


class _Greeter(Agent):
    def __init__(self, greeting: str) -> None:
        super().__init__(instructions="Answer.")
        self._greeting = greeting
        self._heard: Callable[[stt.SpeechEvent], None] = lambda event: None
        self._writes: Callable[[], Callable[[Said], None]] = lambda: lambda piece: None

    def overheard_by(
        self,
        *,
        heard: Callable[[stt.SpeechEvent], None],
        writes: Callable[[], Callable[[Said], None]],
    ) -> None:
        self._heard, self._writes = heard, writes

    async def stt_node(
        self, audio: AsyncIterable[rtc.AudioFrame], model_settings: ModelSettings
    ) -> AsyncIterator[stt.SpeechEvent]:
        async for event in Agent.default.stt_node(self, audio, model_settings):
            self._heard(event)
            yield event

    async def llm_node(
        self, chat_ctx: llm.ChatContext, tools: list[llm.Tool], model_settings: ModelSettings
    ) -> AsyncIterator[Said]:
        written = self._writes()
        async for piece in Agent.default.llm_node(self, chat_ctx, tools, model_settings):
            written(piece)
            yield piece

    async def on_enter(self) -> None:
        if self._greeting:
            self.session.say(self._greeting)
