"""The chosen engines, built. Imports a plugin only when its engine is chosen."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import threading
from collections.abc import Awaitable, Callable, Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, TypeVar

from livekit.agents import NOT_GIVEN, APIError, NotGivenOr, llm, stt, tts

from agent_worker.settings import Settings
from flows.persona_profiles import Character, default_profiles, load_profiles

from .badges import Badge, badges
from .character_voices import CharacterVoices
from .choice import Choice, Choices
from .hung_voice import PatienceLimited
from .languages import languages, primary, same_language

if TYPE_CHECKING:
    from flows.model import ModelOptions, ServerMemory

logger = logging.getLogger(__name__)

Recogniser = stt.STT[Any]


@dataclasses.dataclass(frozen=True)
class Engines:
    """What one call speaks with. The models behind them are shared by all calls of a process."""

    stt: stt.STT[Any]
    llm: llm.LLM[Any]
    tts: tts.TTS[Any]
    close_model: Callable[[], Awaitable[None]] | None = None
    """Closes the connections of this call's chat model and of its memory, if it has any."""
    voices: CharacterVoices | None = None
    """Of characters, by name."""
    standby_stt: Recogniser | None = None
    """Hears when the recogniser hangs."""
    badges: tuple[Badge, ...] = ()
    """What they are, in words for the caller."""

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
_ESPEAK_WORDS_PER_MINUTE = 165

_PLUGIN_OF = {
    "faster-whisper": "faster_whisper",
    "piper": "piper",
    "kokoro": "kokoro",
    "espeak": "espeak",
    "xtts": "xtts",
    "speech-api": "speech_api",
    "higgs": "speech_api",
}


def import_plugins(choices: Choices) -> None:
    """Imports the plugins that calls may need; LiveKit wants that on the main thread."""
    names = {_PLUGIN_OF.get(choice.engine, "langgraph") for choice in choices}
    if _has_espeak():
        names.add("espeak")
    for name in sorted(names):
        import_module(f"livekit.plugins.{name}")


class EngineError(Exception):
    """A chosen engine can't be built. The message names the stage and says what to do."""


def build_engines(settings: Settings, choices: Choices) -> Engines:
    """Builds the chosen engines. Cheap: models load when they are first used, or at `prewarm`.

    Raises:
        EngineError: a voice or profile is not there, a number is out of an engine's range, …
    """
    speech_to_text = _built(choices.stt, lambda: _build_stt(settings, choices.stt))
    language_model, close_model = _built(choices.llm, lambda: _build_llm(settings, choices.llm))
    text_to_speech = _built(choices.tts, lambda: _build_tts(settings, choices.tts))
    voices = CharacterVoices(
        text_to_speech, lambda name: _character_voice(settings, choices.tts, name)
    )
    if choices.llm.engine == "persona" and choices.tts.engine in ("piper", "kokoro"):
        voices.prewarm(character.voice for character in _cast(settings) if character.voice)
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
    )


async def try_engines(settings: Settings, choices: Choices) -> None:
    """Builds the engines and closes them again, so that what is wrong is said at the start.

    Raises:
        EngineError: as `build_engines`.
    """
    import_plugins(choices)
    await build_engines(settings, choices).aclose()


def build_model(
    settings: Settings, choices: Choices
) -> tuple[llm.LLM[Any], Callable[[], Awaitable[None]] | None]:
    """The model of a call alone, and what closes its connections.

    Raises:
        EngineError: as `build_engines`.
    """
    return _built(choices.llm, lambda: _build_llm(settings, choices.llm))


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
            await _built(choices.tts, lambda: _build_tts(settings, choices.tts)).aclose()
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


_server_memories: dict[tuple[str, str], ServerMemory] = {}
"""By address and model: what one call has learnt of a server need not be learnt in the next."""


def model_server(settings: Settings, choice: Choice) -> tuple[ModelOptions, ServerMemory]:
    """How the chosen model is asked, and what this process knows of its server."""
    from flows.model import ModelOptions, ServerKind, ServerMemory

    language = languages().get(primary(settings.spoken_language))
    options = ModelOptions(
        base_url=choice.endpoint,
        model=choice.detail,
        kind=ServerKind(choice.server_kind) if choice.server_kind else ServerKind.OTHER,
        api_key=choice.api_key or settings.llm_api_key.get_secret_value(),
        temperature=settings.llm_temperature,
        max_tokens=settings.llm_max_tokens,
        context_tokens=choice.context_tokens,
        economy=settings.economy,
        first_token_timeout_s=settings.first_word_timeout_s,
    )
    if language is not None:
        options = dataclasses.replace(options, fillers=language.fillers)
    server = choice.endpoint, choice.detail
    return options, _server_memories.setdefault(server, ServerMemory())


