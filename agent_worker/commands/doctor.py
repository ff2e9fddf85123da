"""What is on this machine, what would be chosen, whether it works, and what to do for better."""

from __future__ import annotations

import dataclasses
import platform
from typing import Any

from livekit.agents import __version__ as agents_version

import agent_worker
from agent_worker.engines.build import stage_faults
from agent_worker.engines.choice import choose
from agent_worker.engines.chosen import Choice, Choices
from agent_worker.engines.found import look_around
from agent_worker.engines.hearing_device import sizes, try_hearing
from agent_worker.engines.house_model import model_sizes
from agent_worker.engines.inventory import Found
from agent_worker.engines.language_model import model_server
from agent_worker.processes.house_model import HouseModelError, house_model_beside
from agent_worker.settings import Settings

from .checks import Finding, look_at_installation, run_checks, try_program

_PATIENCE_S = 30.0
_MOST_NAMED = 8
"""For a model that loads first."""


@dataclasses.dataclass(frozen=True)
class Report:
    """The findings, and whether the worker could run."""

    versions: dict[str, str]
    findings: tuple[Finding, ...]
    model_sizes: tuple[str, ...]
    """Lines of two tables, for people: Whisper and Qwen3."""
    suited_whisper: str

    @property
    def healthy(self) -> bool:
        """Nothing is broken: a call would work."""
        return not any(finding.state == "broken" for finding in self.findings)

    @property
    def text(self) -> str:
        """For people: who only reads the last line knows whether it works."""
        stages, rest = self.findings[:_STAGES], self.findings[_STAGES:]
        verdict = "The worker can run."
        if not self.healthy:
            verdict = "The worker can't run: see what is marked with --."
        blocks = [
            [", ".join(f"{name} {version}" for name, version in self.versions.items())],
            [line for finding in stages for line in finding.lines()],
            list(self.model_sizes),
            [line for finding in rest for line in finding.lines()],
            [verdict],
        ]
        return "\n\n".join("\n".join(block) for block in blocks if block)

    def to_dict(self) -> dict[str, Any]:
        """As ``--json`` prints it."""
        return {
            "healthy": self.healthy,
            "versions": self.versions,
            "findings": [finding.to_dict() for finding in self.findings],
            "suited_whisper": self.suited_whisper,
        }


_STAGES = 4
"""The program of the server, hearing, thinking, speaking."""


async def examine(settings: Settings) -> Report:
    """Looks at each stage, and tries them as a call would. Downloads nothing, changes nothing."""
    # what is not up is a finding, nothing to wait for
    choices = choose(settings, await look_around(settings, wait_s=0.0))
    try:
        # a model of the worker's own is loaded to see whether it can be
        async with house_model_beside(settings, choices) as running:
            return await _examine(settings, running)
    except HouseModelError as e:
        llm = dataclasses.replace(choices.llm, problem=str(e))
        return await _examine(settings, dataclasses.replace(choices, llm=llm))


async def _examine(settings: Settings, choices: Choices) -> Report:
    found = choices.found
    faults = await stage_faults(settings, choices)
    stages = [
        await _hearing(choices, found, faults),
        await _thinking(settings, choices, found, faults),
        _speaking(settings, choices, found, faults),
    ]
    broken = frozenset(stage.what for stage in stages if stage.state == "broken")
    tried = await run_checks(settings, choices, broken)
    versions = {
        "agent-worker": agent_worker.__version__,
        "Python": platform.python_version(),
        "livekit-agents": agents_version,
    }
    return Report(
        versions,
        (await try_program(settings), *stages, *look_at_installation(), *tried),
        (*sizes(found.hearing, found.too_slow, found.suited_whisper), "", *model_sizes(settings)),
        found.suited_whisper,
    )


async def _hearing(choices: Choices, found: Found, faults: dict[str, str]) -> Finding:
    choice = choices.stt
    there = f"Whisper models in the cache: {', '.join(found.whisper_models) or 'none'}"
    if choice.problem or choice.stage in faults:
        return _stage(choice, faults, [there])
    # that the chosen model decodes too is seen when it hears the voice
    decodes, told = await try_hearing(found.hearing)
    if not decodes:
        return Finding(choice.stage, "broken", choice.name, details=(told, there))
    return _stage(choice, faults, [told, there])


async def _thinking(
    settings: Settings, choices: Choices, found: Found, faults: dict[str, str]
) -> Finding:
    choice = choices.llm
    there = f"model server: {_server(found)}"
    if choice.stage in faults or choice.engine in ("offline", "remote"):
        return _stage(choice, faults, [there])
    from flows.model import ServerMemory
    from flows.warm_up import warm_up

    options, _ = model_server(settings, choice)
    answer = await warm_up(options, ServerMemory(), patience_s=_PATIENCE_S)
    notes = [there, *answer.notes]
    if answer.ready:
        return _stage(choice, faults, notes)
    return Finding(choice.stage, "broken", choice.name, choice.better, tuple(notes))


def _speaking(
    settings: Settings, choices: Choices, found: Found, faults: dict[str, str]
) -> Finding:
    finding = _stage(choices.tts, faults, [f"voices in the cache: {_voices(found)}"])
    if finding.state != "broken" or settings.tts_voice is None or choices.tts.problem:
        return finding
    advice = (
        "set tts_voice to one of them, or to a voice of espeak-ng (a language such as en-gb, or a "
        "variant such as +f3); `agent-worker download-files` fetches the Piper voice that is set"
    )
    return dataclasses.replace(finding, advice=advice)


def _voices(found: Found) -> str:
    """Those of each engine that has some: by name where they are few."""
    told = []
    for engine, here in found.voices.items():
        if here.voices:
            few = len(here.voices) <= _MOST_NAMED
            told.append(f"{engine} ({', '.join(here.voices) if few else len(here.voices)})")
    return ", ".join(told) or "none"


def _stage(choice: Choice, faults: dict[str, str], details: list[str]) -> Finding:
    """One stage of a call; where it can't be built, why."""
    fault = faults.get(choice.stage, "")
    if fault:
        # it says what to do
        text = f"{choice.name or choice.engine}: {fault}"
        return Finding(choice.stage, "broken", text, details=tuple(details))
    details = [*details, f"chosen because: {choice.reason}"]
    if choice.warning:
        details = [*details, choice.warning]
        return Finding(choice.stage, "doubtful", choice.name, choice.better, tuple(details))
    return Finding(choice.stage, "ok", choice.name, choice.better, tuple(details))


def _server(found: Found) -> str:
    if found.llm_key:
        return f"llama.cpp, run by the worker, with {found.llm_models[0]}"
    if found.llm_endpoint is None:
        return "none on the usual local ports"
    return f"{found.llm_endpoint} with {', '.join(found.llm_models[:3]) or 'no model'}"
