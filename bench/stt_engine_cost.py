"""What live partials cost at the real sizes of Whisper, with random weights.

The whole policy runs: windows, cuts, speculative finals, batches. Only the text is put in by hand,
since random weights write none: each run decodes as many tokens as the words in its window have,
and then gets those words.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from livekit.agents import APIConnectOptions
from livekit.agents.stt import SpeechEventType as Kind

from livekit.plugins import faster_whisper
from livekit.plugins.faster_whisper.audio import to_float
from livekit.plugins.faster_whisper.decode import WhisperDecoder
from livekit.plugins.faster_whisper.engine import Engine
from livekit.plugins.faster_whisper.job import Decoded, Job
from livekit.plugins.faster_whisper.models import ModelSpec
from livekit.plugins.faster_whisper.options import Options
from tests.speech import render, to_pcm16

from .random_whisper import make_random_whisper
from .stt_scorecard import pcm_frames

SENTENCES = (
    "I would like to change the address on my account because we moved last month.",
    "The new place is on the other side of the river, close to the old station.",
    "Could you also tell me when the next bill is due and how I can pay it?",
    "My neighbour said that there is a cheaper plan for people who work from home.",
    "We have not had any trouble with the line since the new box was put in.",
    "But in the evening the picture sometimes stops for a second or two.",
    "If somebody has to come and look at it, Tuesday morning would be best for me.",
    "And please send the letter to my office, because nobody is at home before six.",
)
_GAPS_S = (0.3, 0.8)
_TOKENS_PER_WORD = 1.35
_STREAMS = (1, 2, 4, 8)
_REAL_TIME_S = 10.0

Samples = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Script:
    """Speech, and where each of its words lies."""

    pcm: bytes
    words: tuple[faster_whisper.Word, ...]

    @property
    def duration_s(self) -> float:
        """Seconds."""
        return len(self.pcm) / 32000

    def within(self, samples: Samples) -> tuple[faster_whisper.Word, ...]:
        """Returns the words that can be heard in a window cut from this speech."""
        window = np.round(samples * 32768).astype("<i2").tobytes()
        start = self.pcm.find(window[:64000])
        if start < 0:
            return ()
        start_s, end_s = start / 32000, (start + len(window)) / 32000
        return tuple(
            replace(word, start=word.start - start_s, end=word.end - start_s)
            for word in self.words
            if word.start >= start_s - 0.1 and word.end <= end_s
        )


def write_script() -> Script:
    """Renders the sentences, with a little noise so that no two windows are equal."""
    pieces: list[Samples] = [np.zeros(8000, np.float32)]
    words: list[faster_whisper.Word] = []
    for index, sentence in enumerate(SENTENCES):
        at = sum(map(len, pieces)) / 16000
        spoken = render(sentence)
        ends = (*spoken.word_starts[1:], spoken.duration)
        texts = sentence.split()
        for place, (start, end) in enumerate(zip(spoken.word_starts, ends, strict=True)):
            # Where espeak-ng speaks two words as one, the texts run out of step; no matter here.
            text = texts[min(place, len(texts) - 1)]
            words.append(faster_whisper.Word(" " + text, at + start, at + end, 0.9))
        pieces += [spoken.samples, np.zeros(int(16000 * _GAPS_S[index % 2]), np.float32)]
    audio = np.concatenate(pieces)
    audio = audio + np.random.default_rng(1).normal(0, 1e-4, len(audio)).astype(np.float32)
    return Script(to_pcm16(audio), tuple(words))


class ScriptedDecoder(WhisperDecoder):
    """A model with random weights that is told what it heard."""

    def __init__(self, folder: Path, script: Script) -> None:
        """Loads it."""
        super().__init__(ModelSpec(str(folder)))
        self._script = script
        self._limit = 1

    def _token_limit(self, duration_s: float) -> int:
        return self._limit

    def decode(self, jobs: Sequence[Job]) -> list[Decoded]:
        """Runs the model for as many tokens as there are to write, then puts the words in."""
        heard = [self._script.within(job.samples) for job in jobs]
        self._limit = max(1, round(_TOKENS_PER_WORD * max(map(len, heard))))
        results = super().decode(jobs)
        return [
            replace(
                result,
                words=words,
                mean_log_probability=-0.1,
                no_speech_probability=0.0,
                doubt=None,
            )
            for result, words in zip(results, heard, strict=True)
        ]


class _MemoryWatch:
    """The largest resident set while it is open, in MB."""

    def __init__(self) -> None:
        self.peak_mb = 0.0
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> _MemoryWatch:
        self._task = asyncio.create_task(self._watch())
        return self

    async def __aexit__(self, *error: object) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    async def _watch(self) -> None:
        while True:
            self.peak_mb = max(self.peak_mb, _resident_mb())
            await asyncio.sleep(0.05)


def _resident_mb() -> float:
    statm = Path("/proc/self/statm")
    if statm.is_file():
        return int(statm.read_text().split()[1]) * resource.getpagesize() / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def _stream(engine: Engine) -> faster_whisper.RecognizeStream:
    return faster_whisper.RecognizeStream(
        stt=faster_whisper.STT(),
        engine=lambda: engine,
        options=Options(),
        conn_options=APIConnectOptions(timeout=60),
    )


async def _count(stream: faster_whisper.RecognizeStream) -> dict[str, Any]:
    times: list[float] = []
    finals = 0
    async for event in stream:
        if event.type is Kind.INTERIM_TRANSCRIPT:
            times.append(time.perf_counter())
        finals += event.type is Kind.FINAL_TRANSCRIPT
    gaps = [b - a for a, b in itertools.pairwise(times)]
    return {"interims": len(times), "finals": finals, "gaps": gaps}


async def _ours(decoder: ScriptedDecoder, script: Script) -> dict[str, Any]:
    """Every partial that falls due is made: the machine is given the time that it needs."""
    engine = Engine(lambda: decoder)
    await engine.wait_until_loaded()
    stream = _stream(engine)
    counting = asyncio.create_task(_count(stream))
    began = time.process_time()
    for frame in pcm_frames(script.pcm, frame_ms=50):
        stream.push_frame(frame)
        looks = 0
        while looks < 2:
            await asyncio.sleep(0.0005)
            looks = looks + 1 if stream.caught_up else 0
    stream.end_input()
    counts = await counting
    used = time.process_time() - began
    await stream.aclose()
    engine.close()
    return {
        "policy": "ours",
        "partials": counts["interims"],
        "cpu_s_per_speech_s": used / script.duration_s,
    }


def _whole_windows(decoder: ScriptedDecoder, script: Script, every: int) -> dict[str, Any]:
    """The last 30 s padded to 30 s, decoded again every 250 ms in which somebody spoke."""
    audio = to_float(script.pcm)
    points = [
        end
        for end in range(4000, len(audio), 4000)
        if any(word.start < end / 16000 < word.end + 0.25 for word in script.words)
    ]
    measured = points[every // 2 :: every]
    began = time.process_time()
    for end in measured:
        window = audio[max(0, end - 30 * 16000) : end]
        decoder.decode([Job(window, audio_ctx="full", is_final=False)])
    used = (time.process_time() - began) * len(points) / len(measured)
    return {
        "policy": "30 s windows",
        "partials": len(points),
        "measured": len(measured),
        "cpu_s_per_speech_s": used / script.duration_s,
    }


async def _in_real_time(decoder: ScriptedDecoder, script: Script, count: int) -> dict[str, Any]:
    engine = Engine(lambda: decoder)
    await engine.wait_until_loaded()
    streams = [_stream(engine) for _ in range(count)]
    counting = [asyncio.create_task(_count(stream)) for stream in streams]
    pieces = pcm_frames(script.pcm[: int(_REAL_TIME_S * 32000)])
    cpu, began = time.process_time(), time.perf_counter()
    async with _MemoryWatch() as memory:
        for index, _ in enumerate(pieces):
            for place, stream in enumerate(streams):
                # Callers don't speak in step with each other.
                stream.push_frame(pieces[(index + 31 * place) % len(pieces)])
            await asyncio.sleep(max(0.0, began + (index + 1) * 0.02 - time.perf_counter()))
        asked_at = time.perf_counter()
        for stream in streams:
            stream.end_input()
        counts = await asyncio.gather(*counting)
    used = time.process_time() - cpu
    statistics = engine.statistics()
    for stream in streams:
        await stream.aclose()
    engine.close()
    gaps = [gap for one in counts for gap in one["gaps"]]
    return {
        "streams": count,
        "cpu_s_per_speech_s_and_stream": used / (_REAL_TIME_S * count),
        "partial_every_ms_p50": 1000 * float(np.median(gaps)) if gaps else None,
        "mean_batch_size": statistics.mean_batch_size,
        "max_final_wait_ms": 1000 * statistics.max_final_wait_s,
        "all_finals_after_end_ms": 1000 * (time.perf_counter() - asked_at),
        "finals": sum(one["finals"] for one in counts),
        "peak_mb": memory.peak_mb,
    }


async def measure_engine_cost(size: str) -> dict[str, Any]:
    """Returns the cost of partials, ours and naive, and of 1 to 8 streams on one engine."""
    script = write_script()
    with tempfile.TemporaryDirectory() as name:
        print(f"making a random Whisper {size} ...", file=sys.stderr)
        folder = Path(name)
        await asyncio.to_thread(make_random_whisper, folder, size)
        decoder = await asyncio.to_thread(ScriptedDecoder, folder, script)
        decoder.decode([Job(np.zeros(32000, np.float32))])
        print("one stream, all partials ...", file=sys.stderr)
        ours = await _ours(decoder, script)
        print("30 s windows ...", file=sys.stderr)
        naive = await asyncio.to_thread(_whole_windows, decoder, script, 10)
        rows = []
        for count in _STREAMS:
            print(f"{count} streams in real time ...", file=sys.stderr)
            rows.append(await _in_real_time(decoder, script, count))
    first, last = rows[0], rows[-1]
    return {
        "threads": decoder.hardware.cpu_threads,
        "cores": os.cpu_count(),
        "speech_s": script.duration_s,
        "partials": [ours, naive],
        "ratio": ours["cpu_s_per_speech_s"] / naive["cpu_s_per_speech_s"],
        "streams": rows,
        "mb_per_stream": (last["peak_mb"] - first["peak_mb"]) / (last["streams"] - 1),
    }
