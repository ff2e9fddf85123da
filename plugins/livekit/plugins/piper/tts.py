"""`piper.TTS`: LiveKit's text-to-speech interface on Piper voices."""

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

from .engine import SpeechOptions, require_piper, shared
from .log import logger
from .streams import PiperDelivery
from .voices import DEFAULT_VOICE, find_voice


class TTS(VoiceTTS):
    """A Piper voice in this process, shared by all rooms that speak with it."""

    def __init__(
        self,
        *,
        model: str | PathLike[str] = DEFAULT_VOICE,
        models_dir: str | PathLike[str] | None = None,
        speaker: NotGivenOr[int | str] = NOT_GIVEN,
        speed: float = 1.0,
        noise_scale: NotGivenOr[float] = NOT_GIVEN,
        noise_w_scale: NotGivenOr[float] = NOT_GIVEN,
        volume: float = 1.0,
        num_threads: NotGivenOr[int] = NOT_GIVEN,
        tokenizer: NotGivenOr[Tokenizer] = NOT_GIVEN,
    ) -> None:
        """Finds the voice; it is loaded by `prewarm()` or with the first text. No download.

        Args:
            model: Name of a voice in `models_dir` ("en_US-ljspeech-medium"), or the path of an
                .onnx file, with its .onnx.json beside it.
            models_dir: Folder of voices; by default the one that `download_voice` fills.
            speaker: Number or name, in a voice of several speakers.
            speed: 2.0 is twice as fast; 0.25 to 4.
            noise_scale: Variation of the voice, 0 to 2; by default what the voice was made for.
            noise_w_scale: Variation of the phonemes' lengths, likewise.
            volume: 0 to 2; above 1 loud passages are clipped.
            num_threads: Of one step of inference; by default half of the cores, 4 at most. As
                many steps of several rooms run at once as fit on the cores.
            tokenizer: Cuts the text pushed to `stream()` into pieces that are spoken one after
                the other. By default LiveKit's blingfire sentences.

        Raises:
            ImportError: The `piper` extra is not installed.
            VoiceNotFoundError: The voice is not on this machine.
            VoiceConfigError: Its JSON file is broken.
            ValueError: It has no such speaker, or a number is out of its range.
        """
        require_piper()
        self._files = find_voice(model, models_dir)
        self._config = self._files.read_config()
        super().__init__(
            sample_rate=self._config["audio"]["sample_rate"], tokenizer=tokenizer, tells_words=True
        )
        threads = num_threads if is_given(num_threads) else min(4, (os.cpu_count() or 1) // 2)
        if is_given(num_threads) and num_threads < 1:
            raise ValueError(f"num_threads must be at least 1, not {num_threads}")
        self._engine = shared(self._files, max(1, threads))
        self._options = self._changed(
            SpeechOptions(),
            speaker=speaker,
            speed=speed,
            noise_scale=noise_scale,
            noise_w_scale=noise_w_scale,
            volume=volume,
        )

    @property
    def model(self) -> str:
        """The voice's name."""
        return self._files.name

    @property
    def provider(self) -> str:
        """Always "Piper"."""
        return "Piper"

    @property
    def speakers(self) -> list[str]:
        """Names of the voice's speakers; empty where there is one, or where they have none."""
        return list(self._config.get("speaker_id_map") or {})

    def update_options(
        self,
        *,
        speaker: NotGivenOr[int | str] = NOT_GIVEN,
        speed: NotGivenOr[float] = NOT_GIVEN,
        noise_scale: NotGivenOr[float] = NOT_GIVEN,
        noise_w_scale: NotGivenOr[float] = NOT_GIVEN,
        volume: NotGivenOr[float] = NOT_GIVEN,
    ) -> None:
        """Changes how later streams speak; those under way keep what they began with.

        Raises:
            ValueError: As in the constructor; nothing is changed then.
        """
        self._options = self._changed(
            self._options,
            speaker=speaker,
            speed=speed,
            noise_scale=noise_scale,
            noise_w_scale=noise_w_scale,
            volume=volume,
        )

    @property
    def loading(self) -> bool:
        """Whether the model is not in memory yet."""
        return not self._engine.loaded

    def prewarm(self) -> None:
        """Loads the voice in a thread, so that the first phrase does not wait for it."""
        speaker = self._options.speaker
        loading = self._engine.threads.submit(self._engine.load, speaker)
        loading.add_done_callback(_report_failure)

    def _delivery(self) -> PiperDelivery:
        return PiperDelivery(self._engine, self._options, self.sample_rate)

    def _changed(
        self, base: SpeechOptions, *, speaker: NotGivenOr[int | str], **numbers: NotGivenOr[float]
    ) -> SpeechOptions:
        given: dict[str, Any] = {**checked_numbers(numbers, _LIMITS)}
        if isinstance(speaker, (int, str)):
            given["speaker"] = self._speaker_id(speaker)
        return replace(base, **given)

    def _speaker_id(self, speaker: int | str) -> int:
        number = speaker
        if isinstance(speaker, str):
            number = (self._config.get("speaker_id_map") or {}).get(speaker, -1)
        count = max(1, int(self._config["num_speakers"]))
        if not (isinstance(number, int) and 0 <= number < count):
            names = f" ({', '.join(self.speakers[:8])} …)" if self.speakers else ""
            raise ValueError(
                f"voice {self.model} has no speaker {speaker!r}; it has {count}{names}"
            )
        return number


_LIMITS = {
    "speed": (0.25, 4.0),
    "noise_scale": (0.0, 2.0),
    "noise_w_scale": (0.0, 2.0),
    "volume": (0.0, 2.0),
}


def _report_failure(done: Future[None]) -> None:
    if (error := done.exception()) is not None:
        logger.warning("the Piper voice could not be loaded", exc_info=error)
