"""Starts the worker as one of LiveKit's own commands, once its engines were seen to work."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from collections.abc import Callable, Sequence

from agent_worker.engines.build import EngineError, try_engines
from agent_worker.engines.choice import choose
from agent_worker.engines.chosen import Choices
from agent_worker.engines.found import choose_engines
from agent_worker.engines.inventory import Found
from agent_worker.engines.language_model import keep_model_warm, read_prompt_ahead
from agent_worker.processes.house_model import HouseModelError, house_model
from agent_worker.processes.machine import call_processes
from agent_worker.settings import Settings
from agent_worker.telemetry.outlets import Telemetry
from agent_worker.worker import WorkerError, build_server, check_server, run

from .install_line import as_typed


def start_worker(
    settings: Settings,
    command: str,
    rest: Sequence[str],
    choices: Choices | None,
    *,
    say: Callable[[str], None],
) -> int:
    """Runs the worker until it is told to stop. Returns the exit status.

    Args:
        settings: of this worker.
        command: one of LiveKit's.
        rest: its arguments.
        choices: the engines, where somebody has chosen them already.
        say: told what is chosen, and what is wrong.
    """
    arguments = list(rest)
    if "--help" in arguments:
        with Telemetry.of(settings) as telemetry:
            nothing = choose(settings, Found())
            return run(build_server(settings, nothing, telemetry), command, arguments)
    with contextlib.ExitStack() as running:
        if choices is None:
            choices = asyncio.run(choose_engines(settings, say=say))
        for choice in choices:
            say(f"{choice.stage}: {choice.name} - {choice.reason}")
            if choice.warning:
                say(f"{choice.stage}: {choice.warning}")
        try:
            if choices.problems:
                raise WorkerError("\n".join(choices.problems))
            choices = running.enter_context(house_model(settings, choices))
            asyncio.run(try_engines(settings, choices))
            if command != "console":
                asyncio.run(check_server(settings))
            asyncio.run(read_prompt_ahead(settings, choices))
            keep_model_warm(settings, choices)
        except (WorkerError, EngineError, HouseModelError) as e:
            say(as_typed(f"agent-worker {command}: {e}"))
            return 1
        count = call_processes(settings) if command == "start" else 1
        if count > 1:
            return _start_family(settings, choices, count, command, arguments)
        with Telemetry.of(settings) as telemetry:
            return run(build_server(settings, choices, telemetry), command, arguments)


def _start_family(
    settings: Settings, choices: Choices, count: int, command: str, rest: list[str]
) -> int:
    from agent_worker.processes.supervisor import Supervisor

    logging.basicConfig(level=logging.INFO, stream=sys.stderr)

    async def supervise() -> int:
        family = Supervisor(settings, choices, count=count, command=command, rest=rest)
        return await family.run()

    return asyncio.run(supervise())
