"""The three that listen: our live stream, plain Whisper, LiveKit's StreamAdapter over it."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from livekit.agents import APIConnectOptions, LanguageCode, stt, utils
from livekit.agents.stt import SpeechEventType as Kind
from livekit.agents.types import NotGivenOr

from livekit.plugins import faster_whisper, silero
from livekit.plugins.faster_whisper.audio import pcm_of, to_float
from livekit.plugins.faster_whisper.models import ModelSpec, choose_hardware

from .hearing_clips import Clip
from .stt_scorecard import frames

_LEAD_S, _TRAIL_S = 0.4, 1.2
_FRAME_S = 0.02
_QUIET = 10 ** (-38 / 20)
"""Below the loudest sample: where a clip's voice is taken to end."""


@dataclass
class Heard:
    """What a listener made of one clip."""

    text: str = ""
    cpu_s: float = 0.0
    """Of this process, divided by the clips that were heard at once."""
    final_delay_ms: float | None = None
    """From the end of the voice until the text stood that the final has."""
    first_partial_ms: float | None = None
    """From the beginning of the voice."""
    changed_after_confirmed: int = 0
    finals: int = 0


class Listener(Protocol):
    """Hears clips at the same time."""

    async def hear(self, clips: Sequence[Clip]) -> list[Heard]:
        """Returns what was heard in each."""
        ...


def voice_of(clip: Clip) -> tuple[float, float]:
    """Returns where the voice begins and ends in a clip, in seconds."""
    level = np.abs(clip.samples)
    loud = np.nonzero(level > _QUIET * level.max())[0]
    return float(loud[0]) / 16000, float(loud[-1] + 1) / 16000


@dataclass
class _Events:
    """What a stream sent for one clip, with the times of the audio clock."""

    began: float = 0.0
    texts: list[tuple[float, str, str]] = field(default_factory=list)
    """When (seconds since the audio began), the whole text so far, and its confirmed part."""
    finals: list[str] = field(default_factory=list)
    first_partial_s: float | None = None

    async def read(self, events: AsyncIterator[stt.SpeechEvent]) -> None:
        async for event in events:
            if not event.alternatives:
                continue
            data, now = event.alternatives[0], time.perf_counter() - self.began
            before = " ".join(self.finals)
            whole = f"{before} {data.text}".strip()
            if event.type is Kind.INTERIM_TRANSCRIPT and data.text and self.first_partial_s is None:
                self.first_partial_s = now
            if event.type is Kind.INTERIM_TRANSCRIPT:
                confirmed = str((data.metadata or {}).get("confirmed_text", ""))
                self.texts.append((now, "", f"{before} {confirmed}".strip()))
            elif event.type in (Kind.PREFLIGHT_TRANSCRIPT, Kind.FINAL_TRANSCRIPT) and data.text:
                self.texts.append((now, whole, ""))
                if event.type is Kind.FINAL_TRANSCRIPT:
                    self.finals.append(data.text)

    def heard(self, clip: Clip, cpu_s: float) -> Heard:
        text = " ".join(self.finals)
        first_s, last_s = voice_of(clip)
        stood = [at for at, whole, _ in self.texts if whole == text]
        return Heard(
            text=text,
            cpu_s=cpu_s,
            final_delay_ms=1000 * (stood[0] - _LEAD_S - last_s) if stood and text else None,
            first_partial_ms=(
                1000 * (self.first_partial_s - _LEAD_S - first_s)
                if self.first_partial_s is not None
                else None
            ),
            changed_after_confirmed=self._changed(text),
            finals=len(self.finals),
        )

    def _changed(self, final: str) -> int:
        """Confirmed words that a later confirmation, or the final, does not have."""
        changed = 0
        parts = [part for _, _, part in self.texts if part]
        for earlier, later in itertools.pairwise([*parts, final]):
            a, b = earlier.split(), later.split()
            changed += len(a) - sum(x == y for x, y in zip(a, b, strict=False))
        return changed


