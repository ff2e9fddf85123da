"""The recogniser."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field, field_validator

from .checks import empty_is_unset

SttEngine = Literal["auto", "faster-whisper", "bundled"]


class HearingSettings(BaseModel):
    """What hears the caller, and on what."""

    stt: SttEngine = Field(
        "auto", description="auto: a faster-whisper model in the cache, else the bundled small one."
    )
    stt_model: str | None = Field(
        None, description="faster-whisper model name (base, small, large-v3-turbo, …) or a folder."
    )
    stt_device: Literal["auto", "cpu", "cuda"] = Field("auto", description="Where Whisper runs.")
    stt_compute_type: str = Field(
        "", description="CTranslate2 compute type; empty = int8 on a CPU, float16 on CUDA."
    )
    stt_cpu_threads: int = Field(
        0, ge=0, description="Threads for Whisper on a CPU; 0 = its default."
    )
    keyterms: tuple[str, ...] = Field((), description="Names and words that Whisper should expect.")

    stt_fallback: bool = Field(
        True, description="Hear with the bundled model while the chosen one fails."
    )

    _hearing_unset = field_validator("stt_model", mode="before")(empty_is_unset)
