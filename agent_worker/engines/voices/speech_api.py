"""A speech server with OpenAI's interface."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agent_worker.engines.chosen import Choice
from agent_worker.engines.inventory import VoicesFound
from agent_worker.settings import Settings

from .voice_engine import VoiceEngine

if TYPE_CHECKING:
    from livekit.agents import tts


class SpeechApi(VoiceEngine):
    """Any server with `POST /v1/audio/speech`."""

    name = "speech-api"
    title = "a speech server"
    plugin = "livekit.plugins.speech_api"

    def find(self, settings: Settings) -> VoicesFound:
        """Nothing: such a server can't be asked for its voices."""
        return VoicesFound()

    def choose(self, settings: Settings, found: VoicesFound) -> Choice:
        """The server that is set."""
        problem = "" if settings.tts_url else "tts=speech-api needs tts_url"
        return self.choice("", "set so", problem=problem, endpoint=settings.tts_url or "")

    def build(self, settings: Settings, choice: Choice) -> tts.TTS[Any]:
        """A client of the server."""
        from livekit.agents import NOT_GIVEN

        from livekit.plugins import speech_api

        return speech_api.TTS(
            base_url=choice.endpoint,
            model=settings.tts_model or "tts-1",
            voice=settings.tts_voice or NOT_GIVEN,
            api_key=settings.tts_api_key.get_secret_value() or NOT_GIVEN,
            sample_rate=settings.tts_sample_rate,
            speed=settings.tts_speed,
            ref_audio=settings.tts_reference or NOT_GIVEN,
        )

    def for_character(self, settings: Settings, choice: Choice, voice: str) -> tts.TTS[Any]:
        """Whichever voice a profile of the user's own names: the server knows what it has."""
        if settings.persona_profiles is None and settings.llm != "remote":
            raise ValueError("the profiles that come along name no voice of a speech server")
        return self.build(settings.model_copy(update={"tts_voice": voice}), choice)


ENGINE = SpeechApi()
