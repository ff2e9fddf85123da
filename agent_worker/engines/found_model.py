"""The model server: the one that the settings name, or one on this machine, and what it lacks."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import math
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

from agent_worker.settings import Settings, proxy_for

if TYPE_CHECKING:
    from flows.discovery import Discovered

logger = logging.getLogger(__name__)

Say = Callable[[str], None]

_AGAIN_S = 0.5
_TOLD_EVERY_S = 10.0
_UNNAMED_SILENT_S = 10.0
"""For what listens on a usual port and says nothing: it may be something else altogether."""
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


async def find_model_server(
    settings: Settings,
    *,
    wait_s: float | None = None,
    until_ready: bool = False,
    say: Say | None = None,
) -> ModelServer:
    """Asks the server of the settings, or those on the usual local ports.

    One that is loading its model, or busy, or named and not up yet, is waited for: without it a
    worker would not start, or serve every call without a model.

    Args:
        wait_s: seconds at most; None = those of the settings.
        until_ready: wait also where the settings name the model too. A worker needs to know no
            more then, and its calls wait by themselves.
        say: told every ten seconds what is waited for; None = the log is.
    """
    if settings.llm in ("local", "offline", "remote"):
        return ModelServer()
    if settings.llm_gguf is not None and settings.llm_url is None:
        return ModelServer()
    from flows.discovery import discover_all, look_at

    limit_s = settings.llm_wait_s if wait_s is None else wait_s
    if settings.llm_url is not None:
        key = settings.llm_api_key.get_secret_value()
        sent = None if key in ("", _NO_KEY) else key
        url = settings.llm_url
        if settings.llm_model is not None and not until_ready:
            limit_s = 0.0

        async def look() -> tuple[Discovered, ...]:
            seen = await look_at(url, api_key=sent)
            return (seen,) if seen else ()

        servers = await _awaited(look, url, limit_s, say)
        return named(settings, servers[0] if servers else None)
    if not settings.llm_discovery:
        return ModelServer()
    return best(await _awaited(discover_all, None, limit_s, say), wait_s=settings.llm_wait_s)


async def _awaited(
    look: Callable[[], Awaitable[tuple[Discovered, ...]]],
    url: str | None,
    limit_s: float,
    say: Say | None,
) -> tuple[Discovered, ...]:
    """Looks again while what answers, or what was named, may have a model soon."""
    clock = asyncio.get_running_loop().time
    began, told_at = clock(), -_TOLD_EVERY_S
    while True:
        servers = await look()
        waited_s = clock() - began
        reason, worth_s = still_coming(servers, url)
        least_s = min(worth_s, limit_s)
        if not reason or waited_s >= least_s:
            return servers
        if waited_s - told_at >= _TOLD_EVERY_S:
            told_at = waited_s
            line = f"{reason}; waiting for it, {least_s - waited_s:.0f} s at most"
            if say is None:
                logger.warning("%s", line)
            else:
                say(line)
        await asyncio.sleep(min(_AGAIN_S, least_s - waited_s))


def still_coming(servers: Sequence[Discovered], url: str | None) -> tuple[str, float]:
    """What a model may soon come of, in words, and for how many seconds that is worth waiting.

    Args:
        servers: those that answered.
        url: of the server that the settings name, the only one that was asked then.

    Returns:
        No words where there is a model, or no prospect of one.
    """
    from flows.discovery import ServerState

    if any(server.models for server in servers):
        return "", 0.0
    for server in servers:
        if server.state is ServerState.LOADING:
            return server.advice, math.inf
    for server in servers:
        if server.state is ServerState.SILENT:
            return server.advice, _UNNAMED_SILENT_S if url is None else math.inf
    if url is not None and not servers:
        # vLLM listens once its model is in memory
        return _unreachable(url), math.inf
    return "", 0.0


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
    advice = [_with_wait(seen, settings.llm_wait_s)] if seen.advice else []
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


def best(servers: tuple[Discovered, ...], *, wait_s: float = 0.0) -> ModelServer:
    """The first that has a model; where none has, what the others lack.

    Args:
        servers: in order of preference.
        wait_s: seconds that a start waits for one that is loading.
    """
    advice = tuple(_with_wait(server, wait_s) for server in servers if server.advice)
    for server in servers:
        if server.models:
            # Beside one that answers only what can be used matters: a server that speaks.
            hints = tuple(other.advice for other in servers if other.speech and not other.models)
            return ModelServer(
                server.base_url, server.models, server.kind, server.context_tokens, hints
            )
    return ModelServer(advice=advice)


def _with_wait(seen: Discovered, wait_s: float) -> str:
    from flows.discovery import ServerState

    if seen.state is not ServerState.LOADING:
        return seen.advice
    return f"{seen.advice} (a start waits {wait_s:.0f} s for it: llm_wait_s)"


def _unreachable(url: str) -> str:
    from flows.discovery import is_own_network

    proxy = None if is_own_network(url) else proxy_for(url)
    if proxy is None:
        return f"nothing answers at {url}"
    return (
        f"nothing answers at {url} through the proxy of the environment: if it is on your own "
        "network, add its host to NO_PROXY"
    )
