"""Spoken sentences in real time, through the live stream and through LiveKit's StreamAdapter.

Both get the same frames at the same pace and learn the end of speech from the same voice
detector, silero with LiveKit's defaults: its end of speech flushes the live stream, as
AgentSession does, and starts the recognition inside the adapter. The final delay counts from there.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from livekit.agents import APIConnectOptions, LanguageCode, stt, utils
from livekit.agents.stt import SpeechEventType as Kind
from livekit.agents.types import NotGivenOr
from livekit.agents.vad import VAD, VADEventType

from livekit.plugins import faster_whisper, silero
from livekit.plugins.faster_whisper.audio import pcm_of, to_float
from livekit.plugins.faster_whisper.models import ModelSpec, choose_hardware, find_model
from tests.speech import render

from .stt_scorecard import frames, plain

SENTENCES: tuple[tuple[str, str], ...] = (
    ("what time is it", "en-us"),
    ("remember that my name is alice", "en-us+f3"),
    ("what is two plus three", "en-us+m4"),
    ("set a timer for ten minutes", "en-us"),
    ("where is my order", "en-us+f4"),
    ("what is the weather in london", "en-us"),
    ("book a table for four at ten", "en-us+m7"),
    ("turn on the lights in the kitchen", "en-us+f3"),
    ("my order number is four five six seven", "en-us"),
    ("i want to talk to a human", "en-us+m4"),
    ("yes please", "en-us"),
    ("tell me a joke", "en-us+f4"),
)
_LEAD_S, _TRAIL_S = 0.4, 1.0
_FRAME_S = 0.02


@dataclass
class Run:
    """What one recogniser made of one sentence; times are seconds of the wall clock."""

    reference: str
    onset_at: float = 0.0
    end_known_at: float | None = None
    final_at: float | None = None
    interims: list[tuple[float, str, str]] = field(default_factory=list)
    """When, the text, and its confirmed part."""
    finals: list[str] = field(default_factory=list)

    @property
    def final(self) -> str:
        """All finals as one text."""
        return " ".join(self.finals)

    @property
    def final_delay_s(self) -> float | None:
        """From the moment that the end of speech was known."""
        if self.final_at is None or self.end_known_at is None:
            return None
        return max(0.0, self.final_at - self.end_known_at)

    @property
    def changed_after_confirmed(self) -> int:
        """Confirmed words that the next interim, or the final, does not have at their place."""
        changed = 0
        texts = [*(part for _, _, part in self.interims), self.final]
        for earlier, later in itertools.pairwise(text.split() for text in texts):
            same = sum(a == b for a, b in zip(earlier, later, strict=False))
            changed += len(earlier) - same
        return changed


class SegmentedWhisper(stt.STT[str]):
    """faster-whisper as it is commonly put behind LiveKit: `transcribe()` on finished speech."""

    def __init__(self, model: str) -> None:
        """Loads the model."""
        from faster_whisper import WhisperModel

        super().__init__(capabilities=stt.STTCapabilities(streaming=False, interim_results=False))
        spec = ModelSpec(model)
        hardware = choose_hardware(spec)
        self._model: Any = WhisperModel(
            str(find_model(spec)),
            device=hardware.device,
            compute_type=hardware.compute_type,
            cpu_threads=hardware.cpu_threads,
        )

    async def _recognize_impl(
        self,
        buffer: utils.AudioBuffer,
        *,
        language: NotGivenOr[str] = "en",
        conn_options: APIConnectOptions,
    ) -> stt.SpeechEvent:
        samples = to_float(pcm_of(buffer))

        def transcribe() -> str:
            segments, _ = self._model.transcribe(samples, language="en")
            return " ".join(segment.text.strip() for segment in segments)

        text = await asyncio.to_thread(transcribe)
        return stt.SpeechEvent(
            Kind.FINAL_TRANSCRIPT,
            alternatives=[stt.SpeechData(language=LanguageCode("en"), text=text)],
        )


async def _play(stream: stt.RecognizeStream, text: str, voice: str, run: Run) -> None:
    spoken = render(text, voice)
    silence = np.zeros(int(16000 * _TRAIL_S), np.float32)
    lead = int(16000 * _LEAD_S)
    audio = np.concatenate([silence[:lead], spoken.samples, silence])
    began = time.perf_counter()
    run.onset_at = began + _LEAD_S
    for index, frame in enumerate(frames(audio)):
        stream.push_frame(frame)
        # A frame is there when it has been spoken.
        await asyncio.sleep(max(0.0, began + (index + 1) * _FRAME_S - time.perf_counter()))


async def _read(events: AsyncIterator[stt.SpeechEvent], run: Run) -> None:
    async for event in events:
        now = time.perf_counter()
        if event.type is Kind.END_OF_SPEECH and run.end_known_at is None:
            run.end_known_at = now
        elif event.type is Kind.INTERIM_TRANSCRIPT and event.alternatives[0].text:
            data = event.alternatives[0]
            confirmed = str((data.metadata or {}).get("confirmed_text", ""))
            run.interims.append((now, data.text, confirmed))
        elif event.type is Kind.FINAL_TRANSCRIPT and event.alternatives[0].text:
            run.finals.append(event.alternatives[0].text)
            run.final_at = now


async def _ours(recogniser: faster_whisper.STT, vad: VAD, text: str, voice: str) -> Run:
    run = Run(text)
    stream, ears = recogniser.stream(), vad.stream()

    async def flush_at_the_end() -> None:
        async for event in ears:
            if event.type is VADEventType.END_OF_SPEECH:
                run.end_known_at = time.perf_counter()
                stream.flush()

    push = stream.push_frame

    class Both:
        """Gives each frame to the recogniser and to the detector that judges the end."""

        def push_frame(self, frame: Any) -> None:
            push(frame)
            ears.push_frame(frame)

    flushing = asyncio.create_task(flush_at_the_end())
    reading = asyncio.create_task(_read(stream, run))
    await _play(Both(), text, voice, run)  # type: ignore[arg-type]
    ears.end_input()
    await flushing
    stream.end_input()
    await reading
    await stream.aclose()
    await ears.aclose()
    return run


async def _stock(adapter: stt.StreamAdapter, text: str, voice: str) -> Run:
    run = Run(text)
    stream = adapter.stream()
    reading = asyncio.create_task(_read(stream, run))
    await _play(stream, text, voice, run)
    stream.end_input()
    await reading
    await stream.aclose()
    return run


async def measure_live(model: str, sentences: int) -> tuple[list[Run], list[Run]]:
    """Plays sentences to both in turn, and returns ours and the stock adapter's."""
    vad = silero.VAD.load()
    # The end of speech is the detector's business here, so the stream's own comes later.
    recogniser = faster_whisper.STT(model=model, language="en", min_silence=2.0)
    await recogniser.recognize(frames(render("yes").samples))
    adapter = stt.StreamAdapter(stt=SegmentedWhisper(model), vad=vad)
    await adapter.recognize(frames(render("yes").samples))
    ours, stock = [], []
    for index in range(sentences):
        text, voice = SENTENCES[index % len(SENTENCES)]
        ours.append(await _ours(recogniser, vad, text, voice))
        stock.append(await _stock(adapter, text, voice))
    await recogniser.aclose()
    await adapter.aclose()
    return ours, stock


