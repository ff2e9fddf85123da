"""XTTS: a voice cloned from a recording, in a process of its own."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from agent_worker.engines.chosen import Choice
from agent_worker.engines.inventory import VoicesFound
from agent_worker.settings import Settings

from .voice_engine import VoiceEngine

if TYPE_CHECKING:
    from livekit.agents import tts


class Xtts(VoiceEngine):
    """XTTS v2."""

    name = "xtts"
    title = "XTTS"
    plugin = "livekit.plugins.xtts"

    def find(self, settings: Settings) -> VoicesFound:
        """Whether coqui-tts is here."""
        return VoicesFound(find_spec("TTS") is not None)

    def choose(self, settings: Settings, found: VoicesFound) -> Choice:
        """The voice of the recording that is set."""
        return self.choice(settings.tts_voice or "", "set so", problem=_problem(settings, found))

    def build(self, settings: Settings, choice: Choice) -> tts.TTS[Any]:
        """One process for all calls with these settings."""
        from livekit.agents import NOT_GIVEN

        from livekit.plugins import xtts

        return xtts.TTS(
            accept_license=settings.xtts_accept_license,
            model_dir=settings.tts_model or NOT_GIVEN,
            reference_wav=settings.tts_reference,
            language=settings.spoken_language,
            speed=settings.tts_speed,
        )

    def speaks(self, language: str, found: VoicesFound) -> bool:
        """Every language of the list."""
        return True


def _problem(settings: Settings, found: VoicesFound) -> str:
    if not found.installed:
        return "coqui-tts is not installed: pip install 'livekit-agent-worker[xtts]'"
    if not settings.xtts_accept_license:
        return "read the model's licence (CPML, non-commercial), then set xtts_accept_license=true"
    if settings.tts_reference is None:
        return "set tts_reference to a WAV of 6 to 30 s of the voice to speak with"
    return ""


ENGINE = Xtts()
