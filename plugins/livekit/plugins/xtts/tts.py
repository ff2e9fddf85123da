"""XTTS v2: a voice cloned from a few seconds of a recording, in seventeen languages."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from livekit.agents import NOT_GIVEN, APIError, NotGivenOr
from livekit.agents.utils import is_given

from local_tts.options import Tokenizer, checked_numbers
from local_tts.voice_tts import VoiceTTS

from . import shared
from .download import default_model_dir
from .engine import EngineConfig
from .languages import MAX_CHARACTERS, language_code
from .licence import require_acceptance
from .log import logger
from .reference import Recording, check_recording
from .streams import SAMPLE_RATE, XttsDelivery

DEFAULT_SPEAKER = "Claribel Dervla"

_LIMITS = {
    "speed": (0.5, 2.0),
    "temperature": (0.01, 2.0),
    "top_p": (0.01, 1.0),
    "top_k": (1, 1000),
    "repetition_penalty": (0.1, 50.0),
    "length_penalty": (-10.0, 10.0),
    "stream_chunk_size": (1, 200),
}


@dataclass(frozen=True)
class VoiceOptions:
    """How one stream speaks."""

    language: str
    speaker: str
    recording: Recording | None
    settings: Mapping[str, float]

    @property
    def max_characters(self) -> int:
        """Of one sentence, in this language."""
        return MAX_CHARACTERS[self.language]

    def voice(self) -> dict[str, Any]:
        """The voice, as the process wants it."""
        if self.recording is None:
            return {"speaker": self.speaker}
        return {"path": str(self.recording.path), "sha256": self.recording.sha256}

    def message(self, text: str) -> dict[str, Any]:
        """What the process is told to speak a sentence."""
        return {
            "text": text,
            "language": self.language,
            "voice": self.voice(),
            "settings": dict(self.settings),
        }


class TTS(VoiceTTS):
    """XTTS in a process of its own; this one never imports torch.

    Args:
        accept_license: That you accept the terms in `LICENSE_TERMS`. Nothing works without.
        model_dir: The folder with `config.json`, `model.pth` and `vocab.json`; by default the one
            that coqui-tts and `download_model` use.
        python: The interpreter of the environment that coqui-tts is installed in; by default
            this one.
        reference_wav: A recording of the voice to clone: 6 to 30 s, PCM WAV.
        speaker: In its place, one of the voices that came with the model.
        language: One of seventeen: `en`, `de`, `zh-cn`, ...; a region is dropped.
        speed: 0.5 to 2.
        temperature: 0.01 to 2.
        top_p: 0.01 to 1.
        top_k: Of the model's tokens.
        repetition_penalty: Higher for a voice that stutters.
        length_penalty: Of the model's search.
        stream_chunk_size: Tokens in a chunk; 20 are 0.93 s. Fewer for earlier audio at more work.
        device: `auto`, `cpu`, `cuda`, `cuda:1`, ...
        use_deepspeed: With DeepSpeed, where it is installed.
        tokenizer: Cuts the text that `stream()` is given into sentences.
        load_timeout_s: After so long without having loaded the model, the process is started anew.
        hang_timeout_s: After so long without obeying a stop, it is killed and started anew.
        model_factory: `module:function` or `file.py:function` that returns an object with the
            methods of coqui's `Xtts`, in place of loading one from `model_dir`; run in the
            process.

    Raises:
        LicenseNotAcceptedError: The terms were not accepted.
        ReferenceVoiceError: No voice can be cloned from the recording.
        ValueError: An argument makes no sense.
    """

    def __init__(
        self,
        *,
        accept_license: bool = False,
        model_dir: NotGivenOr[str | Path] = NOT_GIVEN,
        python: NotGivenOr[str | Path] = NOT_GIVEN,
        reference_wav: NotGivenOr[str | Path | None] = NOT_GIVEN,
        speaker: NotGivenOr[str] = NOT_GIVEN,
        language: str = "en",
        speed: NotGivenOr[float] = NOT_GIVEN,
        temperature: NotGivenOr[float] = NOT_GIVEN,
        top_p: NotGivenOr[float] = NOT_GIVEN,
        top_k: NotGivenOr[int] = NOT_GIVEN,
        repetition_penalty: NotGivenOr[float] = NOT_GIVEN,
        length_penalty: NotGivenOr[float] = NOT_GIVEN,
        stream_chunk_size: NotGivenOr[int] = NOT_GIVEN,
        device: str = "auto",
        use_deepspeed: bool = False,
        tokenizer: NotGivenOr[Tokenizer] = NOT_GIVEN,
        load_timeout_s: float = 300.0,
        hang_timeout_s: float = 10.0,
        model_factory: NotGivenOr[str] = NOT_GIVEN,
    ) -> None:
        require_acceptance(accept_license)
        super().__init__(sample_rate=SAMPLE_RATE, tokenizer=tokenizer, tells_words=False)
        if load_timeout_s <= 0 or hang_timeout_s <= 0:
            raise ValueError("load_timeout_s and hang_timeout_s must be more than 0")
        self._opts = VoiceOptions(
            language=language_code(language), speaker=DEFAULT_SPEAKER, recording=None, settings={}
        )
        self.update_options(
            reference_wav=reference_wav,
            speaker=speaker,
            speed=speed,
            temperature=temperature,
            top_p=top_p,
            top_k=top_k,
            repetition_penalty=repetition_penalty,
            length_penalty=length_penalty,
            stream_chunk_size=stream_chunk_size,
        )
        self._closed = False
        self._engine = shared.acquire(
            EngineConfig(
                python=str(python) if is_given(python) else sys.executable,
                model_dir=Path(model_dir or default_model_dir()),
                model_factory=model_factory if is_given(model_factory) else None,
                device=device,
                use_deepspeed=use_deepspeed,
                load_timeout_s=load_timeout_s,
                hang_timeout_s=hang_timeout_s,
            )
        )

    @property
    def model(self) -> str:
        """Of the family; the folder's name where it is a fine-tuned one is not told."""
        return "xtts_v2"

    @property
    def provider(self) -> str:
        """Who made it."""
        return "coqui"

    def update_options(
        self,
        *,
        reference_wav: NotGivenOr[str | Path | None] = NOT_GIVEN,
        speaker: NotGivenOr[str] = NOT_GIVEN,
        language: NotGivenOr[str] = NOT_GIVEN,
        speed: NotGivenOr[float] = NOT_GIVEN,
        temperature: NotGivenOr[float] = NOT_GIVEN,
        top_p: NotGivenOr[float] = NOT_GIVEN,
        top_k: NotGivenOr[int] = NOT_GIVEN,
        repetition_penalty: NotGivenOr[float] = NOT_GIVEN,
        length_penalty: NotGivenOr[float] = NOT_GIVEN,
        stream_chunk_size: NotGivenOr[int] = NOT_GIVEN,
    ) -> None:
        """Changes how streams speak that begin from now on.

        A `reference_wav` wins over a `speaker`; None takes it back.

        Raises:
            ReferenceVoiceError: No voice can be cloned from the recording.
            ValueError: An argument makes no sense; nothing was changed.
        """
        numbers: dict[str, NotGivenOr[float]] = {
            "speed": speed,
            "temperature": temperature,
            "top_p": top_p,
            "top_k": top_k,
            "repetition_penalty": repetition_penalty,
            "length_penalty": length_penalty,
            "stream_chunk_size": stream_chunk_size,
        }
        settings = {**self._opts.settings, **checked_numbers(numbers, _LIMITS)}
        changes: dict[str, Any] = {"settings": settings}
        if is_given(language):
            changes["language"] = language_code(language)
        if is_given(speaker):
            changes |= {"speaker": speaker, "recording": None}
        if is_given(reference_wav):
            changes["recording"] = (
                None if reference_wav is None else check_recording(Path(reference_wav))
            )
        self._opts = replace(self._opts, **changes)

    def _delivery(self) -> XttsDelivery:
        return XttsDelivery(self._engine, self._opts)

    def prewarm(self) -> None:
        """Starts the process, which loads the model and listens to the recording. Does not wait."""
        try:
            self._engine.start(self._opts.voice())
        except APIError as error:
            logger.warning("XTTS is not started: %s", error)

    async def aclose(self) -> None:
        """Stops what is being spoken and ends the process, unless another TTS uses it too."""
        if self._closed:
            return
        self._closed = True
        await super().aclose()
        await shared.release(self._engine)
