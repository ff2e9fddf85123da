"""The settings of the flow server: read once, in `flows.__main__`, and frozen."""

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from flows.data_files import DEFAULT_DATABASE_URL, DEFAULT_DOCUMENTS_INDEX
from flows.discovery import ServerKind
from flows.model_server.addresses import is_loopback_host
from flows.tools.mcp_server import McpServer
from graph_speech.runner import NO_ANSWER


class FlowSettings(BaseSettings):
    """Settings of `python -m flows`; the environment variable is FLOWS_ and the field's name."""

    model_config = SettingsConfigDict(env_prefix="FLOWS_", frozen=True, extra="forbid")

    host: str = Field(
        default="127.0.0.1", description="Address to listen on; beyond loopback needs a token."
    )
    port: int = Field(default=8123, ge=0, le=65535, description="TCP port; 0 takes a free one.")
    token: SecretStr | None = Field(
        default=None, description="Bearer token that clients must send."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info",
        description="Log level; no transcript and no prompt is logged at info or above.",
    )

    model_url: str | None = Field(
        default=None,
        description="OpenAI-compatible server, with /v1; looked for on this machine if unset.",
    )
    model: str | None = Field(default=None, description="Model name; the server's first if unset.")
    model_api_key: SecretStr | None = Field(default=None, description="Key for the model server.")
    model_kind: ServerKind | None = Field(
        default=None, description="Kind of that server; detected if unset."
    )
    discovery: bool = Field(
        default=True, description="Look for a model server on the usual local ports."
    )
    temperature: float = Field(default=0.4, ge=0, le=2, description="Sampling temperature.")
    max_tokens: int = Field(default=256, ge=1, le=8192, description="Tokens of one answer at most.")
    economy: bool = Field(default=False, description="Ask for the shortest answers.")
    first_token_timeout_s: float = Field(
        default=20.0, gt=0, description="Seconds to the model's first chunk."
    )
    idle_timeout_s: float = Field(
        default=10.0, gt=0, description="Seconds between two chunks of the model."
    )
    instructions: str | None = Field(default=None, description="What the assistant is for.")

    database_url: str = Field(
        default=DEFAULT_DATABASE_URL,
        description='"memory", sqlite:///PATH, or postgresql://…',
    )
    keep_conversations: bool = Field(
        default=False, description="Keep conversations in the database."
    )
    memory_days: float | None = Field(
        default=None,
        gt=0,
        description="Days for which what a caller asked to be remembered is kept; unset = until "
        "it is forgotten.",
    )
    session_ttl_s: float = Field(
        default=900.0, gt=0, description="Seconds without a turn after which a session is over."
    )

    weather_url: str | None = Field(
        default=None, description="Weather endpoint, {query} in its URL."
    )
    stock_url: str | None = Field(
        default=None, description="Stock quote endpoint, {query} in its URL."
    )
    search_url: str | None = Field(default=None, description="Search endpoint, {query} in its URL.")
    lookup_timeout_s: float = Field(
        default=5.0, gt=0, description="Seconds that a lookup may take."
    )

    business_database: Path | None = Field(
        default=None,
        description="SQLite file behind the router's agents; a sample in memory if unset.",
    )
    personas: Path | None = Field(
        default=None, description="TOML file with the characters of `persona`."
    )
    mcp_servers: tuple[McpServer, ...] = Field(default=(), description="MCP servers, as JSON.")

    documents: Path | None = Field(
        default=None, description="Folder of documents that the flows answer from."
    )
    documents_model: str = Field(
        default="auto",
        min_length=1,
        description="What finds passages: words, multilingual-e5-small, bge-m3, or the folder of "
        "an ONNX embedding model; auto = a model that was downloaded, else words.",
    )
    documents_index: str = Field(
        default=DEFAULT_DOCUMENTS_INDEX,
        min_length=1,
        description="Where their passages are kept: a SQLite file, or http(s)://HOST:PORT of a "
        "Qdrant server.",
    )
    documents_index_key: SecretStr | None = Field(
        default=None, description="API key of the Qdrant server."
    )
    embeddings_dir: Path = Field(
        default=Path("~/.cache/livekit-agent-worker/embeddings"),
        description="Folder of downloaded embedding models.",
    )

    max_body_bytes: int = Field(
        default=1_000_000, ge=1000, description="Largest request body, in bytes."
    )
    ping_s: float = Field(
        default=12.0, gt=0, description="Seconds of silence before a keep-alive comment."
    )
    filler_after_s: float = Field(
        default=0.7,
        ge=0,
        description="Seconds that a tool may take before a filler event; 0 sends none.",
    )
    filler: str = Field(default="One moment, please.", description="Text of the filler event.")
    no_answer: str = Field(
        default=NO_ANSWER,
        min_length=1,
        description="What is said where a flow ends without a word.",
    )

    @model_validator(mode="after")
    def _is_guarded_beyond_loopback(self) -> "FlowSettings":
        if not is_loopback_host(self.host) and not (self.token and self.token.get_secret_value()):
            raise ValueError(
                f"listening on {self.host} needs a bearer token: set FLOWS_TOKEN, "
                "or listen on 127.0.0.1"
            )
        return self
