"""The model server: the one that the settings name, or one on this machine, and what it lacks."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from agent_worker.settings import Settings, proxy_for

if TYPE_CHECKING:
    from flows.discovery import Discovered

logger = logging.getLogger(__name__)

_LOADING_S = 180.0
_TOLD_EVERY_S = 10.0
_NO_KEY = "none"
_SHOWN = 8


@dataclasses.dataclass(frozen=True)
class ModelServer:
    """What was found out of it."""

    endpoint: str | None = None
    models: tuple[str, ...] = ()
    kind: str = ""
    context_tokens: int | None = None
    advice: tuple[str, ...] = ()
    """What is amiss, a sentence each."""


async def find_model_server(settings: Settings) -> ModelServer:
    """Asks the server of the settings, or those on the usual local ports.

    One that is loading its model is waited for, some minutes: without it a worker would not start,
    or serve every call without a model.
    """
    if settings.llm in ("local", "offline", "remote"):
        return ModelServer()
    if settings.llm_gguf is not None and settings.llm_url is None:
        return ModelServer()
    from flows.discovery import discover_all, look_at

    if settings.llm_url is not None:
        key = settings.llm_api_key.get_secret_value()
        sent = None if key in ("", _NO_KEY) else key
        url = settings.llm_url

        async def look() -> tuple[Discovered, ...]:
            seen = await look_at(url, api_key=sent)
            return (seen,) if seen else ()

        servers = await _loaded(look) if settings.llm_model is None else await look()
        return named(settings, servers[0] if servers else None)
    if not settings.llm_discovery:
        return ModelServer()
    return best(await _loaded(discover_all))


async def _loaded(look: Callable[[], Awaitable[tuple[Discovered, ...]]]) -> tuple[Discovered, ...]:
    """Looks again while nothing but a server that is still loading is there."""
    from flows.discovery import ServerState

    clock = asyncio.get_running_loop().time
    began = told_at = clock()
    servers = await look()
    while not any(server.models for server in servers) and clock() - began < _LOADING_S:
        loading = [s for s in servers if s.state is ServerState.LOADING]
        if not loading:
            break
        if told_at == began or clock() - told_at >= _TOLD_EVERY_S:
            told_at = clock()
            logger.warning("%s; waiting for it", loading[0].advice)
        await asyncio.sleep(0.5)
        servers = await look()
    return servers


def named(settings: Settings, seen: Discovered | None) -> ModelServer:
    """What to make of the server that the settings name.

    Args:
        settings: with `llm_url`.
        seen: what it answered; None = nothing.
    """
    url, model = settings.llm_url or "", settings.llm_model
    models = (model,) if model else ()
    if seen is None:
        return ModelServer(url, models, settings.llm_kind or "", advice=(_unreachable(url),))
    advice = [seen.advice] if seen.advice else []
    if model and seen.models and model not in seen.models:
        names = ", ".join(seen.models[:_SHOWN])
        advice.append(f"{url} lists no model {model!r}, but {names}: see llm_model")
    return ModelServer(
        # An address without /v1 is completed; one that is no model server is left as it is.
        seen.base_url,
        models or seen.models,
        settings.llm_kind or seen.kind,
        seen.context_tokens,
        tuple(advice),
    )


def best(servers: tuple[Discovered, ...]) -> ModelServer:
    """The first that has a model; where none has, what the others lack."""
    advice = tuple(server.advice for server in servers if server.advice)
    for server in servers:
        if server.models:
            # Beside one that answers only what can be used matters: a server that speaks.
            hints = tuple(other.advice for other in servers if other.speech and not other.models)
            return ModelServer(
                server.base_url, server.models, server.kind, server.context_tokens, hints
            )
    return ModelServer(advice=advice)


def _unreachable(url: str) -> str:
    from flows.discovery import is_own_network

    proxy = None if is_own_network(url) else proxy_for(url)
    if proxy is None:
        return f"nothing answers at {url}"
    return (
        f"nothing answers at {url} through the proxy of the environment: if it is on your own "
        "network, add its host to NO_PROXY"
    )
