"""Finds voice engines by their names, and asks them which of them speaks.

An engine's file is imported when it is asked for: this one, and the decisions above it, know none
of them, nor LiveKit.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping
from importlib import import_module
from typing import get_args

from agent_worker.engines.chosen import Choice
from agent_worker.engines.inventory import Found, VoicesFound
from agent_worker.settings import Settings, TtsEngine

from .voice_engine import VoiceEngine

OURS = tuple(name for name in get_args(TtsEngine) if name != "auto")
"""Engines that come along, each a file beside this one."""
LEFT_TO_US = ("piper", "kokoro", "espeak")
"""Those that tts=auto takes from, the first choice first."""
STANDBY = "espeak"
"""Speaks while another engine fails: small, always at hand, in every language."""


class UnknownVoiceEngineError(Exception):
    """There is no such engine. The message says what was looked for."""


def voice_engine(name: str) -> VoiceEngine:
    """The engine that `tts` of the settings names, or that a choice has.

    Args:
        name: one of ours, or `MODULE:NAME` of an object of yours.

    Raises:
        UnknownVoiceEngineError: it can't be imported, or is no voice engine.
    """
    module, colon, attribute = name.partition(":")
    if not colon:
        module, attribute = f"{__package__}.{name.replace('-', '_')}", "ENGINE"
    try:
        engine = getattr(import_module(module), attribute)
    except Exception as e:
        # a file of the user's may raise anything
        raise UnknownVoiceEngineError(f"the voice engine {name} can't be loaded: {e}") from e
    if not isinstance(engine, VoiceEngine):
        raise UnknownVoiceEngineError(f"{name} is no VoiceEngine, but a {type(engine).__name__}")
    return engine


def find_voices(settings: Settings) -> Mapping[str, VoicesFound]:
    """What each engine has on this machine, by its name; one that can't be loaded is left out."""
    found = {name: voice_engine(name).find(settings) for name in OURS}
    if settings.tts not in (*OURS, "auto"):
        # said where it is chosen
        with contextlib.suppress(UnknownVoiceEngineError):
            found[settings.tts] = voice_engine(settings.tts).find(settings)
    return found


def choose_voice(settings: Settings, found: Found) -> Choice:
    """The engine and the voice that speak."""
    if settings.tts == "auto":
        return _left_to_us(settings, found)
    try:
        engine = voice_engine(settings.tts)
    except UnknownVoiceEngineError as e:
        return Choice("speaking", settings.tts, "", "set in the settings", problem=str(e))
    choice = engine.choose(settings, found.voices_of(settings.tts))
    # one of the user's own may call itself anything
    return dataclasses.replace(choice, engine=settings.tts)


def _left_to_us(settings: Settings, found: Found) -> Choice:
    # who names a voice means the engine that has it
    order = sorted(
        LEFT_TO_US, key=lambda name: settings.tts_voice not in found.voices_of(name).voices
    )
    for name in order:
        choice = voice_engine(name).left_to_us(settings, found.voices_of(name))
        if choice is not None:
            return choice
    raise AssertionError(f"{STANDBY} takes whatever no other engine does")
