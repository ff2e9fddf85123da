"""First sound and total time of a sentence, streamed and whole, on the same voice in one run."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import onnxruntime as ort
from livekit.agents import tts

from livekit.plugins import piper
from livekit.plugins.piper.engine import Engine, SpeechOptions
from livekit.plugins.piper.graph import WholeVoice

SENTENCES = {
    "2s": "Sure, I can help you with that now.",
    "7s": (
        "The weather will be sunny in the morning, with some clouds in the afternoon, "
        "and about twenty degrees at the coast."
    ),
}


class WholeEngine(Engine):
    """The same voice without the cut: LiveKit's usual way to speak with Piper."""

    def _open_graph(self) -> Any:
        return WholeVoice(self.files.model, 256, self._open_session)


def piper_voices(model: Path) -> tuple[piper.TTS, piper.TTS]:
    """Returns the voice, streaming and whole, on one thread each."""
    streamed = piper.TTS(model=model, num_threads=1)
    whole = piper.TTS(model=model, num_threads=1)
    whole._engine = WholeEngine(piper.find_voice(model), 1)
    for voice in (streamed, whole):
        voice._engine.load()
    return streamed, whole


async def measure_piper(model: Path, repeats: int) -> dict[str, dict[str, float]]:
    """Medians in ms, for each sentence; the two ways take turns."""
    streamed, whole = piper_voices(model)
    found: dict[str, dict[str, float]] = {}
    for name, text in SENTENCES.items():
        runs: dict[str, list[tuple[float, float, float]]] = {"streamed": [], "whole": []}
        for turn in range(repeats + 1):
            for way, voice in (("streamed", streamed), ("whole", whole)):
                run = await time_one(voice, text)
                if turn:  # the first one grows the memory
                    runs[way].append(run)
        first = {way: median(r[0] for r in done) for way, done in runs.items()}
        total = {way: median(r[1] for r in done) for way, done in runs.items()}
        found[name] = {
            "audio_s": round(median(r[2] for r in runs["streamed"]), 2),
            "first_audio_ms": round(first["streamed"], 1),
            "whole_first_audio_ms": round(first["whole"], 1),
            "first_audio_ratio": round(first["streamed"] / first["whole"], 3),
            "total_ms": round(total["streamed"], 1),
            "whole_total_ms": round(total["whole"], 1),
            "total_ratio": round(total["streamed"] / total["whole"], 3),
        }
    return found


async def measure_voice(voice: tts.TTS[Any], repeats: int) -> dict[str, dict[str, float]]:
    """Medians in ms, for each sentence."""
    await time_one(voice, "Warm.")
    found: dict[str, dict[str, float]] = {}
    for name, text in SENTENCES.items():
        runs = [await time_one(voice, text) for _ in range(repeats)]
        found[name] = {
            "audio_s": round(median(r[2] for r in runs), 2),
            "first_audio_ms": round(median(r[0] for r in runs), 2),
            "total_ms": round(median(r[1] for r in runs), 2),
        }
    return found


async def time_one(
    voice: tts.TTS[Any], text: str, clock: Callable[[], float] = time.perf_counter
) -> tuple[float, float, float]:
    """Speaks once; returns ms to the first frame, ms to the last, and seconds of audio."""
    began = clock()
    first, seconds = 0.0, 0.0
    async with voice.synthesize(text) as stream:
        async for event in stream:
            first = first or (clock() - began) * 1000
            seconds += event.frame.duration
    return first, (clock() - began) * 1000, seconds


def difference_db(model: Path) -> float:
    """How far the windows are from the graph as it is in the file, with the noise off."""
    engine = Engine(piper.find_voice(model), 1)
    engine.load()
    options = SpeechOptions(noise_scale=0.0, noise_w_scale=0.0)
    (sentence,) = engine.phonemize(SENTENCES["7s"])
    windows = np.concatenate([part() for part in engine.begin(sentence, options).parts])
    session = ort.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    whole = session.run(None, engine._inputs(sentence.ids, options))[0].reshape(-1)
    error = float(((windows - whole).astype(np.float64) ** 2).mean())
    return round(
        10 * float(np.log10(max(error, 1e-30) / (whole.astype(np.float64) ** 2).mean())), 1
    )
