"""A caller and a loudspeaker around a real `AgentSession`: frames in, frames out, no models.

A frame's first sample tells whether it is voice; what the voice says is scripted.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from livekit.agents import LanguageCode, stt, utils, vad
from livekit.agents.types import DEFAULT_API_CONNECT_OPTIONS, APIConnectOptions
from livekit.agents.voice import io

from livekit import rtc

RATE = 16_000
FRAME_S = 0.02


def _is_voice(frame: rtc.AudioFrame) -> bool:
    return frame.data[0] != 0


class FrameVAD(vad.VAD):
    """Finds voice in frames without looking at more than a sample."""

    def __init__(self, min_silence_s: float = 0.15) -> None:
        super().__init__(capabilities=vad.VADCapabilities(update_interval=FRAME_S))
        self.min_silence_duration = min_silence_s

    def stream(self) -> vad.VADStream:
        return _FrameVADStream(self)


class _FrameVADStream(vad.VADStream):
    async def _main_task(self) -> None:
        assert isinstance(self._vad, FrameVAD)
        speaking, speech_s, silence_s = False, 0.0, 0.0
        async for frame in self._input_ch:
            if not isinstance(frame, rtc.AudioFrame):
                speaking, speech_s, silence_s = False, 0.0, 0.0
                continue
            if _is_voice(frame):
                speech_s, silence_s = speech_s + frame.duration, 0.0
            else:
                silence_s += frame.duration
            kind = None
            if not speaking and _is_voice(frame) and speech_s >= 0.05:
                speaking, kind = True, vad.VADEventType.START_OF_SPEECH
            elif speaking and silence_s >= self._vad.min_silence_duration:
                speaking, kind = False, vad.VADEventType.END_OF_SPEECH
            for event_kind in (vad.VADEventType.INFERENCE_DONE, kind):
                if event_kind is not None:
                    self._event_ch.send_nowait(
                        vad.VADEvent(
                            type=event_kind,
                            samples_index=0,
                            timestamp=0.0,
                            speech_duration=speech_s,
                            silence_duration=silence_s,
                            speaking=speaking,
                            raw_accumulated_silence=silence_s,
                            raw_accumulated_speech=speech_s if _is_voice(frame) else 0.0,
                        )
                    )
            if not speaking and not _is_voice(frame):
                speech_s = 0.0


@dataclass
class Utterance:
    """What one stretch of voice says."""

    final: str
    partials: list[tuple[float, str]] = field(default_factory=list)
    """Seconds of voice after which a partial comes, and its text."""
    cut_after_s: float = math.inf
    """Seconds of voice after which its final comes though the voice goes on."""


class ScriptSTT(stt.STT[Any]):
    """Hears the scripted utterances, one for each stretch of voice."""

    def __init__(self, *, end_s: float = 0.5) -> None:
        super().__init__(
            capabilities=stt.STTCapabilities(
                streaming=True, interim_results=True, manual_flush=True
            )
        )
        self.script: deque[Utterance] = deque()
        self.end_s = end_s
        self.flushes = 0

    async def _recognize_impl(self, *args: Any, **kwargs: Any) -> stt.SpeechEvent:
        raise NotImplementedError

    def stream(
        self, *, conn_options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS, **kwargs: Any
    ) -> stt.RecognizeStream:
        return _ScriptStream(stt=self, conn_options=conn_options, sample_rate=RATE)


class _ScriptStream(stt.RecognizeStream):
    async def _run(self) -> None:
        engine = self._stt
        assert isinstance(engine, ScriptSTT)
        current: Utterance | None = None
        voiced_s = silence_s = 0.0
        shown = 0
        speculated = False
        async for frame in self._input_ch:
            flushed = not isinstance(frame, rtc.AudioFrame)
            if isinstance(frame, rtc.AudioFrame):
                if _is_voice(frame):
                    if current is None:
                        current = engine.script.popleft() if engine.script else Utterance("")
                        voiced_s, shown = 0.0, 0
                    voiced_s, silence_s, speculated = voiced_s + frame.duration, 0.0, False
                else:
                    silence_s += frame.duration
            else:
                engine.flushes += 1
            if current is None:
                if flushed:
                    self._send(stt.SpeechEventType.FINAL_TRANSCRIPT, "")
                continue
            while shown < len(current.partials) and voiced_s >= current.partials[shown][0]:
                self._send(stt.SpeechEventType.INTERIM_TRANSCRIPT, current.partials[shown][1])
                shown += 1
            if silence_s >= 0.1 and not speculated and current.final:
                speculated = True
                self._send(stt.SpeechEventType.PREFLIGHT_TRANSCRIPT, current.final)
            if flushed or silence_s >= engine.end_s or voiced_s >= current.cut_after_s:
                if current.final or flushed:
                    self._send(stt.SpeechEventType.FINAL_TRANSCRIPT, current.final)
                current = None

    def _send(self, kind: stt.SpeechEventType, text: str) -> None:
        data = stt.SpeechData(language=LanguageCode("en"), text=text, confidence=0.9)
        self._event_ch.send_nowait(stt.SpeechEvent(type=kind, alternatives=[data]))


class Microphone(io.AudioInput):
    """Silence in real time, or voice while told so."""

    def __init__(self) -> None:
        super().__init__(label="microphone")
        self.voice = False
        self._next_at: float | None = None

    async def __anext__(self) -> rtc.AudioFrame:
        now = time.monotonic()
        self._next_at = now if self._next_at is None else self._next_at + FRAME_S
        if self._next_at > now:
            await asyncio.sleep(self._next_at - now)
        samples = int(RATE * FRAME_S)
        data = np.full(samples, 1000 if self.voice else 0, dtype=np.int16)
        return rtc.AudioFrame(data.tobytes(), RATE, 1, samples)

    async def speak(self, for_s: float) -> None:
        """Voice for so long, then silence again."""
        self.voice = True
        await asyncio.sleep(for_s)
        self.voice = False


class Loudspeaker(io.AudioOutput):
    """Plays in real time and remembers what was heard, with the pauses left out."""

    def __init__(self, rate: int = 24_000) -> None:
        super().__init__(
            label="loudspeaker",
            capabilities=io.AudioOutputCapabilities(pause=True),
            sample_rate=rate,
        )
        self._rate = rate
        self._queue = bytearray()
        self._closed_segment = False
        self._position_s = 0.0
        self._playing = asyncio.Event()
        self._playing.set()
        self._task: asyncio.Task[None] | None = None
        self.heard = bytearray()
        self.captured = bytearray()
        self.pauses = 0
        self.finished: list[io.PlaybackFinishedEvent] = []
        self.on("playback_finished", self.finished.append)

    @property
    def heard_s(self) -> float:
        """Seconds played since the start."""
        return len(self.heard) / 2 / self._rate

    async def capture_frame(self, frame: rtc.AudioFrame) -> None:
        await super().capture_frame(frame)
        self._queue += bytes(frame.data)
        self.captured += bytes(frame.data)
        if self._task is None or self._task.done():
            self._closed_segment = False
            self._position_s = 0.0
            self.on_playback_started(created_at=time.time())
            self._task = asyncio.create_task(self._play())

    def flush(self) -> None:
        super().flush()
        self._closed_segment = True

    def clear_buffer(self) -> None:
        if self._task is not None and not self._task.done():
            self._task.cancel()
            self._queue.clear()
            self.on_playback_finished(playback_position=self._position_s, interrupted=True)

    def pause(self) -> None:
        super().pause()
        self.pauses += 1
        self._playing.clear()

    def resume(self) -> None:
        super().resume()
        self._playing.set()

    async def _play(self) -> None:
        step = int(self._rate * FRAME_S) * 2
        while self._queue or not self._closed_segment:
            await self._playing.wait()
            chunk = bytes(self._queue[:step])
            del self._queue[:step]
            self.heard += chunk
            self._position_s += len(chunk) / 2 / self._rate
            await asyncio.sleep(FRAME_S)
        self.on_playback_finished(playback_position=self._position_s, interrupted=False)

    async def aclose(self) -> None:
        if self._task is not None:
            await utils.aio.cancel_and_wait(self._task)
