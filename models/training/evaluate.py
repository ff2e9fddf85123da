"""What the bundled model hears: ``uv run python -m models.training.evaluate``.

Voices that were never trained on, in grammar, through the real faster-whisper. Needs no torch.
Exits with status 1 when English is above 5 % or anything is heard where nobody speaks.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from faster_whisper import WhisperModel

from models.training import channel, tokens
from models.training.grammar import (
    ENGLISH,
    MANDARIN,
    Utterance,
    english,
    sample_english,
    sample_mandarin,
)
from models.training.speech import (
    HELD_OUT_VARIANTS,
    PLAIN_VOICE,
    SAMPLE_RATE,
    UNTOUCHED_VARIANTS,
    Audio,
    Spoken,
    Synthesizer,
    Voice,
    sample_voice,
)

BUNDLED = Path("plugins/livekit/plugins/faster_whisper/bundled")
WORST_WORD_ERROR_RATE = 0.05
DEMO = (
    "hello.",
    "what time is it?",
    "what is two plus three?",
    "remember that my name is alice.",
    "what is my name?",
    "goodbye.",
    "stop.",
    "tell me a story.",
    "wait.",
    "thank you.",
    "set a timer for five minutes.",
    "count to ten.",
    "count to twenty.",
    "what can you do?",
)
DEMO_RATES = (140, 160, 175, 190, 210)


def units(text: str, language: str) -> list[str]:
    """What errors are counted in: lower-case words, or single characters of Mandarin."""
    if language == MANDARIN:
        return re.findall(r"[\u4e00-\u9fff]", text)
    return re.sub(r"[^a-z ]", "", text.lower()).split()


def edit_distance(reference: list[str], hypothesis: list[str]) -> int:
    """Substitutions, deletions and insertions between the two (Levenshtein 1966)."""
    row = list(range(len(hypothesis) + 1))
    for index, expected in enumerate(reference, 1):
        diagonal, row[0] = row[0], index
        for column, got in enumerate(hypothesis, 1):
            substituted = diagonal + (expected != got)
            diagonal = row[column]
            row[column] = min(row[column] + 1, row[column - 1] + 1, substituted)
    return row[-1]


@dataclass
class Score:
    """Errors over a set of recordings."""

    clips: int = 0
    errors: int = 0
    units: int = 0
    perfect: int = 0
    wrong: list[str] = field(default_factory=list)
    voices: dict[str, list[int]] = field(default_factory=dict)
    """Errors and units by voice variant."""

    @property
    def rate(self) -> float:
        """Word or character error rate."""
        return self.errors / max(1, self.units)

    def add(self, utterance: Utterance, heard: str, voice: str = "") -> None:
        """Counts one transcript."""
        expected = units(utterance.text, utterance.language)
        errors = edit_distance(expected, units(heard, utterance.language))
        self.clips += 1
        self.units += len(expected)
        self.errors += errors
        self.perfect += errors == 0
        counts = self.voices.setdefault(voice.rpartition("+")[2], [0, 0])
        counts[0] += errors
        counts[1] += len(expected)
        if errors:
            self.wrong.append(f"{voice}: {utterance.text!r} heard as {heard!r}")


class Listener:
    """The real faster-whisper on one thread."""

    def __init__(self, folder: Path) -> None:
        self.whisper = WhisperModel(str(folder), device="cpu", compute_type="int8", cpu_threads=1)

    def text(self, audio: Audio, language: str | None = ENGLISH, **options: Any) -> str:
        """The transcript; ``language=None`` has it detected."""
        segments, _ = self.whisper.transcribe(
            audio, language=language, condition_on_previous_text=False, **options
        )
        return "".join(segment.text for segment in segments).strip()

    def short_window_text(self, audio: Audio, language: str, slack_s: float) -> str:
        """The transcript from an encoder window of the sound and ``slack_s`` of padding."""
        features = self.whisper.feature_extractor(audio)[:, :-1]
        frames = features.shape[1] + int(slack_s * 100)
        frames += 2 * (frames in (159, 160))  # 80 positions CTranslate2 would take for mel bands
        padded = np.pad(features, ((0, 0), (0, frames - features.shape[1])))
        prompt = [
            tokens.SOT,
            tokens.LANGUAGES[language],
            tokens.TRANSCRIBE,
            tokens.NO_TIMESTAMPS,
        ]
        result = self.whisper.model.generate(self.whisper.encode(padded), [prompt], beam_size=1)
        return str(self.whisper.hf_tokenizer.decode(result[0].sequences_ids[0])).strip()

    def no_speech(self, audio: Audio) -> float:
        """The model's own probability that nobody speaks."""
        features = self.whisper.feature_extractor(audio)[:, :-1]
        padded = np.pad(features, ((0, 0), (0, 3000 - features.shape[1])))
        result = self.whisper.model.generate(
            self.whisper.encode(padded), [[tokens.SOT]], max_length=2, return_no_speech_prob=True
        )
        return float(result[0].no_speech_prob)


def held_out(
    synthesizer: Synthesizer,
    language: str,
    count: int,
    seed: int,
    variants: tuple[str, ...] = HELD_OUT_VARIANTS,
) -> Iterator[tuple[Spoken, Audio, str]]:
    """Sentences in held-out voices: as spoken, as heard through a room or a call, and the voice."""
    rng, noise_rng = random.Random(seed), np.random.default_rng(seed)
    sample = sample_english if language == ENGLISH else sample_mandarin
    for _ in range(count):
        voice = sample_voice(rng, language, variants)
        spoken = synthesizer.speak(sample(rng, salad=0.0), voice, rng)
        lead = np.zeros(int(rng.uniform(0, 0.6) * SAMPLE_RATE), np.float32)
        yield spoken, channel.as_heard(np.concatenate([lead, spoken.audio]), noise_rng), voice.name


