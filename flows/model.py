"""The language model: Qwen3, or any other, behind an OpenAI-compatible server.

Two settings name it, the server's URL and the model. What differs between servers, above all the
way to switch thinking off, follows from the kind of the server, which `discover` detects; what
cannot be known beforehand is learnt from its refusals (`flows.model_server`).

Sources: Qwen3's model card for the sampling without thinking; vLLM, SGLang, llama.cpp, Ollama, LM
Studio and OpenRouter documentation for the switches.
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import openai
from pydantic import SecretStr

from .discovery import Discovered, ServerKind, discover, look_at
from .model_server.addresses import is_own_network
from .model_server.asked import Asked, Served
from .model_server.habits import ServerMemory
from .voice_chat_model import VoiceChatModel

__all__ = [
    "ECONOMY_MAX_TOKENS",
    "Discovered",
    "ModelOptions",
    "ServerKind",
    "ServerMemory",
    "VoiceChatModel",
    "chat_model",
    "discover",
    "request_extras",
]

OLLAMA_CONTEXT = 4096
"""Tokens that Ollama keeps of a call where it was told nothing and has little memory."""
ECONOMY_MAX_TOKENS = 96
"""Tokens of an answer in economy mode: two or three short sentences."""


@dataclass(frozen=True)
class ModelOptions:
    """Which model answers, and how it samples. The defaults are for voice."""

    base_url: str
    """The server's OpenAI face, with its `/v1`."""
    model: str
    """Empty = the server's first, asked for at the first turn."""
    api_key: str | None = None
    kind: ServerKind = ServerKind.OTHER
    temperature: float = 0.4
    top_p: float = 0.8
    top_k: int = 20
    min_p: float = 0.0
    """Sent even though it is zero: llama.cpp's own default is 0.05."""
    presence_penalty: float = 1.5
    max_tokens: int = 256
    thinking: bool = False
    """Let the model think before it speaks. Seconds of silence; for testing."""
    economy: bool = False
    """Short answers: fewer tokens, and an instruction to be brief."""
    connect_timeout_s: float = 3.0
    first_token_timeout_s: float = 20.0
    """Seconds from the request to the first chunk; a cold local model may load first."""
    idle_timeout_s: float = 10.0
    """Seconds between two chunks."""
    context_tokens: int | None = None
    """Tokens that prompt and answer have together, where the server tells."""
    fillers: tuple[str, ...] = ("One moment, please.", "Just a second.")
    """What the caller hears while a model that is not in memory is loaded; () = nothing."""

    @property
    def known_context(self) -> int | None:
        """Tokens of context, with Ollama's default where Ollama does not tell."""
        ollama = self.kind is ServerKind.OLLAMA
        return self.context_tokens or (OLLAMA_CONTEXT if ollama else None)


def request_extras(options: ModelOptions) -> dict[str, Any]:
    """The fields beyond OpenAI's that this kind of server takes.

    An unknown server gets none: strict ones refuse a request with fields that they don't know.
    """
    sampling = {"top_k": options.top_k, "min_p": options.min_p}
    template = {"chat_template_kwargs": {"enable_thinking": options.thinking}}
    match options.kind:
        case ServerKind.VLLM | ServerKind.SGLANG | ServerKind.LLAMA_CPP:
            return sampling | template
        case ServerKind.OLLAMA:
            return {} if options.thinking else {"reasoning_effort": "none"}
        case ServerKind.LM_STUDIO:
            # Versions before 0.4.17 ignore it; what then thinks is found out from its answer.
            return {} if options.thinking else {"reasoning_effort": "none"}
        case ServerKind.OPENROUTER:
            return sampling | {"reasoning": {"enabled": options.thinking}}
        case ServerKind.OTHER:
            return {}


def chat_model(options: ModelOptions, memory: ServerMemory | None = None) -> VoiceChatModel:
    """Build the chat model for `options`; connects to nothing yet.

    Args:
        options: Which model answers, and how.
        memory: What is known of the server; give the same to all models on one server, so that
            what one call has learnt need not be learnt in the next. A new one by default.
    """
    memory = memory or ServerMemory()
    memory.known_context = options.known_context
    max_tokens = options.max_tokens
    if options.economy:
        max_tokens = min(max_tokens, ECONOMY_MAX_TOKENS)
    timeout = openai.Timeout(
        max(options.first_token_timeout_s, options.idle_timeout_s),
        connect=options.connect_timeout_s,
    )
    own, plain = is_own_network(options.base_url), options.base_url.startswith("http://")
    model = VoiceChatModel(
        base_url=options.base_url,
        model=options.model,
        # Local servers want no key, but the client insists on one.
        api_key=SecretStr(options.api_key or "none"),
        temperature=options.temperature,
        top_p=options.top_p,
        presence_penalty=options.presence_penalty,
        max_completion_tokens=max_tokens,
        extra_body=request_extras(options) or None,
        stream_usage=True,
        stream_chunk_timeout=None,
        use_responses_api=False,
        # A retry here would be silent and hidden from whoever counts the caller's time.
        max_retries=0,
        timeout=timeout,
        # A pool of its own, that can be closed: LangChain shares one between all models and all
        # event loops. And a proxy must not be asked for a server on one's own network, where
        # reading the certificates for a connection without TLS takes a third of a second.
        http_async_client=openai.DefaultAsyncHttpxClient(
            timeout=timeout, trust_env=not own, verify=not (own and plain)
        ),
        first_token_timeout_s=options.first_token_timeout_s,
        idle_timeout_s=options.idle_timeout_s,
    )
    model.asks(
        Asked(
            memory=memory,
            url=options.base_url,
            kind=options.kind,
            fillers=options.fillers,
            thinking=options.thinking,
            find=None if options.model else partial(_first_model, options),
        )
    )
    return model


async def _first_model(options: ModelOptions) -> Served:
    found = await look_at(options.base_url, api_key=options.api_key)
    if found is None:
        raise ConnectionError(f"no model server answers at {options.base_url}")
    if not found.models:
        raise ConnectionError(found.advice)
    known = options
    if options.kind is ServerKind.OTHER:
        known = replace(options, kind=found.kind)
    known = replace(known, context_tokens=options.context_tokens or found.context_tokens)
    return Served(found.models[0], known.kind, request_extras(known) or None, known.known_context)
