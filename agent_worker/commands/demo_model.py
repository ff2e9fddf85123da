"""The demo's model server: it answers before the conversation begins, or one is told why not."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from agent_worker.engines.choice import choose
from agent_worker.engines.chosen import Choices
from agent_worker.engines.language_model import model_server
from agent_worker.settings import Settings

_LEAST_S = 30.0
"""Ollama reads a model into memory with the first request."""


async def awake(settings: Settings, choices: Choices, say: Callable[[str], None]) -> Choices:
    """Has the chosen model server say a word, which loads its model.

    Gives the choices as they are then: with a problem where the settings name the server, and with
    the next best where it was only found.

    Args:
        settings: of the user.
        choices: made for them.
        say: told that it loads, and what its server lacks.
    """
    chosen = choices.llm
    if chosen.engine in ("offline", "remote") or chosen.problem or not chosen.endpoint:
        return choices
    from flows.model import ServerMemory
    from flows.warm_up import warm_up

    options, _ = model_server(settings, chosen)
    patience_s = max(settings.llm_wait_s, _LEAST_S)
    answer = await warm_up(options, ServerMemory(), patience_s=patience_s, on_wait=say)
    if answer.ready:
        for note in answer.notes:
            say(f"{chosen.stage:>9}: {note}")
        return choices
    why = "; ".join(answer.notes) or f"{chosen.name} does not answer"
    if settings.llm_url is not None or settings.llm != "auto":
        cure = "AGENT_WORKER_LLM=offline holds the conversation without it"
        broken = dataclasses.replace(chosen, problem=f"{why}; {cure}")
        return dataclasses.replace(choices, llm=broken)
    found = dataclasses.replace(
        choices.found, llm_endpoint=None, llm_models=(), llm_kind="", llm_advice=(why,)
    )
    instead = choose(settings, found)
    say(f"{chosen.stage:>9}: {why}\n{'':>11}instead: {instead.llm.name}")
    return instead
