"""How steady a voice stays from turn to turn: ten turns of it, compared as voices.

    uv run python -m bench.voice_steadiness [--turns 10] [--higgs URL | --server URL] [--json FILE]

The measure is `bench.voice_likeness`, a stand-in for a speaker encoder: read its figures beside
those of people, which come first. `--higgs` and `--server` measure a cloned or contextual voice on
a server of your own (`--reference`, `--reference-text`); there is none among the parts for tests.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import av
import numpy as np
from livekit.agents import tts

from livekit.plugins import espeak, piper, speech_api

from .machine import machine
from .real_parts import Recording, piper_joe, prompts
from .voice_likeness import RATE, Likeness, Samples, Vector, describe, steadiness

_LANGUAGES = ("en", "es", "fr", "it", "ru")
_WORDS = (8, 22)
"""Fewest and most of a recording: a short one has too few sounds to tell a voice by."""
_PER_TURN = 2


def decoded(path: Path) -> Samples:
    """A file's sound, mono at `RATE`."""
    resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE)
    with av.open(str(path)) as container:
        parts = [
            part.to_ndarray().reshape(-1)
            for frame in (*container.decode(audio=0), None)
            for part in resampler.resample(frame)
        ]
    return np.concatenate(parts).astype(np.float64) / 32768


async def said(voice: tts.TTS[Any], text: str) -> Samples:
    """What a voice makes of a text, mono at `RATE`."""
    frame = await voice.synthesize(text).collect()
    resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE)
    whole = av.AudioFrame.from_ndarray(
        np.frombuffer(bytes(frame.data), np.int16).reshape(1, -1), format="s16", layout="mono"
    )
    whole.sample_rate = frame.sample_rate
    parts = [
        part.to_ndarray().reshape(-1) for one in (whole, None) for part in resampler.resample(one)
    ]
    return np.concatenate(parts).astype(np.float64) / 32768


def _turns_of(language: str) -> list[list[Recording]]:
    fewest, most = _WORDS
    long = [p for p in prompts(language) if fewest <= len(p.text.split()) <= most]
    return [long[i : i + _PER_TURN] for i in range(0, len(long) - _PER_TURN + 1, _PER_TURN)]


def _heard(recordings: Sequence[Recording]) -> Vector:
    return describe(np.concatenate([decoded(one.path) for one in recordings]))


async def run(turns: int, further: dict[str, tts.TTS[Any]]) -> list[dict[str, Any]]:
    """Fits the measure on half of people's recordings, then measures people and voices."""
    spoken = {language: _turns_of(language) for language in _LANGUAGES}
    held_out = {language: all_turns[::2][:turns] for language, all_turns in spoken.items()}
    fitting = {language: all_turns[1::2][: 2 * turns] for language, all_turns in spoken.items()}
    likeness = Likeness.fitted({k: [_heard(t) for t in v] for k, v in fitting.items()})
    told = {f"a person ({k})": [_heard(t) for t in v] for k, v in held_out.items()}
    texts = [" ".join(one.text for one in turn) for turn in held_out["en"]]
    model = piper_joe()
    voices: dict[str, tts.TTS[Any]] = {
        "Piper en_US-joe-medium": piper.TTS(model=str(model), models_dir=model.parent),
        "espeak-ng en": espeak.TTS(language="en"),
        **further,
    }
    for name, voice in voices.items():
        told[name] = [describe(await said(voice, text)) for text in texts]
        await voice.aclose()
    rows = []
    print(f"{'voice':<28}{'mean':>7}{'worst':>7}{'last from first':>17}{'told from others':>18}")
    for name, vectors in told.items():
        others = [vector for other, v in told.items() if other != name for vector in v]
        kept, apart = steadiness(vectors, likeness), likeness.told_apart(vectors, others)
        rows.append(
            {"voice": name, "turns": len(vectors), "told_from_others": round(apart, 3)}
            | {field: round(value, 2) for field, value in asdict(kept).items()}
        )
        figures = f"{kept.mean:>7.2f}{kept.worst:>7.2f}{kept.from_the_first:>17.2f}{apart:>18.1%}"
        print(f"{name:<28}{figures}", flush=True)
    return rows


def main() -> None:
    """Prints a table, and JSON if asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=10)
    parser.add_argument("--server", help="OpenAI-compatible speech server, with /v1")
    parser.add_argument("--higgs", help="Higgs Audio server, with /v1")
    parser.add_argument("--model", help="of that server")
    parser.add_argument("--reference", type=Path, help="recording that is cloned")
    parser.add_argument("--reference-text", help="what is said in it")
    parser.add_argument("--json", type=Path, help="file for the figures")
    options = parser.parse_args()
    if options.turns < 3:
        parser.error("--turns 3 at least")
    asked = {
        "model": options.model,
        "ref_audio": options.reference,
        "ref_text": options.reference_text,
    }
    given = {name: value for name, value in asked.items() if value is not None}
    further: dict[str, tts.TTS[Any]] = {}
    if options.server:
        further["speech server"] = speech_api.TTS(base_url=options.server, **given)
    if options.higgs:
        further["Higgs"] = speech_api.HiggsTTS(base_url=options.higgs, **given)
    told = {
        "machine": machine(),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "measure": "cepstra and pitch, a stand-in for a speaker encoder",
        "unit": "1 = mean distance of two people",
    }
    print(json.dumps(told))
    rows = asyncio.run(run(options.turns, further))
    if options.json:
        options.json.write_text(json.dumps({**told, "voices": rows}, indent=1))


if __name__ == "__main__":
    main()
