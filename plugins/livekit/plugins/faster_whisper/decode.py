"""Runs Whisper on CTranslate2 directly: short windows, prompts before the start, bounded length.

`WhisperModel.transcribe` of faster-whisper pads every piece to 30 s and loops over predicted
timestamps; live speech needs neither. Everything here blocks: only the engine's thread calls it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from .gates import repeats_itself
from .hints import judged_without_hints
from .models import Hardware, ModelSpec, choose_hardware, find_model
from .words import Word, text_of

Samples = npt.NDArray[np.float32]
AudioContext = Literal["auto", "full"]

SAMPLE_RATE = 16000
"""Hertz; the only rate that Whisper knows."""
FULL_FRAMES = 3000
"""Mel frames in Whisper's whole window of 30 s, 10 ms each."""
MAX_SAMPLES = FULL_FRAMES * 160

# Stock weights were trained on whole windows and loop on tight ones, so a short window keeps some
# silence behind the speech; few sizes, so that requests of several streams fit one batch.
_SLACK_FRAMES = 256
_BUCKETS = (600, 800, 1000, 1500, 2000, FULL_FRAMES)
# The bundled model was trained on short windows too.
_BUNDLED_SLACK_FRAMES = 32
_BUNDLED_BUCKETS = (200, 300, 400, 600, 800, 1000, 1500, 2000, FULL_FRAMES)

_MAX_TEXT_TOKENS = 448
_MAX_PROMPT_TOKENS = 50
_TOKENS_PER_S = 12
_MIN_NEW_TOKENS = 12


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """One window of audio to decode."""

    samples: Samples
    """Mono at 16 kHz, 30 s at most."""
    language: str | None = "en"
    """Whisper's code, or None to detect it."""
    prompt: str = ""
    """Text that came before, or that sets the style."""
    keyterms: tuple[str, ...] = ()
    """Words to expect."""
    beam_size: int | None = None
    """None is what suits the device; partials are greedy."""
    audio_ctx: AudioContext | None = None
    """None is what suits the device."""
    is_final: bool = True
    """A final is decoded again over the whole window where the short one led to a loop."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """What the model heard; times are seconds from the start of the job's samples."""

    words: tuple[Word, ...]
    language: str
    language_probability: float
    mean_log_probability: float
    no_speech_probability: float
    frames: int
    """Mel frames encoded, padding included."""
    tokens: int = 0
    """Text tokens written."""
    repeated: bool = False
    """The decoder looped, even over the whole window."""

    @property
    def text(self) -> str:
        """The words as running text."""
        return text_of(self.words)


@dataclass(frozen=True, slots=True)
class Plan:
    """How a job will be run. Jobs with equal plans may share a batch."""

    frames: int
    language: str | None
    prompt_tokens: int
    beam_size: int


class Decoder(Protocol):
    """What an engine runs; stand-ins for tests are written against this."""

    def plan(self, job: Job) -> Plan:
        """Returns how the job would be run."""
        ...

    def decode(self, jobs: Sequence[Job]) -> list[Decoded]:
        """Runs jobs with one and the same plan, and returns as many results in their order."""
        ...


@dataclass
class _Prompt:
    tokens: list[int]
    start: list[int] = field(default_factory=list)


