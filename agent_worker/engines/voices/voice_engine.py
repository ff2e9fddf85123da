"""What a voice engine tells the worker: the one interface of all files beside this one.

The worker knows no engine by name. What is peculiar to one stands in its file, which has an object
`ENGINE` of a class derived from `VoiceEngine`; `registry.py` finds it by the name in `tts`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

from agent_worker.engines.chosen import Choice
from agent_worker.engines.inventory import VoicesFound
from agent_worker.engines.offer import Offer
from agent_worker.language_tags import primary, same_language
from agent_worker.settings import Settings

if TYPE_CHECKING:
    from livekit.agents import tts


class VoiceEngine(ABC):
    """A voice engine, for the worker. It holds nothing of a call.

    An engine has to be found, chosen and built; the rest has answers that fit one which speaks
    with one voice, in one language. Only `build` and `for_character` may import the plugin, and
    only `find` looks at the machine: the others decide from what they are given.
    """

    name: ClassVar[str]
    """What `tts` of the settings calls it, if it is one of ours; anything for one of your own."""
    title: ClassVar[str]
    """For callers."""
    plugin: ClassVar[str] = ""
    """The LiveKit plugin that has to be imported on the main thread, by its whole name."""
    names_voice: ClassVar[bool] = True
    """Whether its chosen voice says something to callers."""
    better: ClassVar[str] = ""
    """The command that brings a better voice than any of its own; empty where none is known."""
    loads_voices: ClassVar[bool] = False
    """Whether each of its voices is a model of its own, which is better loaded ahead."""

    @abstractmethod
    def find(self, settings: Settings) -> VoicesFound:
        """What it has on this machine. Blocks for milliseconds; no network."""

    @abstractmethod
    def choose(self, settings: Settings, found: VoicesFound) -> Choice:
        """Its voice for settings that ask for this engine, or why it can't speak."""

    @abstractmethod
    def build(self, settings: Settings, choice: Choice) -> tts.TTS[Any]:
        """The plugin's own object, with the voice of the choice. Cheap: loads on first use.

        Raises:
            Exception: whichever the plugin raises; the message says what to do.
        """

    def left_to_us(self, settings: Settings, found: VoicesFound) -> Choice | None:
        """Its voice where `tts` is auto; None = it has none for these settings."""
        return None

    def for_character(self, settings: Settings, choice: Choice, voice: str) -> tts.TTS[Any]:
        """The engine with the voice that a character's profile names.

        Raises:
            ValueError, OSError: it has no such voice.
        """
        raise ValueError(f"{self.title} speaks with one voice in a call")

    def offers(self, settings: Settings, choice: Choice, found: VoicesFound) -> tuple[Offer, ...]:
        """The voices that a caller may choose, the one of a call that asks for nothing first."""
        if choice.detail not in found.voices:
            return ()
        names = sorted(found.voices, key=lambda name: name != choice.detail)
        return tuple(
            Offer(name, *self.label(name, found.voices[name]), primary(found.voices[name]))
            for name in names
        )

    def label(self, voice: str, language: str) -> tuple[str, str]:
        """A voice's name for people, and a note on it."""
        return voice, language

    def speaks(self, language: str, found: VoicesFound) -> bool:
        """Whether it has a voice for a language, given by its primary tag."""
        return any(same_language(spoken, language) for spoken in found.voices.values())

    def voice_for(self, language: str, settings: Settings, found: VoicesFound) -> str | None:
        """`tts_voice` of a call in another language than that of the settings."""
        fit = (voice for voice, spoken in found.voices.items() if same_language(spoken, language))
        return next(fit, settings.tts_voice)

    def choice(
        self,
        detail: str,
        reason: str = "set in the settings",
        *,
        better: str = "",
        problem: str = "",
        endpoint: str = "",
    ) -> Choice:
        """A choice of this engine."""
        return Choice("speaking", self.name, detail, reason, better, problem, endpoint=endpoint)
