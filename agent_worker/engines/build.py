"""The chosen engines, built. Imports a plugin only when its engine is chosen."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from importlib import import_module
from typing import Any, TypeVar

from livekit.agents import NOT_GIVEN, llm, stt, tts

from agent_worker.settings import Settings

from .badges import Badge, badges
from .cast import cast
from .character_voices import CharacterVoices
from .chosen import Choice, Choices
from .hung_voice import PatienceLimited
from .language_model import CloseModel, build_language_model
from .voices.registry import STANDBY, UnknownVoiceEngineError, voice_engine

Recogniser = stt.STT[Any]


@dataclasses.dataclass(frozen=True)
class Engines:
    """What one call speaks with. The models behind them are shared by all calls of a process."""

    stt: stt.STT[Any]
    llm: llm.LLM[Any]
    tts: tts.TTS[Any]
    close_model: CloseModel = None
    """Closes the connections of this call's chat model and of its memory, if it has any."""
    voices: CharacterVoices | None = None
    """Of characters, by name."""
    standby_stt: Recogniser | None = None
    """Hears when the recogniser hangs."""
    badges: tuple[Badge, ...] = ()
    """What they are, in words for the caller."""
    asks_model: bool = True
    """Whether a language model answers, whose tokens have a price; rules have none."""

    async def aclose(self) -> None:
        """Closes them; safe to call twice."""
        if self.voices is not None:
            await self.voices.aclose()
        for engine in (self.stt, self.llm, self.tts):
            await engine.aclose()
        if self.standby_stt is not None:
            await self.standby_stt.aclose()
        if self.close_model is not None:
            await self.close_model()


T = TypeVar("T")

_BUNDLED = "bundled"


def import_plugins(choices: Choices) -> None:
    """Imports the plugins that calls may need; LiveKit wants that on the main thread."""
    names = {
        "livekit.plugins.faster_whisper",
        "livekit.plugins.langgraph",
        *(_voice_plugin(name) for name in _voice_engines(choices)),
    }
    for name in sorted(filter(None, names)):
        import_module(name)


def _voice_engines(choices: Choices) -> list[str]:
    standby = choices.found.voices_of(STANDBY).installed
    return [choices.tts.engine, *([STANDBY] if standby else [])]


def _voice_plugin(engine: str) -> str:
    try:
        return voice_engine(engine).plugin
    except UnknownVoiceEngineError:
        # the problem of the choice says it
        return ""


class EngineError(Exception):
    """A chosen engine can't be built. The message names the stage and says what to do."""


def build_engines(settings: Settings, choices: Choices) -> Engines:
    """Builds the chosen engines. Cheap: models load when they are first used, or at `prewarm`.

    Raises:
        EngineError: a voice or profile is not there, a number is out of an engine's range, …
    """
    speech_to_text = _built(choices.stt, lambda: _build_stt(settings, choices.stt))
    language_model, close_model = _built(
        choices.llm, lambda: build_language_model(settings, choices.llm)
    )
    text_to_speech = _built(choices.tts, lambda: _build_tts(settings, choices))
    speaker = voice_engine(choices.tts.engine)
    voices = CharacterVoices(
        text_to_speech, lambda name: speaker.for_character(settings, choices.tts, name)
    )
    if choices.llm.engine == "persona" and speaker.loads_voices:
        voices.prewarm(character.voice for character in cast(settings) if character.voice)
    return Engines(
        stt=speech_to_text,
        llm=language_model,
        tts=text_to_speech,
        close_model=close_model,
        voices=voices,
        standby_stt=(
            _whisper(settings, _BUNDLED)
            if settings.stt_fallback and choices.stt.detail != _BUNDLED
            else None
        ),
        badges=badges(choices),
        asks_model=choices.llm.engine != "offline",
    )


async def try_engines(settings: Settings, choices: Choices) -> None:
    """Builds the engines and closes them again, so that what is wrong is said at the start.

    Raises:
        EngineError: as `build_engines`.
    """
    import_plugins(choices)
    await build_engines(settings, choices).aclose()


def build_model(settings: Settings, choices: Choices) -> tuple[llm.LLM[Any], CloseModel]:
    """The model of a call alone, and what closes its connections.

    Raises:
        EngineError: as `build_engines`.
    """
    return _built(choices.llm, lambda: build_language_model(settings, choices.llm))


async def stage_faults(settings: Settings, choices: Choices) -> dict[str, str]:
    """By stage why its engine can't be built, each tried alone."""
    import_plugins(choices)
    faults = {choice.stage: choice.problem for choice in choices if choice.problem}
    if choices.stt.stage not in faults:
        try:
            await _built(choices.stt, lambda: _build_stt(settings, choices.stt)).aclose()
        except EngineError as e:
            faults[choices.stt.stage] = str(e.__cause__)
    if choices.llm.stage not in faults:
        try:
            model, close = build_model(settings, choices)
            await model.aclose()
            if close is not None:
                await close()
        except EngineError as e:
            faults[choices.llm.stage] = str(e.__cause__)
    if choices.tts.stage not in faults:
        try:
            await _built(choices.tts, lambda: _build_tts(settings, choices)).aclose()
        except EngineError as e:
            faults[choices.tts.stage] = str(e.__cause__)
    return faults


def _built(choice: Choice, build: Callable[[], T]) -> T:
    try:
        return build()
    except Exception as e:
        # each engine has errors of its own; all of them say what is wrong
        raise EngineError(f"{choice.stage}: {e}") from e


def _build_stt(settings: Settings, choice: Choice) -> stt.STT[Any]:
    chosen = _whisper(settings, choice.detail)
    if choice.detail == _BUNDLED or not settings.stt_fallback:
        return chosen
    # what stands in must not stand on the same device, which may be what failed
    return stt.FallbackAdapter([chosen, _whisper(settings, _BUNDLED, on_cpu=True)])


def _whisper(settings: Settings, model: str, *, on_cpu: bool = False) -> stt.STT[Any]:
    from livekit.plugins import faster_whisper

    return faster_whisper.STT(
        model=model,
        language=settings.language,
        device="cpu" if on_cpu else settings.stt_device,
        compute_type=NOT_GIVEN if on_cpu else settings.stt_compute_type or NOT_GIVEN,
        cpu_threads=settings.stt_cpu_threads or NOT_GIVEN,
        keyterms=list(settings.keyterms),
        # two of the detector's windows: a wrong guess costs one run, the turn policy decides
        speculative_silence=min(settings.vad_min_silence_s, 0.06),
    )


def _build_tts(settings: Settings, choices: Choices) -> tts.TTS[Any]:
    chosen = voice_engine(choices.tts.engine).build(settings, choices.tts)
    if choices.tts.engine == STANDBY:
        return chosen
    if not chosen.capabilities.streaming:
        chosen = tts.StreamAdapter(tts=chosen)
    limited = PatienceLimited(chosen, first_sample_s=settings.first_sample_timeout_s)
    if not settings.tts_fallback or not choices.found.voices_of(STANDBY).installed:
        return limited
    # whatever voice the other one was to have
    plain = settings.model_copy(update={"tts_voice": None})
    standby = voice_engine(STANDBY).build(plain, choices.tts)
    return tts.FallbackAdapter([limited, standby], max_retry_per_tts=1)


def caller_voice(language: str = "en-us") -> tts.TTS[Any]:
    """The voice of the simulated caller: espeak-ng, in process."""
    from livekit.plugins import espeak

    return espeak.TTS(language=language)
