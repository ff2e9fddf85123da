"""Who speaks when, and what callers may choose for their call."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

ChoiceKind = Literal["flow", "character", "voice", "language", "economy"]


class TurnSettings(BaseModel):
    """What belongs to the callers: their turns and their wishes."""

    # -- turns -------------------------------------------------------------------------------
    turns: Literal["auto", "half_duplex", "push_to_talk"] = Field(
        "auto",
        description="auto: who speaks is decided from words and sound; half_duplex: the agent does "
        "not listen while it speaks; push_to_talk: over RPC start_turn, end_turn, cancel_turn.",
    )
    vad_min_silence_s: float = Field(
        0.1, ge=0.05, le=2.0, description="Seconds of silence that end an utterance."
    )
    min_endpointing_s: float = Field(
        0.15,
        ge=0,
        le=5.0,
        description="Seconds to wait after the end of speech when it looks complete.",
    )
    max_endpointing_s: float = Field(
        1.2, ge=0, le=10.0, description="Seconds to wait after the end of speech when it does not."
    )
    end_of_turn_model: Literal["off", "v1-mini"] = Field(
        "off",
        description="v1-mini: LiveKit's local model also hears in each pause whether the turn is "
        "over, where the words leave doubt; about 290 MB.",
    )
    interruption_min_s: float = Field(
        0.15, ge=0, le=5.0, description="Seconds of voice without a known word that hold the agent."
    )
    aec_warmup_s: float = Field(
        0.0, ge=0, le=10.0, description="Seconds at a call's start in which nothing interrupts."
    )

    # -- callers' choices --------------------------------------------------------------------
    caller_may_choose: tuple[ChoiceKind, ...] = Field(
        ("flow", "character", "voice", "language", "economy"),
        description="What callers may choose for their call, by the page or the dispatch's "
        "metadata; [] = nothing.",
    )
