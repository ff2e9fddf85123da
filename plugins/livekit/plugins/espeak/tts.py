"""`espeak.TTS`: LiveKit's text-to-speech interface on espeak-ng."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import replace

from livekit.agents import NOT_GIVEN, NotGivenOr
from livekit.agents.utils import is_given

from local_tts.espeak_library import SAMPLE_RATE
from local_tts.options import Tokenizer, checked_numbers
from local_tts.voice_tts import VoiceTTS

from .engine import SpeechOptions, Voice, require_library, shared
from .languages import voice_for_language
from .log import logger
from .streams import EspeakDelivery

_LIMITS = {
    "rate_wpm": (80, 450),
    "pitch": (0, 100),
    "pitch_range": (0, 100),
    "volume": (0, 200),
    "word_gap_ms": (0, 5000),
}


def list_voices() -> tuple[Voice, ...]:
    """Returns the voices that espeak-ng has here.

    Raises:
        ImportError: The `espeak` extra is not installed.
    """
    return shared().voices()


class TTS(VoiceTTS):
    """espeak-ng in this process. `espeak.TTS()` speaks English with no further argument."""

    def __init__(
        self,
        *,
        voice: NotGivenOr[str] = NOT_GIVEN,
        language: NotGivenOr[str] = NOT_GIVEN,
        rate_wpm: int = 175,
        pitch: int = 50,
        pitch_range: int = 50,
        volume: int = 100,
        word_gap_ms: int = 0,
        tokenizer: NotGivenOr[Tokenizer] = NOT_GIVEN,
    ) -> None:
        """Creates a voice; the library itself is loaded by the first one in the process.

        Args:
            voice: Name or identifier from `list_voices()`, with a variant if wanted
                ("en-us+f3"). Wins over `language`.
            language: BCP 47 tag ("de", "pt-BR", "zh"); the voice for it is looked up.
            rate_wpm: Words a minute, 80 to 450.
            pitch: 0 to 100.
            pitch_range: 0 (monotone) to 100.
            volume: 0 to 200, 100 is normal.
            word_gap_ms: Extra pause between words, milliseconds.
            tokenizer: Cuts the text pushed to `stream()` into pieces that are spoken one after
                the other. By default LiveKit's blingfire sentences.

        Raises:
            ImportError: The `espeak` extra is not installed.
            ValueError: There is no such voice or language, or a number is out of its range.
        """
        super().__init__(sample_rate=SAMPLE_RATE, tokenizer=tokenizer, tells_words=True)
        require_library()
        self._engine = shared()
        self._options = self._changed(
            SpeechOptions(),
            voice=voice,
            language=language,
            rate_wpm=rate_wpm,
            pitch=pitch,
            pitch_range=pitch_range,
            volume=volume,
            word_gap_ms=word_gap_ms,
        )

    @property
    def model(self) -> str:
        """The voice's name."""
        return self._options.voice

    @property
    def provider(self) -> str:
        """Always "espeak-ng"."""
        return "espeak-ng"

    def update_options(
        self,
        *,
        voice: NotGivenOr[str] = NOT_GIVEN,
        language: NotGivenOr[str] = NOT_GIVEN,
        rate_wpm: NotGivenOr[int] = NOT_GIVEN,
        pitch: NotGivenOr[int] = NOT_GIVEN,
        pitch_range: NotGivenOr[int] = NOT_GIVEN,
        volume: NotGivenOr[int] = NOT_GIVEN,
        word_gap_ms: NotGivenOr[int] = NOT_GIVEN,
    ) -> None:
        """Changes how later streams speak; those under way keep what they began with.

        Raises:
            ValueError: As in the constructor; nothing is changed then.
        """
        self._options = self._changed(
            self._options,
            voice=voice,
            language=language,
            rate_wpm=rate_wpm,
            pitch=pitch,
            pitch_range=pitch_range,
            volume=volume,
            word_gap_ms=word_gap_ms,
        )

    def prewarm(self) -> None:
        """Loads the library in its thread, so that the first phrase does not wait for it."""
        self._engine.thread.submit(self._engine.load).add_done_callback(_report_failure)

    def _delivery(self) -> EspeakDelivery:
        return EspeakDelivery(self._engine, self._options)

    def _changed(
        self,
        base: SpeechOptions,
        *,
        voice: NotGivenOr[str],
        language: NotGivenOr[str],
        **numbers: NotGivenOr[int],
    ) -> SpeechOptions:
        given = checked_numbers(numbers, _LIMITS)
        name = base.voice
        if is_given(voice):
            name = self._known_voice(voice)
        elif is_given(language):
            name = self._known_voice(voice_for_language(language, self._engine.voices()), language)
        return replace(base, voice=name, **given)

    def _known_voice(self, voice: str | None, asked_for: str = "") -> str:
        if voice is None or not self._engine.has_voice(voice):
            raise ValueError(
                f"espeak-ng has no voice for {asked_for or voice!r}; espeak.list_voices() has all"
            )
        return voice


def _report_failure(done: Future[None]) -> None:
    if (error := done.exception()) is not None:
        logger.warning("espeak-ng could not be loaded", exc_info=error)
