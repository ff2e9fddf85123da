"""espeak-ng: small, in process, in every language; voices are languages and variants of sound."""

from __future__ import annotations

import contextlib
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from agent_worker.engines.chosen import DOWNLOAD, Choice
from agent_worker.engines.inventory import VoicesFound
from agent_worker.engines.offer import STANDARD, Offer
from agent_worker.language_tags import same_language
from agent_worker.settings import Settings

from .voice_engine import VoiceEngine

if TYPE_CHECKING:
    from livekit.agents import tts

_WORDS_PER_MINUTE = 165
_VARIANTS = {"+f3": "Higher", "+m3": "Deeper", "+whisper": "Whispering"}
_MISSING = (
    "espeakng-loader is not installed (it is an extra, since espeak-ng is under the GPL): "
    "pip install 'livekit-agent-worker[espeak]', or "
    "uvx --from 'livekit-agent-worker[espeak]' agent-worker"
)


class Espeak(VoiceEngine):
    """espeak-ng."""

    name = "espeak"
    title = "eSpeak NG"
    plugin = "livekit.plugins.espeak"
    # no more than the language
    names_voice = False
    better = "agent-worker download-files"

    def find(self, settings: Settings) -> VoicesFound:
        """Whether the library is here; it brings its voices."""
        return VoicesFound(find_spec("espeakng_loader") is not None)

    def choose(self, settings: Settings, found: VoicesFound) -> Choice:
        """The voice that is set, else the language's."""
        detail = settings.tts_voice or settings.language
        return self.choice(detail, problem="" if found.installed else _MISSING)

    def left_to_us(self, settings: Settings, found: VoicesFound) -> Choice | None:
        """Always: there is nothing after it."""
        named = settings.tts_voice is not None
        return self.choice(
            settings.tts_voice or settings.language,
            "tts_voice is none of Piper's or Kokoro's"
            if named
            else "no Piper voice in the cache; "
            "espeak-ng is small and always at hand, and sounds like it",
            better=f"for a natural voice: {DOWNLOAD} (set tts_voice to choose one)",
            problem="" if found.installed else _MISSING,
        )

    def build(self, settings: Settings, choice: Choice) -> tts.TTS[Any]:
        """The voice of the settings."""
        return _speaker(settings, settings.tts_voice or "")

    def for_character(self, settings: Settings, choice: Choice, voice: str) -> tts.TTS[Any]:
        """The voice, or what is left of it in another language: the variant."""
        own, _, variant = voice.partition("+")
        if not (own and same_language(own, settings.spoken_language)):
            voice = f"+{variant or own}"
        return _speaker(settings, voice)

    def offers(self, settings: Settings, choice: Choice, found: VoicesFound) -> tuple[Offer, ...]:
        """Some variants, in whichever language the call is."""
        taken = "+" + (settings.tts_voice or "").partition("+")[2]
        return (
            Offer(STANDARD, "Standard"),
            *(Offer(id, name) for id, name in _VARIANTS.items() if id != taken),
        )

    def speaks(self, language: str, found: VoicesFound) -> bool:
        """Every language of the list."""
        return True

    def voice_for(self, language: str, settings: Settings, found: VoicesFound) -> str | None:
        """The variant of the settings, which goes with every language."""
        _, plus, variant = (settings.tts_voice or "").partition("+")
        return plus + variant or None


def _speaker(settings: Settings, voice: str) -> tts.TTS[Any]:
    from livekit.agents import NOT_GIVEN

    from livekit.plugins import espeak

    if voice:
        # The library files some voices under other names than their language: en-gb is gmw/en. A
        # variant alone goes with whichever voice speaks the call's language.
        tag, plus, variant = voice.partition("+")
        with contextlib.suppress(ValueError):
            voice = espeak.TTS(language=tag or settings.spoken_language).model + plus + variant
    return espeak.TTS(
        voice=voice or NOT_GIVEN,
        language=settings.spoken_language,
        rate_wpm=round(_WORDS_PER_MINUTE * settings.tts_speed),
    )


ENGINE = Espeak()
