"""Finding a model server on this machine: all usual ports at once, in a quarter of a second."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any
from urllib.parse import urlsplit

import httpx

from flows.model_server.addresses import is_loopback, is_own_network
from flows.model_server.kinds import ServerKind
from flows.model_server.listing import (
    context_of_entries,
    entries_of,
    kind_of,
    lm_studio_models,
    models_for_chat,
    speech_models,
)
from flows.model_server.refusals import is_loading
from flows.model_server.wording import read_refusal

__all__ = [
    "USUAL_PORTS",
    "Discovered",
    "ServerKind",
    "ServerState",
    "discover",
    "discover_all",
    "is_loopback",
    "is_own_network",
    "look_at",
]

USUAL_PORTS = (8000, 30000, 8080, 11434, 1234)
"""vLLM, SGLang, llama.cpp, Ollama, LM Studio: in order of preference."""


class ServerState(StrEnum):
    """What a server is good for now."""

    READY = "ready"
    NO_MODEL = "no model"
    SPEECH = "speech only"
    LOADING = "loading"
    SILENT = "silent"
    """It takes connections and answers nothing in time: busy, or still at its start."""
    KEY_REFUSED = "key refused"
    ODD = "no model server"
    """Something answers, but not as model servers do."""


@dataclass(frozen=True)
class Discovered:
    """A model server that answered."""

    base_url: str
    kind: ServerKind
    models: tuple[str, ...]
    """Names of the models that can chat, Qwen3 first; those that are in memory before the rest."""
    state: ServerState = ServerState.READY
    context_tokens: int | None = None
    """Tokens that prompt and answer have together, where the server tells."""
    speech: tuple[str, ...] = ()
    """Models and voices that speak."""
    status: int = 200
    """HTTP status of its list of models; 0 = none yet."""

    def __str__(self) -> str:
        names = ", ".join(self.models) or "no model"
        return f"{self.kind} at {self.base_url} with {names}"

    @property
    def advice(self) -> str:
        """Why no model of it answers, and what to do, in one sentence; empty where one does."""
        match self.state:
            case ServerState.READY:
                return ""
            case ServerState.NO_MODEL if self.kind is ServerKind.OLLAMA:
                return f"Ollama runs at {self.base_url}, it has no model: `ollama pull qwen3:4b`"
            case ServerState.NO_MODEL if self.kind is ServerKind.LM_STUDIO:
                return f"LM Studio runs at {self.base_url}, it has no model for chat: get one there"
            case ServerState.NO_MODEL:
                return f"a server runs at {self.base_url}, it has no model for chat"
            case ServerState.SPEECH:
                names = ", ".join(self.speech[:3])
                return (
                    f"the server at {self.base_url} speaks and does not chat ({names}): to speak "
                    f"with it, set tts=speech-api and tts_url={self.base_url}"
                )
            case ServerState.LOADING:
                return f"the model server at {self.base_url} is still loading its model"
            case ServerState.SILENT:
                return f"the server at {self.base_url} is busy or starting: it does not answer yet"
            case ServerState.KEY_REFUSED:
                return (
                    f"the model server at {self.base_url} refuses the key (status {self.status}): "
                    "set llm_api_key to its key"
                )
            case ServerState.ODD:
                return (
                    f"{self.base_url} answers, but lists no models (status {self.status}): see "
                    "that the address ends in /v1"
                )


async def discover(
    base_url: str | None = None,
    *,
    host: str = "127.0.0.1",
    ports: Sequence[int] = USUAL_PORTS,
    api_key: str | None = None,
    timeout_s: float | None = None,
) -> Discovered | None:
    """Find a model server: the one at `base_url`, or the best on the usual ports.

    Args:
        base_url: Ask only this server, an OpenAI face with its `/v1`.
        host: Where to look otherwise.
        ports: Asked at the same time; the first in this order that has a model wins.
        api_key: Sent as bearer token, to `base_url` only.
        timeout_s: Seconds for the whole search; by default a quarter of one for the usual ports,
            and 5 for a server that is named, which may be far or busy.
    """
    if base_url is not None:
        found = await look_at(base_url, api_key=api_key, timeout_s=timeout_s or _NAMED_S)
        return found if found is not None and found.models else None
    found_all = await discover_all(host=host, ports=ports, timeout_s=timeout_s or _SEARCH_S)
    return next((server for server in found_all if server.models), None)


_SEARCH_S = 0.25
_NAMED_S = 5.0


async def look_at(
    base_url: str, *, api_key: str | None = None, timeout_s: float = _NAMED_S
) -> Discovered | None:
    """What a server is and has, whatever state it is in; None where nothing answers.

    Args:
        base_url: An OpenAI face with its `/v1`.
        api_key: Sent as bearer token.
        timeout_s: Seconds for everything.
    """
    found = await _ask([base_url], api_key, timeout_s)
    if found and found[0].state is ServerState.ODD and not urlsplit(base_url).path.strip("/"):
        # The address as a browser shows it.
        under_v1 = await _ask([f"{base_url.rstrip('/')}/v1"], api_key, timeout_s)
        if under_v1 and under_v1[0].state is not ServerState.ODD:
            return under_v1[0]
    return found[0] if found else None


async def discover_all(
    *,
    host: str = "127.0.0.1",
    ports: Sequence[int] = USUAL_PORTS,
    timeout_s: float = _SEARCH_S,
) -> tuple[Discovered, ...]:
    """Every server on the usual ports that is one for models, ready or not, in their order."""
    urls = [f"http://{host}:{port}/v1" for port in ports]
    found = await _ask(urls, None, timeout_s)
    # What is merely something else on a usual port is nobody's concern.
    return tuple(server for server in found if server.state is not ServerState.ODD)


async def _ask(
    base_urls: Sequence[str], api_key: str | None, timeout_s: float
) -> tuple[Discovered, ...]:
    own = all(is_own_network(url) for url in base_urls)
    plain = all(url.startswith("http://") for url in base_urls)
    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    # Loading the certificates of a TLS client takes longer than the search; and a proxy that the
    # environment names must not be asked for a server on one's own network.
    async with httpx.AsyncClient(
        trust_env=not own, verify=not (own and plain), headers=headers, timeout=timeout_s
    ) as client:
        seen: dict[str, Discovered] = {}
        tasks = [asyncio.create_task(_models_at(client, url, seen)) for url in base_urls]
        try:
            await asyncio.wait(tasks, timeout=timeout_s)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
    return tuple(seen[url] for url in base_urls if url in seen)


async def _models_at(
    client: httpx.AsyncClient, asked_url: str, seen: dict[str, Discovered]
) -> None:
    """Puts what is known into `seen` as soon as it is: the time may be over in the middle."""
    base_url = asked_url.rstrip("/")

    async def trace(event: str, _: dict[str, Any]) -> None:
        if event == "connection.connect_tcp.complete":
            kind = kind_of(base_url, "", ())
            seen[asked_url] = Discovered(base_url, kind, (), ServerState.SILENT, status=0)

    try:
        # Who is busy accepts the connection, and says nothing until the time is over.
        response = await client.get(f"{base_url}/models", extensions={"trace": trace})
    except httpx.TimeoutException:
        return
    except (httpx.HTTPError, httpx.InvalidURL):
        seen.pop(asked_url, None)
        return
    body = _json(response)
    entries = entries_of(body) if response.is_success else None
    kind = kind_of(base_url, response.headers.get("server", ""), entries or ())
    if entries is None:
        refused = read_refusal(response.status_code, body if body is not None else response.text)
        state = ServerState.ODD
        if response.status_code in (401, 403):
            state = ServerState.KEY_REFUSED
        elif is_loading(refused):
            state = ServerState.LOADING
        seen[asked_url] = Discovered(base_url, kind, (), state, status=response.status_code)
        return
    found = Discovered(
        base_url,
        kind,
        models_for_chat(entries),
        context_tokens=context_of_entries(entries),
        speech=speech_models(entries),
    )
    seen[asked_url] = _with_state(found)
    seen[asked_url] = _with_state(await _completed(client, found))


def _with_state(found: Discovered) -> Discovered:
    if found.models:
        return found
    return replace(found, state=ServerState.SPEECH if found.speech else ServerState.NO_MODEL)


async def _completed(client: httpx.AsyncClient, found: Discovered) -> Discovered:
    """What only the server's own addresses tell: context, what is loaded, what is for chat."""
    root = found.base_url.removesuffix("/v1")
    address = urlsplit(found.base_url)
    if found.kind is ServerKind.LLAMA_CPP:
        # Of one slot; the list of models tells the context of all together.
        props = await _get(client, f"{root}/props")
        settings = props.get("default_generation_settings") if isinstance(props, dict) else None
        context = settings.get("n_ctx") if isinstance(settings, dict) else None
        return replace(found, context_tokens=context) if isinstance(context, int) else found
    if found.kind is ServerKind.OLLAMA:
        running = await _get(client, f"{root}/api/ps")
        return replace(found, context_tokens=_ollama_context(running))
    if found.kind is ServerKind.LM_STUDIO or (
        found.kind is ServerKind.OTHER and is_loopback(found.base_url) and address.port == 1234
    ):
        told = lm_studio_models(await _get(client, f"{root}/api/v0/models"))
        if told is not None:
            names, context = told
            return replace(found, kind=ServerKind.LM_STUDIO, models=names, context_tokens=context)
    return found


def _ollama_context(running: Any) -> int | None:
    """The context that the loaded models have; the smallest, if there are several."""
    models = running.get("models") if isinstance(running, dict) else None
    lengths = [m.get("context_length") for m in models or () if isinstance(m, dict)]
    return min((n for n in lengths if isinstance(n, int) and n > 0), default=None)


async def _get(client: httpx.AsyncClient, url: str) -> Any:
    try:
        return _json((await client.get(url)).raise_for_status())
    except httpx.HTTPError:
        return None


def _json(response: httpx.Response) -> Any:
    try:
        return response.json()
    except ValueError:
        return None
