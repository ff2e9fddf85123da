"""People's own pauses: how often is a caller cut off in one, and how long do they wait at the end?

    python -m bench.pauses [--json] [--turns 12] [--languages en es fr it ru]

A turn is a telephone prompt spoken by a person, halted between two of its words, and another prompt
of the same speaker behind it: one pause inside a sentence and one between sentences, of 0.3 to
1.2 s. Whisper base (real weights) writes what was said before each pause, LiveKit's local audio
model hears it, and `EndOfTurnPolicy` says how long it would wait; all of it on the time of the
audio, so the outcome is the same on any machine. Beside it the stock rule, on the same pauses:
LiveKit's endpointing on voice activity, a fixed silence. The time that recognisers take is left out
on both sides.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime
import json
import math
import statistics
import wave
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from livekit.agents import LanguageCode, inference

from agent_worker.hearing.end_of_turn_model import SAMPLE_RATE, EndOfTurnModel, Pcm, calibrated
from agent_worker.hearing.turns import EndOfTurnPolicy
from livekit import rtc
from livekit.plugins.faster_whisper.audio import pcm_of, to_float
from livekit.plugins.faster_whisper.decode import WhisperDecoder
from livekit.plugins.faster_whisper.job import Decoder, Job
from livekit.plugins.faster_whisper.models import ModelSpec

from .machine import machine
from .real_parts import Recording, prompts, whisper_base
from .turn_set import trimmed

LANGUAGES = ("en", "es", "fr", "it", "ru")
GAPS_S = (0.3, 1.2)
"""The shortest and the longest pause; they lie evenly in between, so no wait fits them by luck."""
STOCK_WAIT_S = 0.55
"""Silero's silence before an end of speech; LiveKit's 0.5 s of endpointing run beside it."""
ASKED_AFTER_S = 0.2
"""Seconds of silence after which the policy gets the audio model's answer."""
TURNS_A_CALL = 4
"""One caller's turns, after which another one calls and the policy knows nothing of them."""
_WORDS = (5, 24)
_LENGTH_S = (1.5, 7.0)
_GOLDEN = (math.sqrt(5) - 1) / 2
_FRAME = SAMPLE_RATE // 100


@dataclass(frozen=True)
class Said:
    """What is known when a voice falls silent."""

    text: str
    probability: float | None
    """Of the audio model, calibrated; None where it was not asked."""
    closing_probability: float | None = None
    """Of the mark at the text's end, by Whisper."""


@dataclass(frozen=True)
class Turn:
    """One caller's turn with two pauses."""

    language: str
    half: Said
    """Up to the pause inside the sentence."""
    rest: Said
    """From there to the sentence's end, for a turn that was cut off in between."""
    whole: Said
    """The sentence."""
    more: Said
    """The sentence behind it."""
    gaps_s: tuple[float, float]
    """Inside the sentence, and behind it."""
    lengths_s: tuple[float, float, float]
    """Of the two halves and the sentence behind them."""


