"""Runs all checks. What they need is built once, closed again, and given up after a while."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from agent_worker.engines.build import EngineError, Engines, build_engines, import_plugins
from agent_worker.engines.choice import Choices
from agent_worker.settings import Settings

from .conversation import try_model, try_voice_and_ears
from .documents import try_documents
from .finding import Finding
from .machine import look_at_machine
from .memory import try_memory
from .server import try_server

_PATIENCE_S = 90.0
"""For one check: a model that loads first takes its time."""


async def run_checks(settings: Settings, choices: Choices) -> list[Finding]:
    """Tries the server, the engines and the machine as a call would use them.

    Args:
        settings: of the worker.
        choices: of the worker; without a problem.
    """
    findings = [*await _in_time("server", lambda: try_server(settings))]
    findings += await asyncio.to_thread(look_at_machine, settings)
    findings += await _in_time("memory", lambda: try_memory(settings))
    findings += await _in_time("documents", lambda: try_documents(settings))
    # what stands in when an engine fails must not speak for it here
    alone = settings.model_copy(update={"stt_fallback": False, "tts_fallback": False})
    import_plugins(choices)
    try:
        engines = build_engines(alone, choices)
    except EngineError as e:
        return [*findings, Finding("engines", "broken", str(e))]
    try:
        findings += await _in_time("voice", lambda: try_voice_and_ears(alone, engines))
        findings += await _in_time("model", lambda: _model(choices, engines))
    finally:
        await engines.aclose()
    return findings


def _model(choices: Choices, engines: Engines) -> Awaitable[list[Finding]]:
    return try_model(engines.llm, rules_only=choices.llm.engine == "offline")


async def _in_time(what: str, check: Callable[[], Awaitable[list[Finding]]]) -> list[Finding]:
    try:
        async with asyncio.timeout(_PATIENCE_S):
            return await check()
    except TimeoutError:
        return [Finding(what, "broken", f"no answer within {_PATIENCE_S:.0f} s")]
