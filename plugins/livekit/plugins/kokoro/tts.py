"""`kokoro.TTS`: LiveKit's text-to-speech interface on Kokoro-82M."""

from __future__ import annotations

import os
from concurrent.futures import Future
from dataclasses import replace
from os import PathLike
from typing import Any

from livekit.agents import NOT_GIVEN, NotGivenOr
from livekit.agents.utils import is_given

from local_tts.options import Tokenizer, checked_numbers
from local_tts.voice_tts import VoiceTTS

from .engine import SAMPLE_RATE, SpeechOptions, require_kokoro, shared
from .languages import LANGUAGES, Language, language_of, language_of_voice, voice_for
from .log import logger
from .streams import KokoroDelivery
from .voices import KokoroFiles, VoiceNotFoundError, find_files

_LIMITS = {"speed": (0.5, 2.0), "volume": (0.0, 2.0)}


class TTS(VoiceTTS):
    """A Kokoro voice in this process. All voices and rooms share one model."""

    def __init__(
        self,
        *,
        voice: NotGivenOr[str] = NOT_GIVEN,
        language: NotGivenOr[str] = NOT_GIVEN,
        models_dir: str | PathLike[str] | None = None,
        files: NotGivenOr[KokoroFiles] = NOT_GIVEN,
        speed: float = 1.0,
        volume: float = 1.0,
        num_threads: NotGivenOr[int] = NOT_GIVEN,
        tokenizer: NotGivenOr[Tokenizer] = NOT_GIVEN,
    ) -> None:
        """Finds the files; they are loaded by `prewarm()` or with the first text. No download.

        Args:
            voice: Such as "af_heart"; by default the best one of the language.
            language: BCP 47 tag: en-US, en-GB, es, fr, hi, it or pt-BR; by default the one that
                the voice was made for. A voice speaks the others too, with its accent.
            models_dir: Folder of the files; by default the one that `download_kokoro` fills.
            files: The two files in its place.
            speed: 2.0 is twice as fast; 0.5 to 2.
            volume: 0 to 2; above 1 loud passages may be clipped.
            num_threads: Of one phrase; by default half of the cores, 4 at most. As many phrases
                of several rooms are made at once as fit on the cores.
            tokenizer: Cuts the text pushed to `stream()` into pieces that are spoken one after
                the other. By default LiveKit's blingfire sentences.

        Raises:
            ImportError: The `kokoro` extra is not installed.
            VoiceNotFoundError: The files are not on this machine, or have no such voice.
            ValueError: Kokoro does not speak the language here, or a number is out of its range.
        """
        require_kokoro()
        super().__init__(sample_rate=SAMPLE_RATE, tokenizer=tokenizer, tells_words=True)
        if is_given(num_threads) and num_threads < 1:
            raise ValueError(f"num_threads must be at least 1, not {num_threads}")
        threads = num_threads if is_given(num_threads) else min(4, (os.cpu_count() or 1) // 2)
        self._files = files if is_given(files) else find_files(models_dir)
        self._voices = self._files.voice_names()
        self._engine = shared(self._files, max(1, threads))
        self._options = self._changed(
            SpeechOptions(), voice=voice, language=language, speed=speed, volume=volume
        )
        if not (is_given(voice) or is_given(language)):
            self._options = self._changed(self._options, language=LANGUAGES[0].tag)

    @property
    def model(self) -> str:
        """The voice's name."""
        return self._options.voice

    @property
    def provider(self) -> str:
        """Always "Kokoro"."""
        return "Kokoro"

    @property
    def voices(self) -> tuple[str, ...]:
        """Names of the voices that are here."""
        return self._voices

    def update_options(
        self,
        *,
        voice: NotGivenOr[str] = NOT_GIVEN,
        language: NotGivenOr[str] = NOT_GIVEN,
        speed: NotGivenOr[float] = NOT_GIVEN,
        volume: NotGivenOr[float] = NOT_GIVEN,
    ) -> None:
        """Changes how later streams speak; those under way keep what they began with.

        Raises:
            VoiceNotFoundError, ValueError: As in the constructor; nothing is changed then.
        """
        self._options = self._changed(
            self._options, voice=voice, language=language, speed=speed, volume=volume
        )

    @property
    def loading(self) -> bool:
        """Whether the model is not in memory yet."""
        return not self._engine.loaded

    def prewarm(self) -> None:
        """Loads the model in a thread, so that the first phrase does not wait for it."""
        self._engine.threads.submit(self._engine.load).add_done_callback(_report_failure)

    def _delivery(self) -> KokoroDelivery:
        return KokoroDelivery(self._engine, self._options)

    def _changed(
        self,
        base: SpeechOptions,
        *,
        voice: NotGivenOr[str] = NOT_GIVEN,
        language: NotGivenOr[str] = NOT_GIVEN,
        **numbers: NotGivenOr[float],
    ) -> SpeechOptions:
        given: dict[str, Any] = {**checked_numbers(numbers, _LIMITS)}
        options = replace(base, **given)
        if is_given(language):
            spoken = language_of(language)
            options = replace(options, language=spoken)
            if not is_given(voice):
                voice = voice_for(spoken, self._voices) or self._voices[0]
        if is_given(voice):
            if voice not in self._voices:
                raise VoiceNotFoundError(
                    f"Kokoro has no voice {voice!r} here; it has {', '.join(self._voices)}"
                )
            options = replace(options, voice=voice)
            if not is_given(language):
                options = replace(options, language=_own_language(voice))
        return options


def _own_language(voice: str) -> Language:
    language = language_of_voice(voice)
    if language is None:
        raise ValueError(
            f"what {voice} was made for cannot be phonemized here; give it one of the languages "
            + ", ".join(one.tag for one in LANGUAGES)
        )
    return language


def _report_failure(done: Future[None]) -> None:
    if (error := done.exception()) is not None:
        logger.warning("Kokoro could not be loaded", exc_info=error)
