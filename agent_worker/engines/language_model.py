"""The chosen language model: how it is asked, warmed, and built for a call with its flow."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import threading
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

from livekit.agents import APIError, llm

from agent_worker.language_tags import primary
from agent_worker.settings import Settings

from .cast import cast
from .chosen import Choice, Choices
from .languages import languages

if TYPE_CHECKING:
    from flows.model import ModelOptions, ServerMemory

logger = logging.getLogger(__name__)

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
    model, close = build_language_model(patient, choices.llm)
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
CloseModel = Callable[[], Awaitable[None]] | None


def build_language_model(settings: Settings, choice: Choice) -> tuple[llm.LLM[Any], CloseModel]:
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
    characters = cast(settings) if choice.engine == "persona" else None
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