def audio_of(recording: Recording) -> Pcm:
    """A recording from its first to its last sound, mono at 16 kHz."""
    with wave.open(str(recording.path)) as file:
        data, rate = file.readframes(file.getnframes()), file.getframerate()
    frame = rtc.AudioFrame(data, rate, 1, len(data) // 2)
    return trimmed(np.frombuffer(pcm_of(frame), np.int16))


def halted_at(pcm: Pcm) -> int:
    """The sample between two words, near the middle: the quietest tenth of a second there."""
    frames = np.abs(pcm[: len(pcm) // _FRAME * _FRAME].astype(np.float64)).reshape(-1, _FRAME)
    loudness = np.convolve(frames.mean(axis=1), np.ones(10) / 10, mode="same")
    first, last = int(0.35 * len(loudness)), int(0.7 * len(loudness))
    return int((first + np.argmin(loudness[first:last])) * _FRAME)


def gap_s(number: int) -> float:
    """The seconds of a pause: spread evenly, and each unlike the one before."""
    shortest, longest = GAPS_S
    return round(shortest + (longest - shortest) * (number * _GOLDEN % 1.0), 3)


def chosen(language: str, count: int) -> list[tuple[Recording, Pcm]]:
    """As many sentences as asked for, spread over all prompts of a language."""
    fit = []
    for recording in prompts(language):
        words = len(recording.text.split())
        if _WORDS[0] <= words <= _WORDS[1]:
            fit.append(recording)
    step = max(1, len(fit) // (2 * count))
    found: list[tuple[Recording, Pcm]] = []
    for recording in fit[::step]:
        pcm = audio_of(recording)
        if _LENGTH_S[0] <= len(pcm) / SAMPLE_RATE <= _LENGTH_S[1]:
            found.append((recording, pcm))
        if len(found) == count:
            break
    return found


async def hear(decoder: Decoder, model: EndOfTurnModel, language: str, pcm: Pcm) -> Said:
    """What Whisper writes and the audio model thinks of speech that has just fallen silent."""
    silent = np.concatenate((pcm, np.zeros(int(ASKED_AFTER_S * SAMPLE_RATE), np.int16)))
    job = Job(to_float(silent.tobytes()), language=language)
    decoded = await asyncio.to_thread(partial(decoder.decode, [job]))
    words = decoded[0].words
    closing = words[-1].closing_probability if words and words[-1].ends_sentence else None
    said = await model.probability(silent)
    if said is None:
        return Said(decoded[0].text, None, closing)
    detector = inference.TurnDetector(version="v1-mini")
    threshold = await detector.unlikely_threshold(LanguageCode(language)) or 0.5
    return Said(decoded[0].text, calibrated(said, threshold), closing)


async def turns(
    decoder: Decoder, languages: Sequence[str] = LANGUAGES, count: int = 12
) -> list[Turn]:
    """Makes the turns and has them heard."""
    model = EndOfTurnModel()
    made: list[Turn] = []
    for language in languages:
        sentences = chosen(language, count)
        listen = partial(hear, decoder, model, language)
        for place, (_, pcm) in enumerate(sentences):
            _, after = sentences[(place + 1) % len(sentences)]
            at = halted_at(pcm)
            made.append(
                Turn(
                    language=language,
                    half=await listen(pcm[:at]),
                    rest=await listen(pcm[at:]),
                    whole=await listen(pcm),
                    more=await listen(after),
                    gaps_s=(gap_s(2 * len(made)), gap_s(2 * len(made) + 1)),
                    lengths_s=(
                        at / SAMPLE_RATE,
                        (len(pcm) - at) / SAMPLE_RATE,
                        len(after) / SAMPLE_RATE,
                    ),
                )
            )
    return made


@dataclass
class _Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass(frozen=True)
class Pause:
    """What came of one silence."""

    kind: str
    """inside, between, or end."""
    language: str
    gap_s: float | None
    """None: the turn was over."""
    wait_s: float

    @property
    def cut_off(self) -> bool:
        """Whether the caller was still to go on."""
        return self.gap_s is not None and self.wait_s < self.gap_s


def waited(policy: EndOfTurnPolicy, said: Said, *, with_model: bool) -> float:
    """How long the policy waits, from the end of the voice, if nothing else is heard."""
    policy.heard(said.text, is_final=True, closing_probability=said.closing_probability)
    wait_s = policy.wait_s()
    if with_model and said.probability is not None and wait_s > ASKED_AFTER_S:
        policy.model_says(said.probability)
        # what was due before the answer is past
        wait_s = max(policy.wait_s(), ASKED_AFTER_S)
    return wait_s


def played(made: Sequence[Turn], *, with_model: bool) -> Iterator[Pause]:
    """Every silence of every turn, as the policy takes it."""
    clock = _Clock()
    policy = EndOfTurnPolicy(clock=clock)
    language = ""
    for number, turn in enumerate(made):
        if turn.language != language or number % TURNS_A_CALL == 0:
            policy = EndOfTurnPolicy(clock=clock)
            language = turn.language
        spoken = zip(
            ("inside", "between", "end"), turn.lengths_s, (*turn.gaps_s, None), strict=True
        )
        cut_inside = False
        for kind, length_s, gap_s in spoken:
            policy.speech_started()
            clock.now += length_s
            policy.speech_ended()
            said = {
                "inside": turn.half,
                "between": turn.rest if cut_inside else _rest_of(turn),
                "end": turn.more,
            }[kind]
            ended_at = clock.now
            # the language of the recogniser goes with every transcript
            policy.heard("", language=turn.language)
            pause = Pause(kind, turn.language, gap_s, waited(policy, said, with_model=with_model))
            yield pause
            if pause.cut_off or gap_s is None:
                clock.now = ended_at + pause.wait_s
                policy.committed()
            if gap_s is None:
                policy.agent_finished()
                clock.now = ended_at + 5.0
            else:
                clock.now = ended_at + gap_s
            cut_inside = cut_inside or (kind == "inside" and pause.cut_off)


def _rest_of(turn: Turn) -> Said:
    """The sentence's end as it stands in a turn whose beginning is kept."""
    return replace(turn.rest, probability=turn.whole.probability)


def figures(pauses: Sequence[Pause]) -> dict[str, Any]:
    """Cut-offs and waits, and both beside the stock rule's."""

    def rate(kinds: tuple[str, ...], *, stock: bool) -> float:
        gaps = [p for p in pauses if p.kind in kinds and p.gap_s is not None]
        cut = sum(((p.gap_s or 0.0) > STOCK_WAIT_S) if stock else p.cut_off for p in gaps)
        return round(cut / max(1, len(gaps)), 3)

    ends = [p.wait_s for p in pauses if p.gap_s is None]
    both = ("inside", "between")
    ours, stock = rate(both, stock=False), rate(both, stock=True)
    return {
        "pauses": sum(p.gap_s is not None for p in pauses),
        "ends": len(ends),
        "cut_off": ours,
        "cut_off_inside": rate(("inside",), stock=False),
        "cut_off_between": rate(("between",), stock=False),
        "cut_off_stock": stock,
        "cut_off_stock_inside": rate(("inside",), stock=True),
        "cut_off_stock_between": rate(("between",), stock=True),
        "cut_off_ratio": round(ours / max(stock, 1e-9), 2),
        "wait_ms_mean": round(1000 * statistics.mean(ends)),
        "wait_ms_p95": round(1000 * float(np.quantile(ends, 0.95))),
        "wait_ms_stock": round(1000 * STOCK_WAIT_S),
        "wait_ratio": round(statistics.mean(ends) / STOCK_WAIT_S, 2),
    }


async def measure(languages: Sequence[str], count: int) -> dict[str, Any]:
    """The policy with the words alone, and with the audio model."""
    decoder = await asyncio.to_thread(WhisperDecoder, ModelSpec(str(whisper_base()), device="cpu"))
    made = await turns(decoder, languages, count)
    out: dict[str, Any] = {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": machine(),
        "turns": len(made),
    }
    for name, with_model in (("words", False), ("words_and_sound", True)):
        pauses = list(played(made, with_model=with_model))
        out[name] = {
            **figures(pauses),
            "languages": {
                language: figures([p for p in pauses if p.language == language])
                for language in languages
            },
        }
    return out


def main() -> None:
    """Prints a table, or one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--turns", type=int, default=12, help="of each language")
    parser.add_argument("--languages", nargs="+", choices=LANGUAGES, default=LANGUAGES)
    arguments = parser.parse_args()
    result = asyncio.run(measure(arguments.languages, arguments.turns))
    if arguments.json:
        print(json.dumps(result))
        return
    for name in ("words", "words_and_sound"):
        row = result[name]
        print(
            f"{name:<16} cut off {row['cut_off']:.0%} of {row['pauses']} pauses (stock "
            f"{row['cut_off_stock']:.0%}; inside a sentence {row['cut_off_inside']:.0%} and "
            f"{row['cut_off_stock_inside']:.0%}), wait {row['wait_ms_mean']} ms "
            f"(stock {row['wait_ms_stock']} ms)"
        )


if __name__ == "__main__":
    main()