def keep_model_warm(settings: Settings, choices: Choices) -> None:
    """Has the model loaded ahead of the first call and kept, in a thread that ends with us."""
    if choices.llm.engine in ("offline", "remote") or choices.llm.problem:
        return
    from flows.warm_up import keep_warm

    options, memory = model_server(settings, choices.llm)
    threading.Thread(
        target=lambda: asyncio.run(keep_warm(options, memory)), name="model", daemon=True
    ).start()


async def read_prompt_ahead(settings: Settings, choices: Choices) -> None:
    """Has the worker's own model read the flow's prompt, which it keeps for all calls.

    On a CPU that takes seconds, which the first caller would wait.
    """
    if not choices.llm.api_key:
        return
    patient = settings.model_copy(update={"first_word_timeout_s": _PROMPT_S, "llm_max_tokens": 1})
    model, close = _build_llm(patient, choices.llm)
    asked = llm.ChatContext.empty()
    # as a call begins
    asked.add_message(role="system", content=settings.instructions)
    if settings.greeting:
        asked.add_message(role="assistant", content=settings.greeting)
    asked.add_message(role="user", content="Hello.")
    try:
        async with asyncio.timeout(_PROMPT_S), model.chat(chat_ctx=asked) as answer:
            async for _ in answer:
                pass
    except (APIError, TimeoutError) as e:
        # a call has its own ways of dealing with it
        logger.warning("the language model was asked to say hello: %s", e)
    finally:
        await model.aclose()
        if close is not None:
            await close()


_PROMPT_S = 120.0
_CloseModel = Callable[[], Awaitable[None]] | None


def _build_llm(settings: Settings, choice: Choice) -> tuple[llm.LLM[Any], _CloseModel]:
    from flows.model import chat_model
    from livekit.plugins import langgraph

    from .call_flow import flow_for_call

    if choice.engine == "remote":
        token = settings.flow_token.get_secret_value() or None
        remote = langgraph.LLM.remote(
            settings.flow_url or "",
            settings.flow_id,
            token=token,
            context={"economy": True} if settings.economy else None,
            **_own_words(settings),
        )
        return remote, None
    if choice.engine == "offline":
        flow = flow_for_call(settings, choice.engine)
        nodes = flow.speakable_nodes
        return langgraph.LLM(flow.graph, speakable_nodes=nodes, **_own_words(settings)), flow.aclose
    options, memory = model_server(settings, choice)
    model = chat_model(options, memory)
    characters = _cast(settings) if choice.engine == "persona" else None
    flow = flow_for_call(settings, choice.engine, model=model, characters=characters)

    async def close() -> None:
        await flow.aclose()
        await model.aclose()

    own = _own_words(settings)
    return langgraph.LLM(flow.graph, speakable_nodes=flow.speakable_nodes, **own), close


def _own_words(settings: Settings) -> dict[str, Any]:
    """What the plugin says of its own accord, in the language of the call."""
    language = languages().get(primary(settings.spoken_language))
    return {} if language is None else {"fillers": language.fillers, "apology": language.apology}


def aside_mark(own: str, extra: Mapping[str, Any]) -> dict[str, Any]:
    """Marks what an answer begins with as no words of the model.

    Args:
        own: what was said before the answer.
        extra: of a chunk of the answer; what it marks itself moves behind.
    """
    from livekit.plugins.langgraph.history import ASIDES_KEY, Aside, mark_asides

    later = [
        Aside(offset + len(own), text)
        for offset, text in extra.get(ASIDES_KEY, {}).get("asides", ())
    ]
    return {**extra, **mark_asides([Aside(0, own), *later])}


def _cast(settings: Settings) -> list[Character]:
    file = settings.persona_profiles
    characters = list(default_profiles() if file is None else load_profiles(file))
    name = settings.persona_character
    if name is None:
        return characters
    alone = [character for character in characters if character.name == name]
    if not alone:
        names = ", ".join(character.name for character in characters)
        raise ValueError(f"persona_character: there is no {name!r} among {names}")
    return alone


def _build_tts(settings: Settings, choice: Choice) -> tts.TTS[Any]:
    chosen = _voice(settings, choice)
    if choice.engine == "espeak":
        return chosen
    limited = PatienceLimited(chosen, first_sample_s=settings.first_sample_timeout_s)
    if not settings.tts_fallback or not _has_espeak():
        return limited
    return tts.FallbackAdapter([limited, _espeak(settings, NOT_GIVEN)], max_retry_per_tts=1)


