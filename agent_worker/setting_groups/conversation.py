"""What the agent says of its own accord, how long it waits, and what it does after a fault."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field


class ConversationSettings(BaseModel):
    """The course of a call."""

    # -- the conversation --------------------------------------------------------------------
    greeting: str = Field(
        "Hello. How can I help you?", description="What the agent says first; empty = it waits."
    )
    instructions: str = Field(
        "You are a helpful voice assistant. Answer briefly, in plain spoken sentences.",
        description="System prompt for flows that use a model.",
    )
    language: str = Field(
        "en",
        pattern=r"^(auto|[a-z]{2,3}(-[A-Za-z0-9]+)*)$",
        description="Language of the call, such as en or zh; auto = detected, then locked.",
    )
    goodbye: str = Field(
        "I will hang up now. Goodbye.", description="Said before the agent leaves a silent call."
    )
    session_timeout_s: float = Field(
        300.0, gt=0, description="Seconds of silence on both sides after which the agent leaves."
    )
    return_within_s: float = Field(
        30.0,
        ge=0,
        description="Seconds for which a caller who left can come back to the same call. "
        "The server must keep their room for as long: departure_timeout in its configuration.",
    )

    # -- when something breaks ---------------------------------------------------------------
    call_agent_to: Literal["dispatched", "every_room", "off"] = Field(
        "dispatched",
        description="Rooms into which the agent is called again when a caller is alone there: "
        "those that had called it, every one, or none.",
    )
    first_word_timeout_s: float = Field(
        8.0,
        gt=0,
        le=120,
        description="Seconds without a word from the model after which an apology is said; before "
        "it, after at most 3.5 s, a filler. More for a model that is loaded when first asked.",
    )
    first_sample_timeout_s: float = Field(
        4.0,
        gt=0,
        le=60,
        description="Seconds from a phrase to its first sample after which a voice is left for the "
        "rest of the call.",
    )
    words_back: str | None = Field(
        None,
        description="Said by an agent that takes over after a fault; unset = in the call's "
        "language, empty = nothing. Likewise the others here.",
    )
    words_deaf: str | None = Field(None, description="Said when the agent hears nothing any more.")
    words_hears_again: str | None = Field(None, description="Said when it hears again.")
    words_stopping: str | None = Field(
        None, description="Said before the worker's end cuts a call off."
    )
    words_busy: str | None = Field(
        None, description="Shown to callers for whom there is no free agent."
    )
