"""What is on this machine, what would be chosen, and what to do for something better."""

from __future__ import annotations

import dataclasses
import platform
import shutil

from livekit.agents import __version__ as agents_version

from agent_worker.engines.build import model_server
from agent_worker.engines.choice import Choice, choose
from agent_worker.engines.found import look_around
from agent_worker.engines.hearing_device import sizes, try_hearing
from agent_worker.settings import Settings

from .checks import run_checks
from .livekit_server import find_server

_PATIENCE_S = 30.0
"""For a model that loads first."""


@dataclasses.dataclass(frozen=True)
class Report:
    """The findings as text, and whether the worker could run."""

    text: str
    healthy: bool


async def examine(settings: Settings) -> Report:
    """Looks at each stage, and tries them as a call would. Downloads nothing, changes nothing."""
    found = await look_around(settings)
    choices = choose(settings, found)
    lines = [f"Python {platform.python_version()}, livekit-agents {agents_version}", ""]
    server = find_server(settings.cache_dir)
    if server is not None:
        lines.append(_row("ok", "transport", f"LiveKit server {server.path} ({server.source})"))
    elif shutil.which("go"):
        lines.append(_row("ok", "transport", "no LiveKit server yet; Go is here to build it"))
    else:
        lines.append(_row("--", "transport", "no LiveKit server and no Go"))
        lines.append(
            _more("the demo will try the release archive; a server elsewhere needs neither")
        )
    there = {
        "hearing": f"Whisper models in the cache: {', '.join(found.whisper_models) or 'none'}",
        "thinking": f"model server: {_server(found.llm_endpoint, found.llm_models)}",
        "speaking": "Piper voices in the cache: "
        + (", ".join(v.stem for v in found.piper_voices) or "none"),
    }
    answers, notes = await _try_model(settings, choices.llm)
    decodes, tried = True, ""
    if not choices.stt.problem:
        decodes, tried = await try_hearing(found.hearing)
    for choice in choices:
        is_deaf = choice is choices.stt and not decodes
        fails = choice.problem or is_deaf or (choice is choices.llm and not answers)
        lines.append(_row("--" if fails else "ok", choice.stage, choice.name))
        if choice is choices.stt and tried:
            lines.append(_more(tried))
        lines.append(_more(there[choice.stage]))
        lines.append(_more(choice.problem or f"chosen because: {choice.reason}"))
        if choice.warning:
            lines.append(_more(choice.warning))
        if choice is choices.llm:
            lines += [_more(note) for note in notes]
        if choice.better:
            lines.append(_more(choice.better))
    lines += ["", *sizes(found.hearing, found.too_slow, found.suited_whisper)]
    works = answers and decodes and not choices.problems
    findings = await run_checks(settings, choices) if works else []
    if findings:
        lines.append("")
    for finding in findings:
        lines.append(_row(finding.mark, finding.what, finding.text))
        if finding.advice:
            lines.append(_more(finding.advice))
    healthy = works and not any(finding.state == "broken" for finding in findings)
    lines += [
        "",
        "The worker can run." if healthy else "The worker can't run: see the lines with --.",
    ]
    return Report("\n".join(lines), healthy)


async def _try_model(settings: Settings, choice: Choice) -> tuple[bool, tuple[str, ...]]:
    """Whether the model answers, asked as in a call, and what its server should be told."""
    if choice.problem or choice.engine in ("offline", "remote"):
        return True, ()
    from flows.model import ServerMemory
    from flows.warm_up import warm_up

    options, _ = model_server(settings, choice)
    found = await warm_up(options, ServerMemory(), patience_s=_PATIENCE_S)
    return found.ready, found.notes


def _server(endpoint: str | None, models: tuple[str, ...]) -> str:
    if endpoint is None:
        return "none on the usual local ports"
    return f"{endpoint} with {', '.join(models[:3]) or 'no model'}"


def _row(mark: str, stage: str, text: str) -> str:
    return f"[{mark}] {stage:<10} {text}"


def _more(text: str) -> str:
    return f"{'':<16}{text}"
