"""The language model: Qwen3, or any other, behind an OpenAI-compatible server.

Two settings name it, the server's URL and the model. What differs between servers, above all the
way to switch thinking off, follows from the kind of the server, which `discover` detects.

Sources: Qwen3's model card for the sampling without thinking; vLLM, SGLang, llama.cpp, Ollama and
OpenRouter documentation for the switches.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any

import openai
from langchain_core.callbacks import AsyncCallbackManagerForLLMRun
from langchain_core.language_models import LanguageModelInput
from langchain_core.messages import BaseMessage
from langchain_core.outputs import ChatGenerationChunk
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from flows.discovery import Discovered, ServerKind, discover, is_loopback

__all__ = [
    "ECONOMY_MAX_TOKENS",
    "Discovered",
    "ModelOptions",
    "ServerKind",
    "chat_model",
    "discover",
    "request_extras",
]

ECONOMY_MAX_TOKENS = 96
"""Tokens of an answer in economy mode: two or three short sentences."""


@dataclass(frozen=True)
class ModelOptions:
    """Which model answers, and how it samples. The defaults are for voice."""

    base_url: str
    """The server's OpenAI face, with its `/v1`."""
    model: str
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

    def with_server(self, found: Discovered) -> "ModelOptions":
        """These options for a server that was found."""
        return replace(self, base_url=found.base_url, kind=found.kind)


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
        case ServerKind.OPENROUTER:
            return sampling | {"reasoning": {"enabled": options.thinking}}
        case ServerKind.OTHER:
            return {}


class VoiceChatModel(ChatOpenAI):
    """`ChatOpenAI` whose streams can be cancelled at once and never hang.

    LangChain's own limit on the time between chunks wraps each in `asyncio.wait_for`, which on
    Python 3.11 swallows cancellations: a barge-in would not reach the server. It is switched off
    here, and `asyncio.timeout`, which has no such fault, takes its place.
    """

    first_token_timeout_s: float = 20.0
    idle_timeout_s: float = 10.0

    async def aclose(self) -> None:
        """Close the connections to the server; safe to call twice."""
        await self.root_async_client.close()

    def _get_request_payload(
        self,
        input_: LanguageModelInput,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        payload = super()._get_request_payload(input_, stop=stop, **kwargs)
        # The name that every server knows; several local ones ignore OpenAI's newer one.
        if "max_completion_tokens" in payload:
            payload["max_tokens"] = payload.pop("max_completion_tokens")
        return payload

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        chunks = super()._astream(messages, stop, run_manager, **kwargs)
        limit, waited_for = self.first_token_timeout_s, "first token"
        async with contextlib.aclosing(chunks):  # type: ignore[type-var]  # is a generator
            while True:
                try:
                    async with asyncio.timeout(limit):
                        chunk = await anext(chunks)
                except StopAsyncIteration:
                    return
                except TimeoutError as fault:
                    message = f"The model sent no {waited_for} for {limit:g} s."
                    raise TimeoutError(message) from fault
                yield chunk
                limit, waited_for = self.idle_timeout_s, "further token"


def chat_model(options: ModelOptions) -> VoiceChatModel:
    """Build the chat model for `options`; connects to nothing yet."""
    max_tokens = options.max_tokens
    if options.economy:
        max_tokens = min(max_tokens, ECONOMY_MAX_TOKENS)
    timeout = openai.Timeout(
        max(options.first_token_timeout_s, options.idle_timeout_s),
        connect=options.connect_timeout_s,
    )
    return VoiceChatModel(
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
        # event loops. And a proxy must not be asked for a server on this machine.
        http_async_client=openai.DefaultAsyncHttpxClient(
            timeout=timeout, trust_env=not is_loopback(options.base_url)
        ),
        first_token_timeout_s=options.first_token_timeout_s,
        idle_timeout_s=options.idle_timeout_s,
    )
