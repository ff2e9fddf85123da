"""What hears, thinks and speaks in a call, in words for the one who calls.

The page has it in `/api/config`, before a call, and from the agent's attribute `agent.engines` in
one. No address of a server, no path and no setting is in it: callers may be strangers.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import Literal

from .chosen import Choice, Choices
from .voices.registry import UnknownVoiceEngineError, voice_engine

ENGINES_ATTRIBUTE = "agent.engines"
"""Participant attribute of the agent: a JSON list of badges, as `as_json` makes it."""

_DOWNLOAD = "agent-worker download-files"
_TOY = (
    "The bundled demo model listens: it knows a small vocabulary and hears wrong words in all else."
)
_COMING = "Real models are on their way: a call that begins once they are here has them."
_RULES = "Rules answer, not a language model: time, sums, timers, small talk."
_LONGEST = 48

Stage = Literal["hearing", "thinking", "voice"]


@dataclasses.dataclass(frozen=True)
class Badge:
    """One engine of a call.

    Attributes:
        stage: what it does.
        name: of the engine and its model.
        toy: it only shows that the parts work together: what comes of it is no measure of the rest.
        note: what to expect of it, a sentence; empty where there is nothing to say.
        command: that brings a better one; empty where none is known.
    """

    stage: Stage
    name: str
    toy: bool = False
    note: str = ""
    command: str = ""


def badges(choices: Choices) -> tuple[Badge, ...]:
    """Of the engines that were chosen: hearing, thinking, voice."""
    return (_hearing(choices.stt), _thinking(choices.llm), _voice(choices.tts))


def on_their_way(shown: Sequence[Badge]) -> tuple[Badge, ...]:
    """The same while real models are being downloaded: there is nothing left to do but wait."""
    return tuple(
        dataclasses.replace(badge, note=f"{badge.note} {_COMING}".strip(), command="")
        if badge.toy
        else badge
        for badge in shown
    )


def as_json(shown: Sequence[Badge]) -> str:
    """As the agent tells it to the clients in the room."""
    return json.dumps([dataclasses.asdict(badge) for badge in shown], ensure_ascii=False)


def _hearing(choice: Choice) -> Badge:
    if choice.detail == "bundled":
        return Badge("hearing", "Whisper, demo model", True, _TOY, _DOWNLOAD)
    return Badge("hearing", _short(f"Whisper {_tail(choice.detail)}"))


def _thinking(choice: Choice) -> Badge:
    if choice.engine == "offline":
        return Badge("thinking", "Rules, no model", note=_RULES)
    if choice.engine == "remote":
        return Badge("thinking", _short(choice.detail or "flow server"))
    return Badge("thinking", _short(_tail(choice.detail) or choice.engine))


def _voice(choice: Choice) -> Badge:
    try:
        engine = voice_engine(choice.engine)
    except UnknownVoiceEngineError:
        # the problem of the choice says it
        return Badge("voice", _short(choice.engine))
    voice = _tail(choice.detail) if engine.names_voice else ""
    return Badge("voice", _short(f"{engine.title} {voice}".strip()), command=engine.better)


def _tail(name: str) -> str:
    """A model's own name, without the folders or the owner before it."""
    last = name.rstrip("/\\").replace("\\", "/").rpartition("/")[2]
    return last.removesuffix(".gguf").removesuffix(".onnx").removeprefix("faster-whisper-")


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST else name[: _LONGEST - 1] + "…"
