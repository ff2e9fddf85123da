"""Runs all checks. What they need is built once, closed again, and given up after a while."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable, Collection

from agent_worker.engines.build import EngineError, build_engines, build_model, import_plugins
from agent_worker.engines.chosen import Choice, Choices
from agent_worker.engines.warm_engines import kept_warm
from agent_worker.settings import Settings

from .conversation import try_model, try_voice_and_ears
from .documents import try_documents
from .finding import Finding
from .machine import look_at_machine
from .memory import try_memory
from .server import try_server

_PATIENCE_S = 90.0
"""For one check: a model that loads first takes its time."""


async def run_checks(
    settings: Settings, choices: Choices, broken: Collection[str] = ()
) -> list[Finding]:
    """Tries the server, the engines and the machine as a call would use them.

    Args:
        settings: of the worker.
        choices: of the worker.
        broken: stages that are known not to work; the others are tried without them.
    """
    findings = [*await _in_time("server", lambda: try_server(settings))]
    findings += await asyncio.to_thread(look_at_machine, settings)
    findings += await _in_time("memory", lambda: try_memory(settings))
    findings += await _in_time("documents", lambda: try_documents(settings))
    # what stands in when an engine fails must not speak for it here
    alone = settings.model_copy(update={"stt_fallback": False, "tts_fallback": False})
    alone, choices = _with_stand_ins(alone, choices, broken)
    if "speaking" in broken:
        return findings if "thinking" in broken else [*findings, *await _model(alone, choices)]
    import_plugins(choices)
    try:
        engines = build_engines(alone, choices)
    except EngineError as e:
        return [*findings, Finding("engines", "broken", str(e))]
    try:
        async with kept_warm(alone, choices):
            tried = await _in_time("voice", lambda: try_voice_and_ears(alone, engines))
            findings += [f for f in tried if f.what != "ears" or "hearing" not in broken]
            if "thinking" not in broken:
                rules_only = choices.llm.engine == "offline"
                findings += await _in_time(
                    "model", lambda: try_model(engines.llm, rules_only=rules_only)
                )
    finally:
        await engines.aclose()
    return findings


def _with_stand_ins(
    settings: Settings, choices: Choices, broken: Collection[str]
) -> tuple[Settings, Choices]:
    """Puts what always works in the place of what does not, so that the rest can be tried."""
    if "hearing" in broken:
        stt = Choice("hearing", "faster-whisper", "bundled", "")
        settings = settings.model_copy(update={"stt_device": "cpu", "stt_compute_type": ""})
        choices = dataclasses.replace(choices, stt=stt)
    if "thinking" in broken:
        choices = dataclasses.replace(choices, llm=Choice("thinking", "offline", "", ""))
    return settings, choices


async def _model(settings: Settings, choices: Choices) -> list[Finding]:
    """The model alone, where there is no voice to ask it with."""
    model, close = build_model(settings, choices)
    try:
        rules_only = choices.llm.engine == "offline"
        return await _in_time("model", lambda: try_model(model, rules_only=rules_only))
    finally:
        await model.aclose()
        if close is not None:
            await close()


async def _in_time(what: str, check: Callable[[], Awaitable[list[Finding]]]) -> list[Finding]:
    try:
        async with asyncio.timeout(_PATIENCE_S):
            return await check()
    except TimeoutError:
        return [Finding(what, "broken", f"no answer within {_PATIENCE_S:.0f} s")]