def percentile(values: Sequence[float], share: float) -> float | None:
    """Returns the value below which a share (0 to 1) of the values lie."""
    return float(np.percentile(values, 100 * share)) if values else None


def word_error_rate(pairs: Sequence[tuple[str, str]]) -> float:
    """Returns edits over spoken words, for pairs of what was said and what was heard."""
    edits = words = 0
    for said, heard in pairs:
        reference, hypothesis = plain(said).split(), plain(heard).split()
        row = list(range(len(hypothesis) + 1))
        for i, word in enumerate(reference, 1):
            previous, row[0] = row[0], i
            for j, other in enumerate(hypothesis, 1):
                cost = min(row[j] + 1, row[j - 1] + 1, previous + (word != other))
                previous, row[j] = row[j], cost
        edits += row[-1]
        words += len(reference)
    return edits / words if words else 0.0


def summary(runs: Sequence[Run]) -> dict[str, Any]:
    """Returns the figures of one recogniser; times in ms, None where there is nothing to tell."""
    delays = [1000 * run.final_delay_s for run in runs if run.final_delay_s is not None]
    gaps = [
        1000 * (later[0] - earlier[0])
        for run in runs
        for earlier, later in itertools.pairwise(run.interims)
    ]
    first = [1000 * (run.interims[0][0] - run.onset_at) for run in runs if run.interims]
    shares = [
        len(run.interims[-1][2].split()) / max(1, len(run.final.split()))
        for run in runs
        if run.interims
    ]
    partial_pairs = [(run.reference, run.interims[-1][1]) for run in runs if run.interims]
    return {
        "utterances": len(runs),
        "final_delay_ms_p50": percentile(delays, 0.5),
        "final_delay_ms_p95": percentile(delays, 0.95),
        "partial_every_ms_p50": percentile(gaps, 0.5),
        "first_word_delay_ms_p50": percentile(first, 0.5),
        "confirmed_before_end": float(np.mean(shares)) if shares else None,
        "changed_after_confirmed": sum(run.changed_after_confirmed for run in runs),
        "wer_partial": word_error_rate(partial_pairs) if partial_pairs else None,
        "wer_final": word_error_rate([(run.reference, run.final) for run in runs]),
    }
