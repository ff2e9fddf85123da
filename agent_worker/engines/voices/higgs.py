"""Higgs Audio on a server: voices that are described in words, or cloned from a recording."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agent_worker.engines.cast import cast
from agent_worker.engines.chosen import Choice
from agent_worker.engines.inventory import VoicesFound
from agent_worker.settings import Settings

from .voice_engine import VoiceEngine

if TYPE_CHECKING:
    from livekit.agents import tts

    from flows.persona_profiles import Character


class Higgs(VoiceEngine):
    """Higgs Audio v2 and its successors."""

    name = "higgs"
    title = "Higgs Audio"
    plugin = "livekit.plugins.speech_api"

    def find(self, settings: Settings) -> VoicesFound:
        """Nothing: its voices are described, not stored."""
        return VoicesFound()

    def choose(self, settings: Settings, found: VoicesFound) -> Choice:
        """The server that is set."""
        problem = "" if settings.tts_url else "tts=higgs needs tts_url"
        return self.choice("", "set so", problem=problem, endpoint=settings.tts_url or "")

    def build(self, settings: Settings, choice: Choice) -> tts.TTS[Any]:
        """The scene and the speakers of the settings."""
        return _speaker(settings, choice)

    def for_character(self, settings: Settings, choice: Choice, voice: str) -> tts.TTS[Any]:
        """A character whose profile says what it sounds like."""
        described = {
            character.voice_name: character
            for character in cast(settings)
            if character.sound or character.reference
        }
        if voice not in described:
            raise ValueError(f"no profile says what {voice!r} sounds like: set its sound")
        return _speaker(settings, choice, described[voice])


def _speaker(
    settings: Settings, choice: Choice, character: Character | None = None
) -> tts.TTS[Any]:
    """One object for each who speaks, since the voice is remembered in it."""
    from livekit.agents import NOT_GIVEN

    from livekit.plugins import speech_api

    speakers = dict(settings.tts_speakers)
    reference, said = settings.tts_reference, settings.tts_reference_text
    if character is not None:
        if character.sound:
            speakers = {speech_api.FIRST_SPEAKER: character.sound}
        if character.reference is not None:
            reference, said = character.reference, character.reference_text
    if reference is not None and not said:
        raise ValueError("tts_reference needs tts_reference_text on Higgs: the words said in it")
    return speech_api.HiggsTTS(
        base_url=choice.endpoint,
        api_key=settings.tts_api_key.get_secret_value() or NOT_GIVEN,
        model=settings.tts_model or "higgs-audio-v2-generation-3B-base",
        character="" if character is None else character.name,
        scene=settings.tts_scene,
        speakers=speakers,
        # of several, the text's own tags tell who speaks
        speaker=next(iter(speakers)) if len(speakers) == 1 else "",
        ref_audio=reference or NOT_GIVEN,
        ref_text=said if reference is not None else "",
        ras_window=settings.tts_ras_window,
    )


ENGINE = Higgs()
