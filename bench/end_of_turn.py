"""How well the end of a turn is told: from the words, and from the sound.

    python -m bench.end_of_turn [--json]

The words: `bench/data/end_of_turn.json`, whole sentences and what stands before their pauses, in
five languages, without punctuation and with a recogniser's habit of a full stop after everything;
how often each is taken for finished, and how long `EndOfTurnPolicy` waits. The lists of words were
made on every first line; every second one is held out. The sound: the sentences of
`bench.turn_set` in several espeak-ng voices, with LiveKit's local audio model asked after 0.1, 0.2
and 0.3 s of silence, and what its answer does to the policy's waits. A synthetic voice has little
of the melody that the model was made for, so this is a lower bound of its worth to people.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime
import json
import statistics
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from livekit.agents import LanguageCode, inference

from agent_worker.hearing.completeness import Completeness, judge
from agent_worker.hearing.end_of_turn_model import SAMPLE_RATE, EndOfTurnModel, Pcm, calibrated
from agent_worker.hearing.turns import EndOfTurnPolicy
from livekit import rtc
from livekit.plugins import espeak

from .machine import machine
from .turn_set import PAUSED, PLAIN, trimmed

DATA = Path(__file__).parent / "data" / "end_of_turn.json"
VOICES = ("en-us", "gmw/en", "gmw/en-GB-scotland", "en-029")
SILENCES_S = (0.1, 0.2, 0.3)
ASKED_AFTER_S = 0.2
"""Seconds of silence after which the policy gets the model's answer."""
_UNSPACED = ("zh",)


@dataclass(frozen=True)
class Line:
    """A text of the labelled set."""

    language: str
    kind: str
    held_out: bool
    over: bool
    text: str
    marked: str
    """As a recogniser writes it that ends all that it hears like a sentence."""


def lines() -> Iterator[Line]:
    """The labelled set: each sentence, and each part of it that ends with a pause."""
    languages = json.loads(DATA.read_text(encoding="utf-8"))
    del languages["about"]
    for language, kinds in languages.items():
        space = "" if language in _UNSPACED else " "
        stop = "。" if language in _UNSPACED else "."
        sentences = [(kind, sentence) for kind, many in kinds.items() for sentence in many]
        for index, (kind, sentence) in enumerate(sentences):
            parts = sentence.split(" | ")
            for end in range(1, len(parts) + 1):
                text = space.join(parts[:end])
                over = end == len(parts)
                mark = "?" if over and kind == "question" else stop
                marked = text[0].upper() + text[1:] + mark
                yield Line(language, kind, index % 2 == 1, over, text, marked)


def judged(chosen: list[Line], *, marked: bool) -> dict[str, Any]:
    """How a part of the labelled set is judged; dictation is counted apart."""

    def shares(group: list[Line]) -> dict[str, float]:
        kinds = Counter(
            judge(line.marked if marked else line.text, language=line.language) for line in group
        )
        return {kind.value: round(kinds[kind] / max(len(group), 1), 3) for kind in Completeness}

    spoken = [line for line in chosen if line.kind != "dictation"]
    return {
        "whole": shares([line for line in spoken if line.over]),
        "before_a_pause": shares([line for line in spoken if not line.over]),
        "before_a_pause_in_dictation": shares(
            [line for line in chosen if line.kind == "dictation" and not line.over]
        ),
    }


def words() -> dict[str, Any]:
    """The whole labelled set."""
    every = list(lines())
    held = [line for line in every if line.held_out]
    return {
        "texts": len(every),
        "held_out": judged(held, marked=False),
        "held_out_with_full_stops": judged(held, marked=True),
        "seen": judged([line for line in every if not line.held_out], marked=False),
        "languages": {
            language: judged([line for line in every if line.language == language], marked=False)
            for language in sorted({line.language for line in every})
        },
    }


@dataclass(frozen=True)
class Silence:
    """The end of a sentence, or a pause in one."""

    text: str
    pcm: Pcm
    """The voice until the silence begins."""
    pause_s: float | None
    """How long the caller pauses; None: the sentence is over."""


async def spoken(text: str, voice: str) -> Pcm:
    """A text in one of espeak-ng's voices, mono at 16 kHz."""
    parts: list[bytes] = []
    resampler: rtc.AudioResampler | None = None
    async with espeak.TTS(voice=voice) as engine, engine.synthesize(text) as stream:
        async for event in stream:
            frame = event.frame
            resampler = resampler or rtc.AudioResampler(frame.sample_rate, SAMPLE_RATE)
            parts += [bytes(f.data) for f in resampler.push(frame)]
    if resampler is not None:
        parts += [bytes(f.data) for f in resampler.flush()]
    return trimmed(np.frombuffer(b"".join(parts), np.int16))


async def silences(voice: str) -> list[Silence]:
    """Every end and every pause of the sentences of the turn benchmark.

    What stands before a pause is spoken with a comma, which gives it the voice of going on.
    """
    out = []
    for sentence in (*PLAIN, *PAUSED):
        pcm = np.zeros(0, np.int16)
        pauses: tuple[float | None, ...] = (*sentence.pauses_s, None)
        for index, pause_s in enumerate(pauses):
            comma = "" if pause_s is None else ","
            pcm = np.concatenate((pcm, await spoken(sentence.parts[index] + comma, voice)))
            out.append(Silence(" ".join(sentence.parts[: index + 1]), pcm, pause_s))
            pcm = np.concatenate((pcm, _silence(pause_s or 0.0)))
    return out


def _silence(seconds: float) -> Pcm:
    return np.zeros(int(seconds * SAMPLE_RATE), np.int16)


