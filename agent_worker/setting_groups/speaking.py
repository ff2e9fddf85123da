"""The voice, and how text is cut for it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field, SecretStr, ValidatorFunctionWrapHandler, field_validator

from .checks import empty_is_unset, http_url

TtsEngine = Literal["auto", "piper", "kokoro", "espeak", "xtts", "speech-api", "higgs"]
OWN_VOICE_ENGINE = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
"""`MODULE:NAME` of a voice engine that does not come along."""


class SpeakingSettings(BaseModel):
    """What speaks, and how."""

    tts: TtsEngine = Field(
        "auto",
        description="auto: a Piper voice in the cache, else Kokoro if it is there, else espeak. "
        "MODULE:NAME is a voice engine of your own.",
    )
    tts_voice: str | None = Field(
        None,
        description="Piper voice name or .onnx file, Kokoro voice (af_heart), espeak voice (+f3 = "
        "the language's voice in that variant), or speech server voice.",
    )
    tts_speed: float = Field(1.0, ge=0.25, le=4.0, description="Speed; 1.0 = the voice's own.")
    tts_url: str | None = Field(
        None, description="OpenAI-compatible speech server for tts=speech-api."
    )
    kokoro_url: str | None = Field(
        None,
        description="Mirror of the release that tts=kokoro is fetched from; unset = GitHub, "
        "or model_hub where that is a mirror or a folder.",
    )
    tts_model: str | None = Field(
        None, description="Model name at the speech server, or XTTS folder."
    )
    tts_api_key: SecretStr = Field(SecretStr(""), description="Key for the speech server.")
    tts_sample_rate: int = Field(
        24000, ge=8000, le=48000, description="Hertz of the speech server."
    )
    tts_reference: Path | None = Field(
        None, description="Reference WAV (6 to 30 s) to clone, for XTTS, Higgs and speech-api."
    )
    tts_reference_text: str = Field(
        "", description="What is said in that WAV; Higgs needs it with it."
    )
    tts_scene: str = Field(
        "", description="Where and in what mood it is spoken, in words, for Higgs."
    )
    tts_speakers: dict[str, str] = Field(
        {},
        description="What speakers sound like, in words, by tag, for Higgs, as JSON: "
        '{"SPEAKER0": "a calm man of sixty"}. With one, it speaks everything.',
    )
    tts_ras_window: int | None = Field(
        None,
        ge=1,
        le=1000,
        description="Window of Higgs's repetition-aware sampling; unset = the server's own.",
    )
    xtts_accept_license: bool = Field(
        False,
        description="You have read and accept the Coqui Public Model License (non-commercial).",
    )
    tts_fallback: bool = Field(
        True, description="Speak with espeak-ng while the chosen voice fails."
    )
    spell_numbers: bool = Field(
        False, description="Write numbers out for a voice that can't read them."
    )
    min_sentence_length: int = Field(
        20, ge=1, le=200, description="Characters under which a sentence joins the next one."
    )
    sentences_ahead: int = Field(
        3, ge=1, le=10, description="Sentences synthesised ahead of the playout at most."
    )

    _speaking_unset = field_validator(
        "tts_voice",
        "tts_url",
        "tts_model",
        "tts_reference",
        "tts_ras_window",
        mode="before",
    )(empty_is_unset)
    _speaking_http_url = field_validator("tts_url")(http_url)

    @field_validator("tts", mode="wrap")
    @classmethod
    def _own_voice_engine(cls, value: object, known: ValidatorFunctionWrapHandler) -> Any:
        own = isinstance(value, str) and OWN_VOICE_ENGINE.fullmatch(value)
        # the type stays closed for whoever reads it: nothing else is to ask which engine it is
        return value if own else known(value)
