"""The model server: the one that the settings name, or one on this machine, and what it lacks."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from .settings import Settings, proxy_for

if TYPE_CHECKING:
    from flows.discovery import Discovered

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
    """Asks the server of the settings, or those on the usual local ports."""
    if settings.llm in ("offline", "remote"):
        return ModelServer()
    from flows.discovery import discover_all, look_at

    if settings.llm_url is not None:
        key = settings.llm_api_key.get_secret_value()
        sent = None if key in ("", _NO_KEY) else key
        return named(settings, await look_at(settings.llm_url, api_key=sent))
    if not settings.llm_discovery:
        return ModelServer()
    return best(await discover_all())


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