async def _play(stream: Any, clip: Clip, began: float) -> None:
    silence = np.zeros(int(16000 * _TRAIL_S), np.float32)
    lead = silence[: int(16000 * _LEAD_S)]
    audio = np.concatenate([lead, clip.samples, silence])
    for index, frame in enumerate(frames(audio)):
        # A frame is there when it has been spoken.
        await asyncio.sleep(max(0.0, began + (index + 1) * _FRAME_S - time.perf_counter()))
        stream.push_frame(frame)
    stream.end_input()


class _Live:
    def __init__(self, recogniser: stt.STT[Any]) -> None:
        self._recogniser = recogniser

    async def hear(self, clips: Sequence[Clip]) -> list[Heard]:
        cpu = time.process_time()
        events = await asyncio.gather(*(self._one(clip) for clip in clips))
        share = (time.process_time() - cpu) / len(clips)
        return [e.heard(clip, share) for e, clip in zip(events, clips, strict=True)]

    async def _one(self, clip: Clip) -> _Events:
        stream = self._recogniser.stream(language=clip.language)
        events = _Events(began=time.perf_counter())
        reading = asyncio.create_task(events.read(stream))
        await _play(stream, clip, events.began)
        await reading
        await stream.aclose()
        return events


@asynccontextmanager
async def live(model: Path) -> AsyncIterator[Listener]:
    """Ours, on the CPU."""
    async with faster_whisper.STT(model=str(model), language="en", device="cpu") as recogniser:
        await recogniser.recognize(frames(np.zeros(16000, np.float32)))
        yield _Live(recogniser)


class PlainWhisper(stt.STT[str]):
    """faster-whisper as it is commonly put behind LiveKit: `transcribe()` on finished speech."""

    def __init__(self, model: Path) -> None:
        """Loads the model."""
        from faster_whisper import WhisperModel

        super().__init__(capabilities=stt.STTCapabilities(streaming=False, interim_results=False))
        hardware = choose_hardware(ModelSpec(str(model), device="cpu"))
        self._model: Any = WhisperModel(
            str(model),
            device=hardware.device,
            compute_type=hardware.compute_type,
            cpu_threads=hardware.cpu_threads,
        )

    def transcribe(self, samples: Any, language: str) -> str:
        """Returns what faster-whisper makes of it, with a beam of 5."""
        segments, _ = self._model.transcribe(samples, language=language, beam_size=5)
        return " ".join(segment.text.strip() for segment in segments)

    async def _recognize_impl(
        self,
        buffer: utils.AudioBuffer,
        *,
        language: NotGivenOr[str] = "en",
        conn_options: APIConnectOptions,
    ) -> stt.SpeechEvent:
        code = str(language or "en")
        text = await asyncio.to_thread(self.transcribe, to_float(pcm_of(buffer)), code)
        data = stt.SpeechData(language=LanguageCode(code), text=text)
        return stt.SpeechEvent(Kind.FINAL_TRANSCRIPT, alternatives=[data])


@asynccontextmanager
async def adapter(model: Path) -> AsyncIterator[Listener]:
    """LiveKit's StreamAdapter over plain Whisper, with silero's defaults."""
    async with stt.StreamAdapter(stt=PlainWhisper(model), vad=silero.VAD.load()) as recogniser:
        yield _Live(recogniser)


class _Plain:
    def __init__(self, whisper: PlainWhisper) -> None:
        self._whisper = whisper

    async def hear(self, clips: Sequence[Clip]) -> list[Heard]:
        heard = []
        for clip in clips:
            cpu, began = time.process_time(), time.perf_counter()
            text = await asyncio.to_thread(self._whisper.transcribe, clip.samples, clip.language)
            took_ms = 1000 * (time.perf_counter() - began)
            heard.append(Heard(text, time.process_time() - cpu, final_delay_ms=took_ms))
        return heard


@asynccontextmanager
async def plain(model: Path) -> AsyncIterator[Listener]:
    """Plain Whisper on the whole clip: its delay is how long it takes, with nothing overlapped."""
    whisper = PlainWhisper(model)
    async with whisper:
        yield _Plain(whisper)