def _has_espeak() -> bool:
    return find_spec("espeakng_loader") is not None


def _espeak(settings: Settings, voice: NotGivenOr[str]) -> tts.TTS[Any]:
    from livekit.plugins import espeak

    if voice:
        # The library files some voices under other names than their language: en-gb is gmw/en. A
        # variant alone goes with whichever voice speaks the call's language.
        tag, plus, variant = voice.partition("+")
        with contextlib.suppress(ValueError):
            voice = espeak.TTS(language=tag or settings.spoken_language).model + plus + variant
    return espeak.TTS(
        voice=voice,
        language=settings.spoken_language,
        rate_wpm=round(_ESPEAK_WORDS_PER_MINUTE * settings.tts_speed),
    )


def _voice(settings: Settings, choice: Choice) -> tts.TTS[Any]:
    voice: NotGivenOr[str] = settings.tts_voice or NOT_GIVEN
    key = settings.tts_api_key.get_secret_value() or NOT_GIVEN
    match choice.engine:
        case "piper":
            from livekit.plugins import piper

            return piper.TTS(
                model=choice.detail, models_dir=settings.voices_dir(), speed=settings.tts_speed
            )
        case "kokoro":
            from livekit.plugins import kokoro

            return kokoro.TTS(
                voice=choice.detail,
                language=_kokoro_language(settings, choice.detail),
                models_dir=settings.kokoro_dir(),
                speed=min(2.0, max(0.5, settings.tts_speed)),
            )
        case "espeak":
            return _espeak(settings, voice)
        case "xtts":
            from livekit.plugins import xtts

            return xtts.TTS(
                accept_license=settings.xtts_accept_license,
                model_dir=settings.tts_model or NOT_GIVEN,
                reference_wav=settings.tts_reference,
                language=settings.spoken_language,
                speed=settings.tts_speed,
            )
        case "higgs":
            return _higgs(settings)
        case _:
            from livekit.plugins import speech_api

            return speech_api.TTS(
                base_url=settings.tts_url or "",
                model=settings.tts_model or "tts-1",
                voice=voice,
                api_key=key,
                sample_rate=settings.tts_sample_rate,
                speed=settings.tts_speed,
                ref_audio=settings.tts_reference or NOT_GIVEN,
            )


def _kokoro_language(settings: Settings, voice: str) -> NotGivenOr[str]:
    """The call's language where the voice was made for another one: it has an accent then."""
    from livekit.plugins import kokoro

    own = kokoro.language_of_voice(voice)
    spoken = settings.spoken_language
    return NOT_GIVEN if own is not None and same_language(own.tag, spoken) else spoken


def _higgs(settings: Settings, character: Character | None = None) -> tts.TTS[Any]:
    """Higgs Audio with the scene of the settings; one object for each who speaks, since the voice
    is remembered in it."""
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
        base_url=settings.tts_url or "",
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


def _character_voice(settings: Settings, choice: Choice, name: str) -> tts.TTS[Any]:
    """The engine with the voice that a character's profile names.

    Raises:
        ValueError, OSError: the engine has no such voice.
    """
    match choice.engine:
        case "espeak":
            return _espeak(settings, _espeak_name(name, settings.spoken_language))
        case "piper" | "kokoro":
            return _voice(settings, dataclasses.replace(choice, detail=name))
    if choice.engine == "higgs":
        described = {
            character.voice_name: character
            for character in _cast(settings)
            if character.sound or character.reference
        }
        if name not in described:
            raise ValueError(f"no profile says what {name!r} sounds like: set its sound")
        return _higgs(settings, described[name])
    if settings.persona_profiles is None and settings.llm != "remote":
        raise ValueError(f"the profiles that come along name no voice of {choice.engine}")
    if choice.engine == "speech-api":
        return _voice(settings.model_copy(update={"tts_voice": name}), choice)
    raise ValueError(f"{choice.engine} speaks with one voice in a call")


def _espeak_name(name: str, language: str) -> str:
    """A profile's voice, or what is left of it in another language: the variant."""
    voice, _, variant = name.partition("+")
    if voice and same_language(voice, language):
        return name
    return f"+{variant or voice}"


def caller_voice(language: str = "en-us") -> tts.TTS[Any]:
    """The voice of the simulated caller: espeak-ng, in process."""
    from livekit.plugins import espeak

    return espeak.TTS(language=language)
