"""Whisper behind LiveKit's STT interface."""

from __future__ import annotations

import asyncio
import os
import time
import weakref
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Literal, Self

from livekit.agents import (
    DEFAULT_API_CONNECT_OPTIONS,
    APIConnectOptions,
    stt,
    utils,
)
from livekit.agents.types import NOT_GIVEN, NotGivenOr
from livekit.agents.utils import AudioBuffer, is_given

from .any_engine import AnyEngine
from .audio import pcm_of
from .engines import engine_for
from .gates import Gates
from .job import SAMPLE_RATE, Job
from .language import LanguageLock, parse_language
from .listener import Listener
from .models import BUNDLED, ModelSpec, check_model_name
from .options import ANY_PAUSE, LENIENT, LONG_PAUSES, AudioContextSetting, Confirming, Options
from .second_look import looked
from .statistics import EngineStatistics
from .stream import RecognizeStream
from .transcript import in_asked_script, speech_data, stands, words_in_stream
from .utterance import Utterance
from .voice import WINDOW_S, VoiceOptions
from .words import Word, text_of


class STT(stt.STT[str]):
    """Speech to text with Whisper on this machine, live or on whole recordings.

    Every object and stream with the same model, device and compute type shares one engine, which
    lives as long as the process. No file is fetched: see `download`.
    """

    def __init__(
        self,
        *,
        model: str | os.PathLike[str] = BUNDLED,
        language: NotGivenOr[str | None] = NOT_GIVEN,
        device: Literal["auto", "cpu", "cuda"] = "auto",
        compute_type: NotGivenOr[str] = NOT_GIVEN,
        cpu_threads: NotGivenOr[int] = NOT_GIVEN,
        beam_size: NotGivenOr[int] = NOT_GIVEN,
        audio_ctx: NotGivenOr[AudioContextSetting] = NOT_GIVEN,
        prompt: NotGivenOr[str] = NOT_GIVEN,
        keyterms: NotGivenOr[Sequence[str]] = NOT_GIVEN,
        interim_results: bool = True,
        interim_interval_s: float = 0.25,
        speculative_silence: float = 0.18,
        max_segment: NotGivenOr[float] = NOT_GIVEN,
        vad_threshold: float = 0.5,
        min_speech: float = 0.09,
        min_silence: float = 0.5,
        min_voiced: float = 0.2,
        download_dir: NotGivenOr[str | os.PathLike[str]] = NOT_GIVEN,
    ) -> None:
        """Checks its arguments; the model is loaded with the first use, or by `prewarm`.

        Args:
            model: "bundled" (a small vocabulary, for first runs and tests), a name such as
                "base" or "turbo", a repository "owner/name", or a folder in CTranslate2's format.
            language: A code such as "en" or "zh", "auto" or None (detected after a second of
                voice, then kept for the stream), or "multi" (detected in each utterance).
                English by default.
            device: "cpu", "cuda" (ROCm too, with CTranslate2 built for it) or "auto".
            compute_type: CTranslate2's name for it. By default int8 on a CPU, float16 on CUDA.
            cpu_threads: Threads for one run on a CPU; half of the cores, up to 8, by default.
            beam_size: For finals; partials are greedy. 5 by default, 1 for "bundled".
            audio_ctx: "auto" encodes what was said and some slack, and more of it for a final whose
                text is in doubt, up to 30 s; "full" always 30 s, as Whisper was trained.
            prompt: Text that sets style and spelling.
            keyterms: Names and rare words to expect.
            interim_results: Whether to send partials while the caller speaks.
            interim_interval_s: Seconds of new audio for each partial.
            speculative_silence: Seconds of silence after which a final is made ahead of time, and
                sent as preflight.
            max_segment: Seconds of unbroken speech after which it is cut at a confirmed word; a
                pause after half of that is taken for the cut. 12 by default, 4 for "bundled".
            vad_threshold: Probability from which a sound counts as voice.
            min_speech: Seconds of voice with which speech begins.
            min_silence: Seconds of silence with which speech ends; a flush ends it at once.
            min_voiced: Seconds of voice below which nothing is taken to have been said.
            download_dir: Where `download` put its models, if not into the hub's own cache.

        Raises:
            ValueError: A value is out of its range; the message names it.
            TypeError: A value is of the wrong type.
        """
        super().__init__(
            capabilities=stt.STTCapabilities(
                streaming=True,
                interim_results=interim_results,
                aligned_transcript="word",
                offline_recognize=True,
                keyterms=True,
                manual_flush=True,
            )
        )
        if device not in ("auto", "cpu", "cuda"):
            raise ValueError(f"device must be 'auto', 'cpu' or 'cuda', not {device!r}")
        threads = cpu_threads if is_given(cpu_threads) else 0
        if threads < 0:
            raise ValueError(f"cpu_threads must not be negative, but is {threads}")
        self._spec = ModelSpec(
            model=check_model_name(model),
            device=device,
            compute_type=compute_type if is_given(compute_type) else "auto",
            cpu_threads=threads,
            download_dir=str(download_dir) if is_given(download_dir) else None,
        )
        self._session_keyterms: tuple[str, ...] = ()
        self._own_keyterms: tuple[str, ...] = ()
        self._streams: weakref.WeakSet[RecognizeStream] = weakref.WeakSet()
        self._options = Options(
            interim_results=interim_results,
            use_context=self._spec.profits_from_context,
            confirming=LENIENT if self._spec.is_bundled else Confirming(),
            cuts=ANY_PAUSE if self._spec.is_bundled else LONG_PAUSES,
            voice=VoiceOptions(
                threshold=_in_range("vad_threshold", vad_threshold, 0.01, 0.99),
                release=max(0.01, vad_threshold - 0.15),
                min_speech_s=_in_range("min_speech", min_speech, 0.0, 5.0),
                min_silence_s=_in_range("min_silence", min_silence, 0.03, 30.0),
            ),
            gates=Gates(min_voiced_s=_in_range("min_voiced", min_voiced, 0.0, 5.0)),
            max_segment_s=_in_range(
                "max_segment",
                max_segment if is_given(max_segment) else self._spec.default_max_segment_s,
                2.0,
                20.0,
            ),
        )
        self.update_options(
            language=language,
            beam_size=beam_size,
            audio_ctx=audio_ctx,
            prompt=prompt,
            keyterms=keyterms,
            interim_interval_s=interim_interval_s,
            speculative_silence=speculative_silence,
        )

    @property
    def model(self) -> str:
        """The model's name or folder."""
        return self._spec.model

    @property
    def provider(self) -> str:
        """Who makes the transcript."""
        return "faster-whisper"

    def update_options(
        self,
        *,
        language: NotGivenOr[str | None] = NOT_GIVEN,
        beam_size: NotGivenOr[int] = NOT_GIVEN,
        audio_ctx: NotGivenOr[AudioContextSetting] = NOT_GIVEN,
        prompt: NotGivenOr[str] = NOT_GIVEN,
        keyterms: NotGivenOr[Sequence[str]] = NOT_GIVEN,
        interim_interval_s: NotGivenOr[float] = NOT_GIVEN,
        speculative_silence: NotGivenOr[float] = NOT_GIVEN,
        vad_threshold: NotGivenOr[float] = NOT_GIVEN,
        min_silence: NotGivenOr[float] = NOT_GIVEN,
        min_voiced: NotGivenOr[float] = NOT_GIVEN,
    ) -> None:
        """Changes what is given, for the streams that run as well; see the constructor.

        A stream that was opened with a language of its own keeps it, until a new one is given.

        Raises:
            ValueError: A value is out of its range; nothing is changed.
            TypeError: A value is of the wrong type; nothing is changed.
        """
        options = self._options
        voice, gates = options.voice, options.gates
        if is_given(language):
            parse_language(language)
            options = replace(options, language=language)
        if is_given(beam_size):
            options = replace(options, beam_size=int(_in_range("beam_size", beam_size, 1, 32)))
        if is_given(audio_ctx):
            if audio_ctx not in ("auto", "full"):
                raise ValueError(f"audio_ctx must be 'auto' or 'full', not {audio_ctx!r}")
            options = replace(options, audio_ctx=audio_ctx)
        if is_given(prompt):
            if not isinstance(prompt, str):
                raise TypeError(f"prompt must be a string, not {type(prompt).__name__}")
            options = replace(options, prompt=prompt)
        if is_given(interim_interval_s):
            seconds = _in_range("interim_interval_s", interim_interval_s, 0.03, 10.0)
            options = replace(options, interim_interval_s=seconds)
        if is_given(speculative_silence):
            seconds = _in_range("speculative_silence", speculative_silence, 0.03, 10.0)
            options = replace(options, speculative_silence_s=seconds)
        if is_given(vad_threshold):
            threshold = _in_range("vad_threshold", vad_threshold, 0.01, 0.99)
            voice = replace(voice, threshold=threshold, release=max(0.01, threshold - 0.15))
        if is_given(min_silence):
            seconds = _in_range("min_silence", min_silence, 0.03, 30.0)
            voice = replace(voice, min_silence_s=seconds)
        if is_given(min_voiced):
            gates = replace(gates, min_voiced_s=_in_range("min_voiced", min_voiced, 0.0, 5.0))
        if is_given(keyterms):
            self._own_keyterms = _terms(keyterms)
        self._options = replace(options, voice=voice, gates=gates, keyterms=self._all_keyterms())
        for stream in list(self._streams):
            own_language = stream.language_setting
            keeps = stream.has_own_language and not is_given(language)
            stream.update_options(
                replace(self._options, language=own_language) if keeps else self._options
            )

    def prewarm(self) -> None:
        """Starts to load the model, in its engine's thread."""
        self._engine()

    def statistics(self) -> EngineStatistics:
        """Returns what this process's engine for the model has done so far."""
        return self._engine().statistics()

    def stream(
        self,
        *,
        language: NotGivenOr[str | None] = NOT_GIVEN,
        conn_options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS,
    ) -> RecognizeStream:
        """Opens a live recognition.

        Raises:
            ValueError: Whisper knows no such language.
        """
        options = self._options
        if is_given(language):
            parse_language(language)
            options = replace(options, language=language)
        stream = RecognizeStream(
            stt=self,
            engine=self._engine,
            options=options,
            conn_options=conn_options,
            has_own_language=is_given(language),
        )
        self._streams.add(stream)
        return stream

    async def __aenter__(self) -> Self:
        """Returns itself, to be closed at the end of the block."""
        return self

    async def aclose(self) -> None:
        """Closes its streams. The engine stays for whoever uses the same model next."""
        for stream in list(self._streams):
            await stream.aclose()
        self._streams.clear()

    async def _recognize_impl(
        self,
        buffer: AudioBuffer,
        *,
        language: NotGivenOr[str | None] = NOT_GIVEN,
        conn_options: APIConnectOptions,
    ) -> stt.SpeechEvent:
        setting = language if is_given(language) else self._options.language
        lock = LanguageLock(*parse_language(setting))
        options = self._options
        pcm = pcm_of(buffer)
        deadline = time.monotonic() + conn_options.timeout
        engine = self._engine()
        await engine.wait_until_loaded(conn_options.timeout)
        words: list[Word] = []
        spoken, previous = lock.code or "en", ""
        for utterance in await asyncio.to_thread(_utterances, pcm, options):
            if utterance.starts_speech:
                lock.next_utterance()
                previous = ""
            job = Job(
                samples=utterance.sound.samples(),
                language=lock.code,
                prompt=f"{options.prompt} {previous[-200:]}".strip(),
                keyterms=options.keyterms,
                beam_size=options.beam_size,
                audio_ctx=options.audio_ctx,
                voice=utterance.sound.voice(),
            )
            is_said = partial(stands, utterance=utterance, gates=options.gates)
            first = await engine.decode(job, timeout_s=max(0.0, deadline - time.monotonic()))
            look = looked(first, None, stands=is_said)
            while look.wider is not None:
                job = replace(job, audio_ctx=look.wider, may_switch=lock.may_switch)
                again = await engine.decode(job, timeout_s=conn_options.timeout)
                look = looked(again, look, stands=is_said)
            decoded = look.decoded
            # The deadline is for an answer, not for the length of a recording.
            deadline = time.monotonic() + conn_options.timeout
            if is_said(decoded):
                spoken = decoded.language
                voiced_s = utterance.voiced_windows * WINDOW_S
                lock.observe(decoded.language, decoded.language_probability, voiced_s)
                new = words_in_stream(in_asked_script(decoded, setting), utterance)
                words += new
                if options.use_context:
                    previous = f"{previous} {text_of(new)}"
        return stt.SpeechEvent(
            stt.SpeechEventType.FINAL_TRANSCRIPT,
            request_id=utils.shortuuid("stt_"),
            alternatives=[
                speech_data(words, language=spoken, span_s=(0.0, len(pcm) / 2 / SAMPLE_RATE))
            ],
        )

    def _update_session_keyterms(self, keyterms: list[str]) -> None:
        self._session_keyterms = _terms(keyterms)
        self.update_options()

    def _all_keyterms(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*self._own_keyterms, *self._session_keyterms)))

    def _engine(self) -> AnyEngine:
        return engine_for(self._spec)


def _utterances(pcm: bytes, options: Options) -> list[Utterance]:
    listener = Listener(options)
    listener.hear(pcm)
    listener.flush(answer_always=False)
    return [utterance for utterance in listener.utterances if utterance.voiced_windows]


def _in_range(name: str, value: float, lowest: float, highest: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} must be a number, not {type(value).__name__}")
    if not lowest <= value <= highest:
        raise ValueError(f"{name} must be from {lowest:g} to {highest:g}, but is {value:g}")
    return value


def _terms(keyterms: Sequence[str]) -> tuple[str, ...]:
    if isinstance(keyterms, str) or not all(isinstance(term, str) for term in keyterms):
        raise TypeError("keyterms must be a list of strings")
    return tuple(term.strip() for term in keyterms if term.strip())
