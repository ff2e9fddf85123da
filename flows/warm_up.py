"""Asking a model server once before the first caller does: it loads its model, and shows its ways.

What it refuses, whether it takes tools, whether it thinks although it is asked not to: all that is
learnt here instead of in a call, and told in one sentence each.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import httpx
import openai
from langchain_core.messages import HumanMessage, SystemMessage

from flows.discovery import look_at
from flows.model import ModelOptions, chat_model
from flows.model_server import advice
from flows.model_server.addresses import is_own_network
from flows.model_server.answer_check import EmptyAnswerError
from flows.model_server.habits import ServerMemory
from flows.model_server.kinds import ServerKind

logger = logging.getLogger("flows")

_MESSAGE_EVERY_S = 10.0
_FIRST_MESSAGE_S = 2.0
_FEW_TOKENS = 24
_KEPT_FOR = "40m"
_RENEWED_EVERY_S = 1800.0
_SMALL_CONTEXT = 8192
_A_TOOL = {
    "type": "function",
    "function": {
        "name": "current_time",
        "description": "The time of day.",
        "parameters": {"type": "object", "properties": {}},
    },
}


@dataclass(frozen=True)
class WarmUp:
    """How the server took it."""

    ready: bool
    """Whether the model answers."""
    notes: tuple[str, ...] = ()
    """What the person who runs the server should know, a sentence each."""


async def warm_up(
    options: ModelOptions,
    memory: ServerMemory | None = None,
    *,
    patience_s: float = 300.0,
    on_wait: Callable[[str], None] | None = None,
) -> WarmUp:
    """Have the model loaded, and learn how the server wants to be asked.

    Args:
        options: Which model, and how.
        memory: Takes what is learnt; give it to `chat_model` too.
        patience_s: Seconds to wait for a model that is being loaded.
        on_wait: Told every ten seconds that the server is still at it.
    """
    memory = memory if memory is not None else ServerMemory()
    asking = asyncio.create_task(_ask(options, memory, patience_s))
    waited, pause = 0.0, _FIRST_MESSAGE_S
    try:
        while not asking.done():
            await asyncio.wait([asking], timeout=pause)
            waited, pause = waited + pause, _MESSAGE_EVERY_S
            if not asking.done() and on_wait is not None:
                on_wait(f"{advice.of_loading(options.base_url)}; waited {waited:.0f} s")
        return asking.result()
    finally:
        asking.cancel()
        await asyncio.wait([asking])


async def keep_warm(options: ModelOptions, memory: ServerMemory) -> None:
    """Warm the model up and keep it in memory until cancelled; what is to be known is logged.

    OpenRouter is left alone: it has its models in memory, and counts what it is asked. So is a
    server whose model is not known yet, since it was not there.
    """
    if options.kind is ServerKind.OPENROUTER or not options.model:
        return
    found = await warm_up(options, memory, on_wait=lambda said: logger.warning("%s", said))
    for note in found.notes:
        logger.warning("model server: %s", note)
        memory.told.add(note)
    if found.ready:
        logger.info("the model is in memory and answers")
    # Others keep their models.
    while options.kind is ServerKind.OLLAMA:
        await asyncio.sleep(_RENEWED_EVERY_S)
        await _load_in_ollama(options, 60.0)


async def _ask(options: ModelOptions, memory: ServerMemory, patience_s: float) -> WarmUp:
    if options.kind is ServerKind.OLLAMA:
        await _load_in_ollama(options, patience_s)
        found = await look_at(options.base_url, api_key=options.api_key)
        if found is not None and found.context_tokens is not None:
            options = replace(options, context_tokens=found.context_tokens)
    patient = replace(
        options,
        first_token_timeout_s=patience_s,
        max_tokens=min(options.max_tokens, _FEW_TOKENS),
        fillers=(),
    )
    # Of its own, and silent: what it learns is told by whoever called.
    model = chat_model(patient, memory)
    before = memory.habits
    model.tells = False
    notes: list[str] = []
    ready = True
    try:
        bound = model.bind_tools([_A_TOOL])
        prompt = [SystemMessage("Answer in one word."), HumanMessage("Hello.")]
        async for _ in bound.astream(prompt):
            pass
    except EmptyAnswerError as fault:
        if memory.habits.thinks == before.thinks:
            notes.append(f"{options.base_url} was asked to say hello: {fault}")
    except (openai.APIConnectionError, httpx.HTTPError, ConnectionError):
        ready = False
        notes.append(f"no model server answers at {options.base_url}")
    except openai.APIError as fault:
        ready = False
        notes += getattr(fault, "__notes__", None) or [f"{options.base_url} failed: {type(fault)}"]
    except TimeoutError:
        ready = False
        notes.append(f"{options.model!r} at {options.base_url} said nothing in {patience_s:.0f} s")
    finally:
        await model.aclose()
    context = options.known_context
    if ready and options.kind is ServerKind.OLLAMA and context and context < _SMALL_CONTEXT:
        notes.append(advice.of_silent_cut(options.base_url, context))
    learnt = memory.habits
    notes += advice.of_habits(before, learnt, url=options.base_url, kind=options.kind)
    return WarmUp(ready, tuple(dict.fromkeys(notes)))


async def _load_in_ollama(options: ModelOptions, patience_s: float) -> None:
    """Only Ollama's own address takes how long to keep a model; requests to /v1 leave it so."""
    body: dict[str, Any] = {"model": options.model, "keep_alive": _KEPT_FOR}
    own = is_own_network(options.base_url)
    plain = options.base_url.startswith("http://")
    root = options.base_url.rstrip("/").removesuffix("/v1")
    async with httpx.AsyncClient(
        timeout=patience_s, trust_env=not own, verify=not (own and plain)
    ) as client:
        with contextlib.suppress(httpx.HTTPError):
            await client.post(f"{root}/api/generate", json=body)
