"""The model, and what it may look up and remember."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field, SecretStr, field_validator

from flows.data_files import DEFAULT_DATABASE_URL, DEFAULT_DOCUMENTS_INDEX
from flows.tools.mcp_server import McpServer

from .checks import empty_is_unset, http_url

LlmEngine = Literal["auto", "local", "offline", "assistant", "router", "persona", "remote"]
LlmKind = Literal["vllm", "sglang", "llama.cpp", "ollama", "lm-studio", "openrouter", "other"]


class ThinkingSettings(BaseModel):
    """What answers, and with which knowledge."""

    # -- thinking ----------------------------------------------------------------------------
    llm: LlmEngine = Field(
        "auto",
        description="auto: the assistant on llm_url or a local server, else on a downloaded Qwen3 "
        "that the worker runs itself, else offline. local: that Qwen3, or llm_gguf.",
    )
    llm_gguf: Path | None = Field(
        None,
        description="GGUF file that the worker runs itself; unset = the best Qwen3 that "
        "`download-files` fetched.",
    )
    llm_url: str | None = Field(
        None, description="OpenAI-compatible endpoint, such as http://127.0.0.1:8000/v1."
    )
    llm_model: str | None = Field(
        None, description="Model name at that endpoint; unset = its first."
    )
    llm_kind: LlmKind | None = Field(
        None, description="Kind of that endpoint's server; unset = found out."
    )
    llm_api_key: SecretStr = Field(SecretStr("none"), description="Key for that endpoint.")
    llm_temperature: float = Field(0.4, ge=0, le=2, description="Sampling temperature.")
    llm_max_tokens: int = Field(256, ge=1, le=8192, description="Tokens of one answer at most.")
    llm_price_prompt: float | None = Field(
        None,
        ge=0,
        description="What a million tokens that the model reads cost; with it each turn's record "
        "and the call's summary say what they cost. Unset = only tokens are told.",
    )
    llm_price_cached: float | None = Field(
        None,
        ge=0,
        description="The same of tokens out of the server's cache; unset = as llm_price_prompt.",
    )
    llm_price_completion: float | None = Field(
        None, ge=0, description="What a million tokens that the model writes cost."
    )
    llm_currency: str = Field(
        "", max_length=12, description="Currency of these prices, as it is to be told: EUR."
    )
    llm_discovery: bool = Field(
        True, description="Look for a model server on the usual local ports."
    )
    llm_wait_s: float = Field(
        180.0,
        ge=0,
        le=3600,
        description="Seconds that a start waits for a model server that is loading or, where "
        "llm_url names it, not up yet.",
    )
    flow_url: str | None = Field(None, description="Flow server for llm=remote.")
    flow_id: str = Field("assistant", description="Flow on that server.")
    flow_token: SecretStr = Field(SecretStr(""), description="Bearer token of that server.")
    persona_profiles: Path | None = Field(
        None, description="TOML file of characters for llm=persona."
    )
    persona_character: str | None = Field(
        None, description="The one of them that callers talk with; unset = all take turns."
    )

    economy: bool = Field(False, description="Ask the model for the shortest answers.")

    # -- what it knows and can do; a flow server has settings of its own for it --------------
    caller_id: str = Field(
        "",
        description="By what a caller is known again in the next call: identity (of the token), "
        "names of attributes (sip.phoneNumber), session_start (what a WebSocket client says), "
        "separated by commas, the first that is there; empty = nobody is remembered.",
    )
    database_url: str = Field(
        DEFAULT_DATABASE_URL,
        min_length=1,
        description="Where it is kept what known callers asked to be remembered: sqlite:///PATH, "
        'postgresql://…, or "memory" until the worker ends.',
    )
    memory_days: float | None = Field(
        None, gt=0, description="Days for which that is kept; unset = until it is forgotten."
    )
    weather_url: str | None = Field(
        None, description="Weather endpoint, with {query} in its URL; unset = no such service."
    )
    stock_url: str | None = Field(
        None, description="Stock quote endpoint, with {query} in its URL; unset = no such service."
    )
    search_url: str | None = Field(
        None, description="Search endpoint, with {query} in its URL; unset = no such service."
    )
    lookup_timeout_s: float = Field(5.0, gt=0, description="Seconds that a look-up may take.")
    mcp_servers: tuple[McpServer, ...] = Field(
        (),
        description="MCP servers whose tools the model may use, as JSON: "
        '[{"name": "files", "command": ["program", "argument"]}], or "url" for HTTP.',
    )
    documents: Path | None = Field(
        None, description="Folder of documents (.md, .txt, .rst, .html) that flows answer from."
    )
    documents_model: str = Field(
        "auto",
        min_length=1,
        description="What finds passages: words, multilingual-e5-small, bge-m3, or the folder of "
        "an ONNX embedding model; auto = a model that was downloaded, else words.",
    )
    documents_index: str = Field(
        DEFAULT_DOCUMENTS_INDEX,
        min_length=1,
        description="Where their passages are kept: a SQLite file, or http(s)://HOST:PORT of a "
        "Qdrant server.",
    )
    documents_index_key: SecretStr | None = Field(None, description="API key of the Qdrant server.")
    business_database: Path | None = Field(
        None, description="SQLite file of llm=router; unset = a sample in memory."
    )

    _thinking_unset = field_validator(
        "llm_gguf",
        "llm_price_prompt",
        "llm_price_cached",
        "llm_price_completion",
        "llm_url",
        "llm_model",
        "llm_kind",
        "flow_url",
        "persona_profiles",
        "persona_character",
        "memory_days",
        "weather_url",
        "stock_url",
        "search_url",
        "documents",
        "documents_index_key",
        "business_database",
        mode="before",
    )(empty_is_unset)
    _thinking_http_url = field_validator("llm_url", "flow_url")(http_url)

    @field_validator("weather_url", "stock_url", "search_url")
    @classmethod
    def _has_a_place_for_the_question(cls, value: str | None) -> str | None:
        if value is not None and "{query}" not in value:
            raise ValueError("needs {query} where the question goes")
        return value