def area_under_curve(over: list[float], more: list[float]) -> float:
    """How often an ended turn gets a higher probability than a pause does; 0.5 is chance."""
    pairs = np.subtract.outer(np.array(over), np.array(more))
    return float((pairs > 0).mean() + 0.5 * (pairs == 0).mean())


def wait_s(text: str, probability: float | None = None) -> float:
    """How long the policy waits after these words."""
    policy = EndOfTurnPolicy(clock=lambda: 0.0)
    policy.speech_started()
    policy.speech_ended()
    policy.heard(text, is_final=True, language="en")
    if probability is not None:
        policy.model_says(probability)
    return policy.wait_s()


def waits(cases: list[tuple[Silence, float | None]]) -> dict[str, Any]:
    """What the caller feels: the wait at an end, and how many pauses are taken for one."""
    ends = [wait_s(case.text, said) for case, said in cases if case.pause_s is None]
    pauses = [
        wait_s(case.text, said) < case.pause_s for case, said in cases if case.pause_s is not None
    ]
    return {
        "wait_ms_mean": round(1000 * statistics.mean(ends)),
        "wait_ms_longest": round(1000 * max(ends)),
        "cut_off": sum(pauses),
        "pauses": len(pauses),
    }


def _better(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether one cuts off no more, waits no longer, and is ahead in one of both."""
    here, there = ((row["cut_off"], row["wait_ms_mean"]) for row in (one, other))
    return here != there and here[0] <= there[0] and here[1] <= there[1]


async def sound() -> dict[str, Any]:
    """The audio model: what it tells, what that is worth to the policy, and what it costs."""
    process = psutil.Process()
    before, began = process.memory_info().rss, time.perf_counter()
    model = EndOfTurnModel()
    if not model.prewarm():
        return {"available": False}
    load_s = time.perf_counter() - began
    detector = inference.TurnDetector(version="v1-mini")
    threshold = await detector.unlikely_threshold(LanguageCode("en")) or 0.5
    probabilities: dict[float, tuple[list[float], list[float]]] = {
        silence_s: ([], []) for silence_s in SILENCES_S
    }
    cases: list[tuple[Silence, float | None]] = []
    took_s: list[float] = []
    cpu_s = 0.0
    for voice in VOICES:
        for case in await silences(voice):
            for silence_s in SILENCES_S:
                pcm = np.concatenate((case.pcm, _silence(silence_s)))
                started, cpu = time.perf_counter(), time.process_time()
                said = await model.probability(pcm)
                took_s.append(time.perf_counter() - started)
                cpu_s += time.process_time() - cpu
                if said is None:
                    return {"available": False}
                probabilities[silence_s][case.pause_s is not None].append(said)
                if silence_s == ASKED_AFTER_S:
                    cases.append((case, calibrated(said, threshold)))
    words_alone = waits([(case, None) for case, _ in cases])
    with_model = waits(cases)
    return {
        "available": True,
        "model": "v1-mini",
        "voices": list(VOICES),
        "threshold": threshold,
        "after": {
            str(silence_s): {
                "auc": round(area_under_curve(over, more), 3),
                "over_mean": round(statistics.mean(over), 3),
                "pause_mean": round(statistics.mean(more), 3),
                "over_likely": round(sum(p >= threshold for p in over) / len(over), 3),
                "pause_likely": round(sum(p >= threshold for p in more) / len(more), 3),
            }
            for silence_s, (over, more) in probabilities.items()
        },
        "policy": {"words": words_alone, "words_and_model": with_model},
        "helps": _better(with_model, words_alone),
        "cost": {
            "load_s": round(load_s, 2),
            "memory_mb": round((process.memory_info().rss - before) / 1e6),
            "call_ms_p50": round(1000 * statistics.median(took_s), 1),
            "call_ms_max": round(1000 * max(took_s), 1),
            "call_cpu_ms": round(1000 * cpu_s / len(took_s), 1),
        },
    }


async def measure() -> dict[str, Any]:
    """Both; half a minute on a quiet machine."""
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": machine(),
        "words": words(),
        "sound": await sound(),
    }


def main() -> None:
    """Prints a table, or one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    result = asyncio.run(measure())
    if arguments.json:
        json.dump(result, sys.stdout, ensure_ascii=False)
        print()
        return
    _print(result)


def _print(result: dict[str, Any]) -> None:
    print(f"{result['words']['texts']} texts, {result['date']}, {result['machine']['processor']}")
    print(f"{'taken for':<28}" + "".join(f"{kind.value:>12}" for kind in Completeness))
    for name in ("held_out", "held_out_with_full_stops", "seen"):
        print(name.replace("_", " "))
        for group, shares in result["words"][name].items():
            label = group.replace("_", " ")
            print(f"  {label:<26}" + "".join(f"{share:>12.1%}" for share in shares.values()))
    sound_result = result["sound"]
    if not sound_result["available"]:
        print("the audio model can't be used here")
        return
    print(f"\naudio model {sound_result['model']}, {len(sound_result['voices'])} espeak-ng voices")
    for silence_s, row in sound_result["after"].items():
        print(
            f"  after {silence_s} s: AUC {row['auc']:.2f}, likely over at "
            f"{row['over_likely']:.0%} of the ends and {row['pause_likely']:.0%} of the pauses"
        )
    for name, row in sound_result["policy"].items():
        print(
            f"  {name.replace('_', ' ')}: wait {row['wait_ms_mean']} ms on average, "
            f"{row['cut_off']} of {row['pauses']} pauses cut off"
        )
    print("  " + ", ".join(f"{name} {value}" for name, value in sound_result["cost"].items()))


if __name__ == "__main__":
    main()
