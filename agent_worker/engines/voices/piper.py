"""Piper: a voice is an ONNX file with a JSON file beside it, in a folder."""

from __future__ import annotations

import dataclasses
import json
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent_worker.engines.chosen import DOWNLOAD, Choice
from agent_worker.engines.inventory import VoicesFound
from agent_worker.language_tags import primary
from agent_worker.settings import Settings

from .voice_engine import VoiceEngine

if TYPE_CHECKING:
    from livekit.agents import tts

_QUALITIES = ("-high", "-medium", "-low", "-x_low")
"""What the names of official voices end with, the best first."""
_FILE = ".onnx"


class Piper(VoiceEngine):
    """Piper."""

    name = "piper"
    title = "Piper"
    plugin = "livekit.plugins.piper"
    loads_voices = True

    def find(self, settings: Settings) -> VoicesFound:
        """The voices of the folder, the best quality first."""
        voices = [
            voice
            for voice in settings.voices_dir().glob("*.onnx")
            if voice.with_suffix(".onnx.json").is_file()
        ]
        return VoicesFound(
            find_spec("piper") is not None,
            {voice.stem: _language_of(voice) for voice in sorted(voices, key=_rank)},
        )

    def choose(self, settings: Settings, found: VoicesFound) -> Choice:
        """The voice that is set, else the best that is here."""
        voice = settings.tts_voice or next(iter(found.voices), "")
        return self.choice(voice, problem=_problem(settings, found))

    def left_to_us(self, settings: Settings, found: VoicesFound) -> Choice | None:
        """Where a voice of its own is named, or none is and one is here."""
        voice = settings.tts_voice
        if voice is None:
            if not found.installed or not found.voices:
                return None
            return self.choice(next(iter(found.voices)), "a Piper voice is on this machine")
        if voice not in found.voices and not voice.endswith((_FILE, *_QUALITIES)):
            return None
        # one that has to be fetched first is said to be missing: nothing else is to speak for it
        return self.choice(voice, "tts_voice is one of Piper's", problem=_problem(settings, found))

    def build(self, settings: Settings, choice: Choice) -> tts.TTS[Any]:
        """One voice; those of the same file share it."""
        from livekit.plugins import piper

        return piper.TTS(
            model=choice.detail, models_dir=settings.voices_dir(), speed=settings.tts_speed
        )

    def for_character(self, settings: Settings, choice: Choice, voice: str) -> tts.TTS[Any]:
        """Any other voice of the folder."""
        return self.build(settings, dataclasses.replace(choice, detail=voice))

    def label(self, voice: str, language: str) -> tuple[str, str]:
        """Of "en_US-lessac-high": Lessac, and "en-US, high"."""
        locale, _, rest = voice.partition("-")
        speaker, dash, quality = rest.partition("-")
        if not dash or "-" in quality:
            return voice.replace("_", " ").title(), ""
        return speaker.replace("_", " ").title(), f"{locale.replace('_', '-')}, {quality}"


def _problem(settings: Settings, found: VoicesFound) -> str:
    """Why it can't speak; empty where it can, as far as names tell."""
    voice = settings.tts_voice
    if not found.installed:
        return "piper-tts is not installed: pip install 'livekit-agent-worker[piper]'"
    if voice is None:
        return "" if found.voices else f"no Piper voice in the cache: {DOWNLOAD}"
    if voice in found.voices or voice.endswith(_FILE):
        return ""
    here = f"the Piper voice {voice!r} is not in the cache, which has "
    here += ", ".join(found.voices) or "none"
    if voice.endswith(_QUALITIES):
        return f"{here}: {DOWNLOAD}, which fetches it"
    return f"{here}; official ones are named as en_US-lessac-medium is, a file ends with {_FILE}"


def _rank(voice: Path) -> tuple[int, str]:
    ranks = (i for i, quality in enumerate(_QUALITIES) if voice.stem.endswith(quality))
    return next(ranks, len(_QUALITIES)), voice.name


def _language_of(voice: Path) -> str:
    try:
        about = json.loads(voice.with_suffix(".onnx.json").read_text(encoding="utf-8"))
        return primary(str(about.get("language", {}).get("code") or about["espeak"]["voice"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        # the names of official voices begin with it: en_US-lessac-high
        return primary(voice.stem)


ENGINE = Piper()
