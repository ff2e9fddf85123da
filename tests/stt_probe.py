"""Plays audio into a recognition in step with its engine, and sorts what comes out."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from livekit.agents.stt import SpeechEvent, SpeechEventType

from livekit import rtc
from livekit.plugins import faster_whisper

from .speech import Samples, to_pcm16


def silence(seconds: float) -> Samples:
    """Digital silence at 16 kHz."""
    return np.zeros(int(16000 * seconds), np.float32)


def frames(
    samples: Samples, *, sample_rate: int = 16000, channels: int = 1, frame_ms: int = 20
) -> Iterator[rtc.AudioFrame]:
    """Cuts audio into frames; the last is padded with silence."""
    count = sample_rate * frame_ms // 1000
    padded = np.pad(samples, (0, -len(samples) % count))
    for start in range(0, len(padded), count):
        pcm = np.frombuffer(to_pcm16(padded[start : start + count]), np.int16)
        yield rtc.AudioFrame(
            data=np.repeat(pcm, channels).tobytes(),
            sample_rate=sample_rate,
            num_channels=channels,
            samples_per_channel=count,
        )


@dataclass
class Heard:
    """What a stream sent."""

    events: list[SpeechEvent] = field(default_factory=list)

    def of(self, kind: SpeechEventType) -> list[SpeechEvent]:
        return [event for event in self.events if event.type is kind]

    def texts(self, kind: SpeechEventType) -> list[str]:
        return [event.alternatives[0].text for event in self.of(kind)]

    @property
    def finals(self) -> list[str]:
        return self.texts(SpeechEventType.FINAL_TRANSCRIPT)

    @property
    def kinds(self) -> list[str]:
        """The events' kinds in order, repetitions and usage left out."""
        out: list[str] = []
        for event in self.events:
            if (
                event.type is not SpeechEventType.RECOGNITION_USAGE
                and [event.type.value] != out[-1:]
            ):
                out.append(event.type.value)
        return out


async def collect(stream: faster_whisper.RecognizeStream, heard: Heard | None = None) -> Heard:
    """Reads a stream to its end."""
    heard = heard or Heard()
    async for event in stream:
        heard.events.append(event)
    return heard


async def settled(stream: faster_whisper.RecognizeStream) -> None:
    """Waits until a stream has dealt with all that was pushed."""
    while not stream.caught_up:
        await asyncio.sleep(0.001)


async def arrived(heard: Heard, kind: SpeechEventType) -> None:
    """Waits until an event has reached its reader, which may be later than it was sent."""
    while not heard.of(kind):
        await asyncio.sleep(0.001)


async def play(
    stream: faster_whisper.RecognizeStream, samples: Samples, *, step_s: float = 0.1
) -> None:
    """Pushes audio in small steps and lets the engine keep up after each.

    The stream then sees what it would see in real time on a machine that is fast enough, however
    slow this one is.
    """
    step = int(16000 * step_s)
    for start in range(0, len(samples), step):
        for frame in frames(samples[start : start + step]):
            stream.push_frame(frame)
        await settled(stream)


async def transcribe(stream: faster_whisper.RecognizeStream, samples: Samples) -> Heard:
    """Plays audio to its end and returns all that came out."""
    reading = asyncio.create_task(collect(stream))
    await play(stream, samples)
    stream.end_input()
    heard = await reading
    await stream.aclose()
    return heard
