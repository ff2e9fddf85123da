"""Kokoro: one model and a pack of voices, each made for one language."""

from __future__ import annotations

import dataclasses
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from agent_worker.engines.chosen import DOWNLOAD, Choice
from agent_worker.engines.inventory import VoicesFound
from agent_worker.language_tags import same_language
from agent_worker.settings import Settings

from .voice_engine import VoiceEngine

if TYPE_CHECKING:
    from livekit.agents import tts


class Kokoro(VoiceEngine):
    """Kokoro."""

    name = "kokoro"
    title = "Kokoro"
    plugin = "livekit.plugins.kokoro"
    loads_voices = True

    def find(self, settings: Settings) -> VoicesFound:
        """The voices of the pack that can be told what to say; espeak-ng is the phonemizer."""
        from livekit.plugins import kokoro

        installed = find_spec("espeakng_loader") is not None
        try:
            names = kokoro.find_files(settings.kokoro_dir()).voice_names()
        except (kokoro.VoiceNotFoundError, kokoro.VoicePackError):
            return VoicesFound(installed)
        made_for = {name: kokoro.language_of_voice(name) for name in names}
        spoken = {name: language.tag for name, language in made_for.items() if language is not None}
        return VoicesFound(installed, spoken)

    def choose(self, settings: Settings, found: VoicesFound) -> Choice:
        """The voice that is set, else the one for the call's language."""
        voice = settings.tts_voice or _voice_for(settings.spoken_language, found)
        return self.choice(voice, problem=_problem(settings, found, voice))

    def left_to_us(self, settings: Settings, found: VoicesFound) -> Choice | None:
        """Where one of its voices is named, or none is and it speaks the call's language."""
        if not found.installed:
            return None
        if settings.tts_voice is not None:
            if settings.tts_voice not in found.voices:
                return None
            return self.choice(settings.tts_voice, "tts_voice is one of Kokoro's")
        voice = _voice_for(settings.spoken_language, found)
        return self.choice(voice, "Kokoro is on this machine") if voice else None

    def build(self, settings: Settings, choice: Choice) -> tts.TTS[Any]:
        """One voice; all share the model."""
        from livekit.agents import NOT_GIVEN

        from livekit.plugins import kokoro

        own = kokoro.language_of_voice(choice.detail)
        spoken = settings.spoken_language
        at_home = own is not None and same_language(own.tag, spoken)
        return kokoro.TTS(
            voice=choice.detail,
            # a voice that was made for another language speaks this one with its accent
            language=NOT_GIVEN if at_home else spoken,
            models_dir=settings.kokoro_dir(),
            speed=min(2.0, max(0.5, settings.tts_speed)),
        )

    def for_character(self, settings: Settings, choice: Choice, voice: str) -> tts.TTS[Any]:
        """Any other voice of the pack."""
        return self.build(settings, dataclasses.replace(choice, detail=voice))

    def label(self, voice: str, language: str) -> tuple[str, str]:
        """Of "af_heart": Heart, and its language."""
        return voice[3:].replace("_", " ").title(), language

    def voice_for(self, language: str, settings: Settings, found: VoicesFound) -> str | None:
        """Chosen anew, for the other language."""
        return None


def _voice_for(tag: str, found: VoicesFound) -> str:
    """The voice for a language; the first of a list is the one that is graded best."""
    exact = (voice for voice, own in found.voices.items() if own.lower() == tag.lower())
    alike = (voice for voice, own in found.voices.items() if same_language(own, tag))
    return next(exact, next(alike, ""))


def _problem(settings: Settings, found: VoicesFound, voice: str) -> str:
    """Why it can't speak; empty where it can."""
    if not found.installed:
        return "its phonemizer is not installed: pip install 'livekit-agent-worker[kokoro]'"
    if not found.voices:
        return f"Kokoro is not in the cache: {DOWNLOAD} with tts=kokoro"
    if not voice:
        return (
            f"no Kokoro voice speaks {settings.spoken_language}; there are voices for "
            + ", ".join(dict.fromkeys(found.voices.values()))
        )
    if voice not in found.voices:
        return f"Kokoro has no voice {voice!r}; it has {', '.join(found.voices)}"
    return ""


ENGINE = Kokoro()