class WhisperDecoder:
    """A loaded Whisper model."""

    def __init__(self, spec: ModelSpec) -> None:
        """Loads it, which takes seconds for the larger ones.

        Raises:
            ModelNotFoundError: Its files are not on this machine.
            RuntimeError, ValueError: They don't load, or not on this device.
        """
        from faster_whisper import WhisperModel

        folder = find_model(spec)
        self.hardware: Hardware = choose_hardware(spec)
        self._model: Any = WhisperModel(
            str(folder),
            device=self.hardware.device,
            compute_type=self.hardware.compute_type,
            cpu_threads=self.hardware.cpu_threads,
            num_workers=1,
            local_files_only=True,
        )
        self._whisper: Any = self._model.model
        self._tokenizers: dict[str, Any] = {}
        self._languages = self._known_languages()
        self._buckets: tuple[int, ...] = _BUNDLED_BUCKETS if spec.is_bundled else _BUCKETS
        self._slack = _BUNDLED_SLACK_FRAMES if spec.is_bundled else _SLACK_FRAMES
        # With an encoder output as long as the mel is high, CTranslate2 takes it for a mel and
        # encodes it again.
        self._forbidden_frames = {2 * self._whisper.n_mels, 2 * self._whisper.n_mels - 1}

    @property
    def languages(self) -> tuple[str, ...]:
        """The codes of the languages that this model was given tokens for."""
        return self._languages

    def plan(self, job: Job) -> Plan:
        """Returns the window, the language and the prompt's length that the job would have."""
        needed = len(job.samples) // 160 + 1
        frames = FULL_FRAMES
        on_gpu = self.hardware.device != "cpu"
        if (job.audio_ctx or ("full" if on_gpu else "auto")) == "auto":
            frames = next((b for b in self._buckets if b >= needed + self._slack), FULL_FRAMES)
        if frames in self._forbidden_frames:
            frames += 2
        prompt = self._prompt(job, job.language or self._languages[0])
        language = job.language if self._whisper.is_multilingual else "en"
        beam_size = (job.beam_size or (5 if on_gpu else 1)) if job.is_final else 1
        return Plan(frames, language, len(prompt.tokens), beam_size)

    def decode(self, jobs: Sequence[Job]) -> list[Decoded]:
        """Encodes and decodes a batch, and aligns its words with the audio."""
        plan = self.plan(jobs[0])
        results = self._run(jobs, plan)
        for index, (job, result) in enumerate(zip(jobs, results, strict=True)):
            # Short windows can throw the decoder into a loop; the whole one is what it was
            # trained on. A partial just waits for its successor.
            if result.repeated and job.is_final and plan.frames < FULL_FRAMES:
                whole = Plan(FULL_FRAMES, plan.language, plan.prompt_tokens, plan.beam_size)
                results[index] = self._run([job], whole)[0]
            results[index] = judged_without_hints(
                job, results[index], lambda bare: self.decode([bare])[0]
            )
        return results

    def _run(self, jobs: Sequence[Job], plan: Plan) -> list[Decoded]:
        features, lengths = self._features(jobs, plan.frames)
        encoded = self._model.encode(features)
        language, probability = self._language(encoded, plan.language)
        tokenizer = self._tokenizer(language)
        prompts = [self._prompt(job, language) for job in jobs]
        longest = max(len(prompt.tokens) for prompt in prompts)
        longest_s = max(lengths) / 100
        new_tokens = min(self._token_limit(longest_s), _MAX_TEXT_TOKENS // 2)
        generated = self._whisper.generate(
            encoded,
            [prompt.tokens for prompt in prompts],
            beam_size=plan.beam_size,
            # CTranslate2 stops at min(max_length / 2, max_length - prompt) new tokens.
            max_length=min(_MAX_TEXT_TOKENS, max(2 * new_tokens, longest + new_tokens)),
            return_scores=True,
            return_no_speech_prob=True,
        )
        tokens = [[t for t in g.sequences_ids[0] if t < tokenizer.eot] for g in generated]
        words = self._align(encoded, prompts[0].start, tokens, lengths, tokenizer)
        results = []
        for index, result in enumerate(generated):
            count = len(tokens[index])
            text = text_of(words[index])
            results.append(
                Decoded(
                    words=words[index],
                    language=language,
                    language_probability=probability,
                    mean_log_probability=result.scores[0] * count / (count + 1),
                    no_speech_probability=result.no_speech_prob,
                    frames=plan.frames,
                    tokens=count,
                    repeated=count >= new_tokens or repeats_itself(text),
                )
            )
        return results

    def _token_limit(self, duration_s: float) -> int:
        """Returns how many tokens speech of a length can be worth at most."""
        return _MIN_NEW_TOKENS + int(_TOKENS_PER_S * duration_s)

    def _features(self, jobs: Sequence[Job], frames: int) -> tuple[Samples, list[int]]:
        batch: Samples = np.zeros((len(jobs), self._whisper.n_mels, frames), np.float32)
        lengths = []
        for row, job in enumerate(jobs):
            # The extractor needs half a window of samples to mirror at the edges.
            samples = job.samples[:MAX_SAMPLES]
            if len(samples) < 400:
                samples = np.pad(samples, (0, 400 - len(samples)))
            mel = self._model.feature_extractor(samples)[:, :-1][:, :frames]
            batch[row, :, : mel.shape[1]] = mel
            lengths.append(max(1, mel.shape[1]))
        return batch, lengths

    def _language(self, encoded: Any, language: str | None) -> tuple[str, float]:
        if not self._whisper.is_multilingual:
            return "en", 1.0
        if language is not None:
            return language, 1.0
        token, probability = self._whisper.detect_language(encoded)[0][0]
        return token[2:-2], float(probability)

    def _known_languages(self) -> tuple[str, ...]:
        if not self._whisper.is_multilingual:
            return ("en",)
        known = self._model.hf_tokenizer.get_vocab()
        return tuple(c for c in self._model.supported_languages if f"<|{c}|>" in known)

    def _tokenizer(self, language: str) -> Any:
        from faster_whisper.tokenizer import Tokenizer

        if language not in self._tokenizers:
            if language not in self._languages:
                raise ValueError(
                    f"this Whisper model doesn't know the language {language!r}, only "
                    + ", ".join(self._languages)
                )
            self._tokenizers[language] = Tokenizer(
                self._model.hf_tokenizer,
                self._whisper.is_multilingual,
                task="transcribe",
                language=language,
            )
        return self._tokenizers[language]

    def _prompt(self, job: Job, language: str) -> _Prompt:
        tokenizer = self._tokenizer(language)
        before: list[int] = []
        if job.keyterms:
            hint = tokenizer.encode(" " + ", ".join(job.keyterms))
            before += hint[:_MAX_PROMPT_TOKENS]
        if job.prompt.strip():
            before += tokenizer.encode(" " + job.prompt.strip())[-_MAX_PROMPT_TOKENS:]
        if before:
            # Text here is read in one go; a prefix after the start would be decoded step by step.
            before.insert(0, tokenizer.sot_prev)
        start = list(tokenizer.sot_sequence)
        return _Prompt([*before, *start, tokenizer.no_timestamps], start)

    def _align(
        self,
        encoded: Any,
        start: list[int],
        tokens: list[list[int]],
        lengths: list[int],
        tokenizer: Any,
    ) -> list[tuple[Word, ...]]:
        words: list[tuple[Word, ...]] = [() for _ in tokens]
        if not any(tokens):
            return words
        alignments = self._whisper.align(encoded, start, tokens, lengths)
        for row, alignment in enumerate(alignments):
            if tokens[row]:
                words[row] = _words(alignment, tokens[row], tokenizer, lengths[row] / 100)
        return words


def _words(
    alignment: Any, tokens: list[int], tokenizer: Any, duration_s: float
) -> tuple[Word, ...]:
    """Turns pairs of (token, encoder frame of 20 ms) into words with times."""
    pairs = np.array(alignment.alignments)
    first_frames = pairs[np.diff(pairs[:, 0], prepend=-1) > 0, 1] * 0.02
    texts, groups = tokenizer.split_to_word_tokens([*tokens, tokenizer.eot])
    probabilities = alignment.text_token_probs
    words: list[Word] = []
    at = 0
    for text, group in zip(texts[:-1], groups[:-1], strict=True):
        begin, end = at, at + len(group)
        at = end
        start_s = float(first_frames[min(begin, len(first_frames) - 1)])
        end_s = float(first_frames[min(end, len(first_frames) - 1)])
        probability = float(np.mean(probabilities[begin:end])) if end > begin else 0.0
        if words and not any(c.isalnum() for c in text):
            # A mark belongs to the word before it, and takes no time of its own.
            last = words[-1]
            words[-1] = Word(last.text + text, last.start, last.end, last.probability)
        else:
            words.append(Word(text, start_s, min(max(end_s, start_s), duration_s), probability))
    return tuple(words)
