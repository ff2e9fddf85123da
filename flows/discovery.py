"""Finding a model server on this machine: all usual ports at once, in a quarter of a second."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from urllib.parse import urlsplit

import httpx


class ServerKind(StrEnum):
    """The servers whose ways are known."""

    VLLM = "vllm"
    SGLANG = "sglang"
    LLAMA_CPP = "llama.cpp"
    OLLAMA = "ollama"
    OPENROUTER = "openrouter"
    OTHER = "other"


USUAL_PORTS = (8000, 30000, 8080, 11434, 1234)
"""vLLM, SGLang, llama.cpp, Ollama, LM Studio: in order of preference."""

_OWNERS = {
    "vllm": ServerKind.VLLM,
    "sglang": ServerKind.SGLANG,
    "llamacpp": ServerKind.LLAMA_CPP,
    "library": ServerKind.OLLAMA,
    "ollama": ServerKind.OLLAMA,
}
_NOT_FOR_CHAT = ("embed", "rerank", "whisper", "tts")


@dataclass(frozen=True)
class Discovered:
    """A model server that answered."""

    base_url: str
    kind: ServerKind
    models: tuple[str, ...]
    """Names of the models that can chat, Qwen3 first."""

    def __str__(self) -> str:
        names = ", ".join(self.models) or "no model"
        return f"{self.kind} at {self.base_url} with {names}"


def is_loopback(url: str) -> bool:
    """Whether `url` is on this machine."""
    host = urlsplit(url).hostname or ""
    return host in ("localhost", "::1") or host.startswith("127.")


async def discover(
    base_url: str | None = None,
    *,
    host: str = "127.0.0.1",
    ports: Sequence[int] = USUAL_PORTS,
    api_key: str | None = None,
    timeout_s: float = 0.25,
) -> Discovered | None:
    """Find a model server: the one at `base_url`, or the best on the usual ports.

    Args:
        base_url: Ask only this server, an OpenAI face with its `/v1`.
        host: Where to look otherwise.
        ports: Asked at the same time; the first in this order that has a model wins.
        api_key: Sent as bearer token, to `base_url` only.
        timeout_s: Seconds for the whole search.
    """
    if base_url is not None:
        found = await _ask([base_url], api_key, timeout_s)
    else:
        found = await _ask([f"http://{host}:{port}/v1" for port in ports], None, timeout_s)
    return next((server for server in found if server.models), None)


async def discover_all(
    *,
    host: str = "127.0.0.1",
    ports: Sequence[int] = USUAL_PORTS,
    timeout_s: float = 0.25,
) -> tuple[Discovered, ...]:
    """Every model server on the usual ports, in their order."""
    return await _ask([f"http://{host}:{port}/v1" for port in ports], None, timeout_s)


async def _ask(
    base_urls: Sequence[str], api_key: str | None, timeout_s: float
) -> tuple[Discovered, ...]:
    local = all(is_loopback(url) and url.startswith("http://") for url in base_urls)
    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    # Loading the certificates of a TLS client takes longer than the search; and a proxy that the
    # environment names must not be asked for a server on this machine.
    async with httpx.AsyncClient(
        trust_env=not local, verify=not local, headers=headers, timeout=timeout_s
    ) as client:
        tasks = [asyncio.create_task(_models_at(client, url)) for url in base_urls]
        try:
            await asyncio.wait(tasks, timeout=timeout_s)
            answers = [task.result() for task in tasks if task.done()]
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
    return tuple(answer for answer in answers if answer is not None)


async def _models_at(client: httpx.AsyncClient, base_url: str) -> Discovered | None:
    base_url = base_url.rstrip("/")
    try:
        response = await client.get(f"{base_url}/models")
        response.raise_for_status()
        entries = _entries(response.json())
    except (httpx.HTTPError, httpx.InvalidURL, ValueError):
        return None
    if entries is None:
        return None
    models = [name for name, _ in entries if not any(n in name.lower() for n in _NOT_FOR_CHAT)]
    models.sort(key=lambda name: "qwen3" not in name.lower())
    return Discovered(base_url, _kind(base_url, response, entries), tuple(models))


def _entries(data: Any) -> list[tuple[str, str]] | None:
    """Name and owner of each model, or None where this is no list of models."""
    if not isinstance(data, dict) or not isinstance(data.get("data"), list):
        return None
    return [
        (entry["id"], str(entry.get("owned_by", "")))
        for entry in data["data"]
        if isinstance(entry, dict) and isinstance(entry.get("id"), str)
    ]


def _kind(
    base_url: str, response: httpx.Response, entries: Sequence[tuple[str, str]]
) -> ServerKind:
    address = urlsplit(base_url)
    host = address.hostname or ""
    if host == "openrouter.ai" or host.endswith(".openrouter.ai"):
        return ServerKind.OPENROUTER
    if "llama.cpp" in response.headers.get("server", ""):
        return ServerKind.LLAMA_CPP
    for _, owner in entries:
        if owner.lower() in _OWNERS:
            return _OWNERS[owner.lower()]
    # Ollama names the user of a pushed model as its owner; its port tells it all the same.
    return ServerKind.OLLAMA if address.port == 11434 else ServerKind.OTHER
