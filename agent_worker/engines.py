"""The engines of this machine: what is there, and how the chosen ones are built.

Beside `worker` and `session` the only module that imports plugins, and only when one is used.
"""

from __future__ import annotations

import dataclasses
import logging
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from livekit.agents import llm, stt, tts

from .choice import Choice, Choices, Found, choose
from .settings import Settings

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Engines:
    """What one call speaks with. The models behind them are shared by all calls of a process."""

    stt: stt.STT[Any]
    llm: llm.LLM[Any]
    tts: tts.TTS[Any]
    tells_commit: bool
    """The LLM knows speculative turns (``extra_kwargs={"turn_committed": …}``)."""

    async def aclose(self) -> None:
        """Closes the three; safe to call twice."""
        for engine in (self.stt, self.llm, self.tts):
            await engine.aclose()


async def look_around(settings: Settings) -> Found:
    """Finds out what is on this machine. No network but loopback, and that for under 300 ms."""
    endpoint, models, kind = await _find_llm(settings)
    return Found(
        whisper_models=_whisper_models(),
        piper_installed=find_spec("piper") is not None,
        piper_voices=_piper_voices(settings.voices_dir()),
        espeak_installed=find_spec("espeakng_loader") is not None,
        xtts_installed=find_spec("TTS") is not None,
        llm_endpoint=endpoint,
        llm_models=models,
        llm_kind=kind,
    )


async def choose_engines(settings: Settings) -> Choices:
    """What serves each stage on this machine, with the reasons."""
    return choose(settings, await look_around(settings))


def _whisper_models() -> tuple[str, ...]:
    from livekit.plugins.faster_whisper.models import cached_models

    return cached_models()


def _piper_voices(folder: Path) -> tuple[Path, ...]:
    quality = ("-high", "-medium", "-low", "-x_low")

    def rank(voice: Path) -> tuple[int, str]:
        return next((i for i, q in enumerate(quality) if voice.stem.endswith(q)), 9), voice.name

    voices = [v for v in folder.glob("*.onnx") if v.with_suffix(".onnx.json").is_file()]
    return tuple(sorted(voices, key=rank))


async def _find_llm(settings: Settings) -> tuple[str | None, tuple[str, ...], str]:
    if settings.llm in ("offline", "remote"):
        return None, (), ""
    from flows.model import discover

    if settings.llm_url is not None and settings.llm_model is not None:
        return settings.llm_url, (settings.llm_model,), ""
    if settings.llm_url is None and not settings.llm_discovery:
        return None, (), ""
    found = await discover(base_url=settings.llm_url)
    if found is None:
        return settings.llm_url, (), ""
    return found.base_url, found.models, found.kind


_PLUGIN_OF = {
    "faster-whisper": "faster_whisper",
    "piper": "piper",
    "espeak": "espeak",
    "xtts": "xtts",
    "speech-api": "speech_api",
    "higgs": "speech_api",
}


def import_plugins(choices: Choices) -> None:
    """Imports the plugins of the chosen engines; LiveKit wants that on the main thread."""
    for choice in (choices.stt, choices.llm, choices.tts):
        import_module(f"livekit.plugins.{_PLUGIN_OF.get(choice.engine, 'langgraph')}")


def build_engines(settings: Settings, choices: Choices) -> Engines:
    """Builds the chosen engines. Cheap: models load when they are first used, or at `prewarm`."""
    language_model, tells_commit = _build_llm(settings, choices.llm)
    return Engines(
        stt=_build_stt(settings, choices.stt),
        llm=language_model,
        tts=_build_tts(settings, choices.tts),
        tells_commit=tells_commit,
    )


def _build_stt(settings: Settings, choice: Choice) -> stt.STT[Any]:
    from livekit.plugins import faster_whisper

    return faster_whisper.STT(
        model=choice.detail,
        language=settings.language,
        device=settings.stt_device,
        compute_type=settings.stt_compute_type,
        cpu_threads=settings.stt_cpu_threads,
        keyterms=list(settings.keyterms),
    )


def _build_llm(settings: Settings, choice: Choice) -> tuple[llm.LLM[Any], bool]:
    from livekit.plugins import langgraph

    if choice.engine == "remote":
        token = settings.flow_token.get_secret_value()
        remote = langgraph.LLM.remote(
            settings.flow_url or "", settings.flow_id, **({"token": token} if token else {})
        )
        return remote, True
    if choice.engine == "offline":
        from flows.graphs import offline

        return langgraph.LLM(offline.build(), speakable_nodes=offline.SPEAKABLE_NODES), True
    raise NotImplementedError(choice.engine)


def _build_tts(settings: Settings, choice: Choice) -> tts.TTS[Any]:
    match choice.engine:
        case "piper":
            from livekit.plugins import piper

            return piper.TTS(model=choice.detail, speed=settings.tts_speed)
        case "espeak":
            return _espeak(settings.tts_voice, settings.language, settings.tts_speed)
        case _:
            raise NotImplementedError(choice.engine)


def _espeak(voice: str | None, language: str, speed: float) -> tts.TTS[Any]:
    from livekit.plugins import espeak

    return espeak.TTS()


def caller_voice() -> tts.TTS[Any]:
    """The voice of the simulated caller: espeak-ng, in process."""
    from livekit.plugins import espeak

    return espeak.TTS(voice="en-us")
