"""Runs Whisper on CTranslate2 directly: short windows, prompts before the start, bounded length.

`WhisperModel.transcribe` of faster-whisper pads every piece to 30 s and loops over predicted
timestamps; live speech needs neither. Everything here blocks: only the engine's thread calls it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .alignment import words_of
from .gates import WEAK_LOG_PROBABILITY, compression_ratio
from .hints import judged_without_hints
from .job import FULL_FRAMES, MAX_SAMPLES, Decoded, Job, Plan, Samples
from .language import SURE_OF_ANOTHER
from .models import Hardware, ModelSpec, choose_hardware, find_model
from .soundness import reason_to_doubt, without_timeless_copies
from .tuning import Tuning, tuning_for
from .words import Word

_MAX_TEXT_TOKENS = 448
_MAX_PROMPT_TOKENS = 50
_TOKENS_PER_S = 12
_MIN_NEW_TOKENS = 12
# Whisper's other limit for a text to be sampled anew, and how many samples are drawn.
_MAX_COMPRESSION = 2.4
_BEST_OF = 5
# Of a log-mel spectrogram as Whisper scales it: of perfect silence, and from the loudest down.
_LEAST_MEL = -1.5
_MEL_RANGE = 2.0


@dataclass
class _Prompt:
    tokens: list[int]
    start: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Hypothesis:
    text_tokens: list[int]
    mean_log_probability: float
    no_speech_probability: float
    compression_ratio: float
    hit_limit: bool

    @property
    def is_weak(self) -> bool:
        if self.compression_ratio > _MAX_COMPRESSION:
            return True
        # What is silence needs no better text.
        return self.mean_log_probability < WEAK_LOG_PROBABILITY and self.no_speech_probability < 0.6


def silence_beside(mel: Samples) -> float:
    """Returns what silence after a sound is in its log-mel spectrogram.

    Whisper was trained on sounds padded with silence before their spectrum was taken, which is then
    clamped to 8 orders of magnitude below its loudest (OpenAI's `log_mel_spectrogram`, scaled by
    `(x + 4) / 4`). Zeros, with which faster-whisper pads the spectrum, are a hiss instead, in which
    the model loops and loses words.

    Args:
        mel: Log-mel as Whisper takes it, `[bands, frames]`.
    """
    return max(_LEAST_MEL, float(mel.max()) - _MEL_RANGE)


class WhisperDecoder:
    """A loaded Whisper model."""

    def __init__(self, spec: ModelSpec, hardware: Hardware | None = None) -> None:
        """Loads it, which takes seconds for the larger ones.

        Args:
            spec: The model.
            hardware: Where it runs; None is what the spec asks for, unchecked.

        Raises:
            ModelNotFoundError: Its files are not on this machine.
            RuntimeError, ValueError: They don't load, or not on this device.
        """
        from faster_whisper import WhisperModel

        folder = find_model(spec)
        self.hardware: Hardware = hardware or choose_hardware(spec)
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
        self._tuning: Tuning = tuning_for(spec, self.hardware)
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
        frames = self._tuning.window(needed, job.audio_ctx, is_final=job.is_final)
        if frames in self._forbidden_frames:
            frames += 2
        prompt = self._prompt(job, job.language or self._languages[0])
        language = job.language if self._whisper.is_multilingual else "en"
        asked = job.beam_size if job.is_final else None
        beam_size = asked or self._tuning.made(is_final=job.is_final).beam_size
        return Plan(frames, language, len(prompt.tokens), beam_size, job.is_final, job.may_switch)

    def decode(self, jobs: Sequence[Job]) -> list[Decoded]:
        """Encodes and decodes a batch, and aligns its words with the audio."""
        plan = self.plan(jobs[0])
        if len(jobs) > 1 and (plan.language is None or plan.may_switch):
            # A batch is decoded in one language, and each of these may be in its own.
            return [self.decode([job])[0] for job in jobs]
        features, lengths = self._features(jobs, plan.frames)
        encoded = self._model.encode(features)
        language, probability = self._language(encoded, plan)
        tokenizer = self._tokenizer(language)
        prompts = [self._prompt(job, language) for job in jobs]
        limit = self._token_limit(max(lengths) / 100)
        hypotheses = self._search(encoded, prompts, plan.beam_size, limit, tokenizer)
        if plan.is_final and plan.frames == FULL_FRAMES:
            for row in (row for row, first in enumerate(hypotheses) if first.is_weak):
                alone = encoded if len(jobs) == 1 else self._model.encode(features[row : row + 1])
                hypotheses[row] = self._warmer(
                    alone, prompts[row], hypotheses[row], limit, tokenizer
                )
        tokens = [hypothesis.text_tokens for hypothesis in hypotheses]
        words = self._align(encoded, prompts[0].start, tokens, lengths, tokenizer)
        trust = self._tuning.trust
        results = []
        for row, hypothesis in enumerate(hypotheses):
            heard = words[row] if trust is None else without_timeless_copies(words[row], trust)
            doubt = reason_to_doubt(
                heard,
                voice=jobs[row].voice,
                language_probability=probability,
                mean_log_probability=hypothesis.mean_log_probability,
                hit_limit=hypothesis.hit_limit,
                trust=trust,
            )
            result = Decoded(
                words=heard,
                language=language,
                language_probability=probability,
                mean_log_probability=hypothesis.mean_log_probability,
                no_speech_probability=hypothesis.no_speech_probability,
                frames=plan.frames,
                is_wide=self._tuning.is_wide(jobs[row].audio_ctx),
                tokens=len(tokens[row]),
                profits_from_whole=trust is not None,
                doubt=doubt,
            )
            results.append(
                judged_without_hints(jobs[row], result, lambda bare: self.decode([bare])[0])
            )
        return results

    def _search(
        self,
        encoded: Any,
        prompts: Sequence[_Prompt],
        beam_size: int,
        limit: int,
        tokenizer: Any,
        temperature: float = 0.0,
    ) -> list[_Hypothesis]:
        """Writes at most `limit` tokens for each row."""
        longest = max(len(prompt.tokens) for prompt in prompts)
        limit = min(limit, _MAX_TEXT_TOKENS // 2)
        search = (
            {"beam_size": 1, "num_hypotheses": _BEST_OF, "sampling_topk": 0}
            if temperature
            else {"beam_size": beam_size}
        )
        found = self._whisper.generate(
            encoded,
            [prompt.tokens for prompt in prompts],
            # CTranslate2 stops at min(max_length / 2, max_length - prompt) new tokens.
            max_length=min(_MAX_TEXT_TOKENS, max(2 * limit, longest + limit)),
            sampling_temperature=temperature or 1.0,
            return_scores=True,
            return_no_speech_prob=True,
            **search,
        )
        hypotheses = []
        for row in found:
            tokens = list(row.sequences_ids[0])
            text = [token for token in tokens if token < tokenizer.eot]
            hypotheses.append(
                _Hypothesis(
                    text_tokens=text,
                    # CTranslate2's mean leaves the end token out, Whisper's counts it.
                    mean_log_probability=row.scores[0] * len(tokens) / (len(tokens) + 1),
                    no_speech_probability=row.no_speech_prob,
                    hit_limit=len(tokens) >= limit,
                    compression_ratio=compression_ratio(tokenizer.decode(text)),
                )
            )
        return hypotheses

    def _warmer(
        self, encoded: Any, prompt: _Prompt, first: _Hypothesis, limit: int, tokenizer: Any
    ) -> _Hypothesis:
        """Samples a weak text anew, warmer each time, until one is sure enough.

        Whisper's own remedy (Radford et al., 2022, section 4.5). Where none is, the most probable
        stays that doesn't repeat itself.
        """
        tried = [first]
        for temperature in self._tuning.temperatures:
            tried += self._search(encoded, [prompt], 1, limit, tokenizer, temperature)
            if not tried[-1].is_weak:
                return tried[-1]
        sound = [one for one in tried if one.compression_ratio <= _MAX_COMPRESSION]
        return max(sound or tried, key=lambda one: one.mean_log_probability)

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
            if self._tuning.pads_with_silence:
                batch[row] = silence_beside(mel)
            batch[row, :, : mel.shape[1]] = mel
            lengths.append(max(1, mel.shape[1]))
        return batch, lengths

    def _language(self, encoded: Any, plan: Plan) -> tuple[str, float]:
        if not self._whisper.is_multilingual:
            return "en", 1.0
        if plan.language is not None and not plan.may_switch:
            return plan.language, 1.0
        token, probability = self._whisper.detect_language(encoded)[0][0]
        if plan.language is not None and probability < SURE_OF_ANOTHER:
            return plan.language, 1.0
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
        if self._tuning.made(is_final=job.is_final).timestamps:
            return _Prompt([*before, *start], start)
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
                words[row] = words_of(alignment, tokens[row], tokenizer, lengths[row] / 100)
        return words