def demo_recordings(synthesizer: Synthesizer) -> Iterator[tuple[Utterance, Audio]]:
    """The demo's sentences in espeak-ng's plain voice at several rates, as is and after Opus."""
    rng = random.Random(0)
    pause = np.zeros(SAMPLE_RATE // 4, np.float32)
    for sentence in DEMO:
        for rate in DEMO_RATES:
            spoken = synthesizer.speak(english(sentence), Voice(PLAIN_VOICE, rate), rng)
            audio = np.concatenate([pause, spoken.audio, pause])
            yield spoken.utterance, audio
            yield spoken.utterance, channel.through_opus(audio, 24_000)


def word_time_errors(listener: Listener, recordings: Iterable[Spoken]) -> list[float]:
    """Seconds between where a word starts and where the alignment says, for right transcripts."""
    errors: list[float] = []
    for spoken in recordings:
        segments, _ = listener.whisper.transcribe(
            spoken.audio, language=spoken.utterance.language, beam_size=1, word_timestamps=True
        )
        words = [word for segment in segments for word in segment.words or []]
        if len(words) == len(spoken.spans):
            pairs = zip(words, spoken.spans, strict=True)
            errors += [abs(float(word.start) - start) for word, (start, _) in pairs]
    return errors


def evaluate(folder: Path, count: int, seed: int) -> tuple[dict[str, Any], list[str]]:
    """Measures everything.

    Returns:
        The figures, and the transcripts that were wrong.
    """
    listener, synthesizer = Listener(folder), Synthesizer()
    scores = {
        name: Score()
        for name in (
            "english",
            "english_greedy",
            "english_short_window",
            "english_untouched_voices",
            "mandarin",
            "demo",
        )
    }
    detected = detectable = 0
    clean: list[Spoken] = []
    for language, name, size in (
        (ENGLISH, "english", count),
        (MANDARIN, "mandarin", count // 3),
    ):
        for spoken, audio, voice in held_out(synthesizer, language, size, seed):
            scores[name].add(spoken.utterance, listener.text(audio, language), voice)
            if language == ENGLISH:
                greedy = listener.text(audio, language, beam_size=1, without_timestamps=True)
                scores["english_greedy"].add(spoken.utterance, greedy)
                short = listener.short_window_text(audio, language, slack_s=1.5)
                scores["english_short_window"].add(spoken.utterance, short)
                clean.append(spoken)
            if len(spoken.audio) > SAMPLE_RATE * 0.8:
                detectable += 1
                detected += listener.whisper.detect_language(audio)[0] == language
    others = held_out(synthesizer, ENGLISH, count // 2, seed, UNTOUCHED_VARIANTS)
    for spoken, audio, voice in others:
        scores["english_untouched_voices"].add(spoken.utterance, listener.text(audio), voice)
    for utterance, audio in demo_recordings(synthesizer):
        scores["demo"].add(utterance, listener.text(audio), PLAIN_VOICE)
    noise_rng = np.random.default_rng(seed)
    wordless = [channel.wordless(noise_rng) for _ in range(count // 2)]
    invented = [text for audio in wordless if (text := listener.text(audio, beam_size=1))]
    no_speech = [listener.no_speech(audio) for audio in wordless]
    times = word_time_errors(listener, clean[:60])
    figures = {
        "word_error_rate": {
            name: round(score.rate, 4) for name, score in scores.items() if name != "mandarin"
        },
        "english_by_voice": {
            voice: round(errors / total, 3)
            for voice, (errors, total) in sorted(scores["english"].voices.items())
        },
        "character_error_rate": {"mandarin": round(scores["mandarin"].rate, 4)},
        "demo_sentences_right": f"{scores['demo'].perfect} of {scores['demo'].clips}",
        "language_detected": f"{detected} of {detectable}",
        "wordless_clips_with_text": f"{len(invented)} of {len(wordless)}",
        "no_speech_probability_of_wordless": {
            "min": round(min(no_speech), 3),
            "median": round(float(np.median(no_speech)), 3),
        },
        "word_start_error_ms_median": round(float(np.median(times)) * 1000) if times else None,
    }
    wrong = [line for name in ("english", "mandarin", "demo") for line in scores[name].wrong]
    return figures, wrong + [f"wordless: heard as {text!r}" for text in invented]


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m models.training.evaluate")
    parser.add_argument("--model", type=Path, default=BUNDLED)
    parser.add_argument("--count", type=int, default=240, help="English sentences")
    parser.add_argument("--seed", type=int, default=999)
    parser.add_argument("--wrong", action="store_true", help="also print what was misheard")
    arguments = parser.parse_args()
    figures, wrong = evaluate(arguments.model, arguments.count, arguments.seed)
    print(json.dumps(figures, indent=2))
    if arguments.wrong:
        print("\n".join(wrong))
    failures = []
    errors = figures["word_error_rate"]["english"]
    if errors > WORST_WORD_ERROR_RATE:
        failures.append(f"{errors:.1%} of the English words are wrong")
    if not figures["wordless_clips_with_text"].startswith("0 "):
        failures.append("words were heard where nobody spoke")
    if failures:
        sys.exit("Not good enough: " + "; ".join(failures))


if __name__ == "__main__":
    main()
