"""What the user can set: one frozen model, read once from the environment and a TOML file.

This is the only module that knows the environment. The order, first wins: keyword arguments (the
command line), environment variables (``AGENT_WORKER_<FIELD>``; ``LIVEKIT_URL``,
``LIVEKIT_API_KEY`` and ``LIVEKIT_API_SECRET`` under LiveKit's names too), the TOML file, the
defaults.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import os
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from pydantic import (
    AliasChoices,
    BaseModel,
    Field,
    SecretStr,
    ValidationError,
    ValidatorFunctionWrapHandler,
    field_validator,
)
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)
from pydantic_settings.exceptions import SettingsError as UnreadableError

from flows.data_files import DEFAULT_DATABASE_URL, DEFAULT_DOCUMENTS_INDEX
from flows.tools.mcp_server import McpServer

from .setting_words import allowed, shown, tables_hint, what_is_wrong, without_password

ENV_PREFIX = "AGENT_WORKER_"
CONFIG_FILE_VARIABLE = f"{ENV_PREFIX}CONFIG"
DEFAULT_CONFIG_FILE = Path("agent-worker.toml")
DEFAULT_HUB = "https://huggingface.co"

_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://(\[[0-9a-f:]+\]|[a-z0-9._-]+)(:\d{1,5})?")
"""As browsers send it: lower case, without a path."""

SttEngine = Literal["auto", "faster-whisper", "bundled"]
TtsEngine = Literal["auto", "piper", "kokoro", "espeak", "xtts", "speech-api", "higgs"]
OWN_VOICE_ENGINE = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
"""`MODULE:NAME` of a voice engine that does not come along."""
LlmEngine = Literal["auto", "local", "offline", "assistant", "router", "persona", "remote"]
ChoiceKind = Literal["flow", "character", "voice", "language", "economy"]
LlmKind = Literal["vllm", "sglang", "llama.cpp", "ollama", "lm-studio", "openrouter", "other"]


class SettingsError(Exception):
    """A setting is unknown or has a bad value. The message is advice, line by line."""


def _cache_dir() -> Path:
    base = os.environ.get("XDG_CACHE_HOME")  # noqa: TID251 - this module is the environment's door
    return (Path(base) if base else Path.home() / ".cache") / "livekit-agent-worker"


def _runtime_dir() -> Path:
    """For what need not outlive a restart of the machine: in memory where the system has that."""
    base = os.environ.get("XDG_RUNTIME_DIR")  # noqa: TID251 - this module is the environment's door
    return (Path(base) / "livekit-agent-worker") if base else _cache_dir()


def _livekit_names(name: str) -> AliasChoices:
    """Under our prefix, as every other setting, and as LiveKit's own tools call it."""
    ours, theirs = f"{ENV_PREFIX}LIVEKIT_{name.upper()}", f"LIVEKIT_{name.upper()}"
    return AliasChoices(ours, f"livekit_{name}", theirs)


class Settings(BaseSettings):
    """Every setting of the worker.

    Raises:
        SettingsError: from `load_settings`, when a key is unknown or a value bad.
    """

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, frozen=True, extra="forbid")

    # -- the room ------------------------------------------------------------------------------
    livekit_url: str = Field(
        "ws://127.0.0.1:7880",
        validation_alias=_livekit_names("url"),
        description="The LiveKit server, ws:// or wss://.",
    )
    livekit_api_key: str = Field(
        "",
        validation_alias=_livekit_names("api_key"),
        description="API key of the LiveKit server.",
    )
    livekit_api_secret: SecretStr = Field(
        SecretStr(""),
        validation_alias=_livekit_names("api_secret"),
        description="API secret of the LiveKit server.",
    )
    agent_name: str = Field(
        "local-agent", min_length=1, description="Name under which LiveKit dispatches this agent."
    )
    max_sessions: int = Field(
        10,
        ge=1,
        le=1000,
        description="Calls at once; a full worker gets no further jobs. `bench rooms` says how "
        "many this machine holds.",
    )
    busy_at_cpu: float = Field(
        0.85,
        ge=0,
        le=1,
        description="Share of its cores from which the worker takes no further call; nor does it "
        "while finals or threads wait, or under 256 MB of free memory. 0 = only max_sessions "
        "counts.",
    )
    call_processes: Literal["auto"] | int = Field(
        "auto",
        description="Processes that the calls are spread over; auto = one for two cores, as far as "
        "memory allows. With more than one each Whisper model has a process of its own too.",
    )
    health_host: str = Field("127.0.0.1", description="Address of the health endpoint.")
    health_port: int = Field(
        8081, ge=0, le=65535, description="Port of the health endpoint; 0 = any."
    )
    metrics_port: int | None = Field(
        None,
        ge=1,
        le=65535,
        description="Port of the Prometheus endpoint, on health_host; unset = off.",
    )
    drain_timeout_s: float = Field(
        60.0, ge=0, description="Seconds that calls get to end after SIGTERM."
    )

    # -- what it tells -------------------------------------------------------------------------
    turn_log: Path | None = Field(
        None,
        description="File that gets one JSON object for each turn, its times and no word of it; "
        "kept under 40 MB with the older ones beside it.",
    )
    otel_endpoint: str | None = Field(
        None,
        validation_alias=AliasChoices(
            "otel_endpoint", f"{ENV_PREFIX}OTEL_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"
        ),
        description="OpenTelemetry collector for the turns' spans, OTLP over HTTP, such as "
        "http://127.0.0.1:4318; unset = none.",
    )

    # -- the conversation ----------------------------------------------------------------------
    greeting: str = Field(
        "Hello. How can I help you?", description="What the agent says first; empty = it waits."
    )
    instructions: str = Field(
        "You are a helpful voice assistant. Answer briefly, in plain spoken sentences.",
        description="System prompt for flows that use a model.",
    )
    language: str = Field(
        "en",
        pattern=r"^(auto|[a-z]{2,3}(-[A-Za-z0-9]+)*)$",
        description="Language of the call, such as en or zh; auto = detected, then locked.",
    )
    goodbye: str = Field(
        "I will hang up now. Goodbye.", description="Said before the agent leaves a silent call."
    )
    session_timeout_s: float = Field(
        300.0, gt=0, description="Seconds of silence on both sides after which the agent leaves."
    )
    return_within_s: float = Field(
        30.0,
        ge=0,
        description="Seconds for which a caller who left can come back to the same call. "
        "The server must keep their room for as long: departure_timeout in its configuration.",
    )

    # -- when something breaks -----------------------------------------------------------------
    call_agent_to: Literal["dispatched", "every_room", "off"] = Field(
        "dispatched",
        description="Rooms into which the agent is called again when a caller is alone there: "
        "those that had called it, every one, or none.",
    )
    calls_dir: Path | None = Field(
        default_factory=lambda: _runtime_dir() / "calls",
        description="Folder in which what is said is kept until the call ends, so that another "
        "agent can take over; empty = nowhere.",
    )
    first_word_timeout_s: float = Field(
        8.0,
        gt=0,
        le=120,
        description="Seconds without a word from the model after which an apology is said; before "
        "it, after at most 3.5 s, a filler. More for a model that is loaded when first asked.",
    )
    first_sample_timeout_s: float = Field(
        4.0,
        gt=0,
        le=60,
        description="Seconds from a phrase to its first sample after which a voice is left for the "
        "rest of the call.",
    )
    words_back: str | None = Field(
        None,
        description="Said by an agent that takes over after a fault; unset = in the call's "
        "language, empty = nothing. Likewise the others here.",
    )
    words_deaf: str | None = Field(None, description="Said when the agent hears nothing any more.")
    words_hears_again: str | None = Field(None, description="Said when it hears again.")
    words_stopping: str | None = Field(
        None, description="Said before the worker's end cuts a call off."
    )
    words_busy: str | None = Field(
        None, description="Shown to callers for whom there is no free agent."
    )

    # -- hearing -------------------------------------------------------------------------------
    stt: SttEngine = Field(
        "auto", description="auto: a faster-whisper model in the cache, else the bundled small one."
    )
    stt_model: str | None = Field(
        None, description="faster-whisper model name (base, small, large-v3-turbo, …) or a folder."
    )
    stt_device: Literal["auto", "cpu", "cuda"] = Field("auto", description="Where Whisper runs.")
    stt_compute_type: str = Field(
        "", description="CTranslate2 compute type; empty = int8 on a CPU, float16 on CUDA."
    )
    stt_cpu_threads: int = Field(
        0, ge=0, description="Threads for Whisper on a CPU; 0 = its default."
    )
    keyterms: tuple[str, ...] = Field((), description="Names and words that Whisper should expect.")

    stt_fallback: bool = Field(
        True, description="Hear with the bundled model while the chosen one fails."
    )

    # -- thinking ------------------------------------------------------------------------------
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

    # -- what it knows and can do; a flow server has settings of its own for it -----------------
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

    # -- speaking ------------------------------------------------------------------------------
    tts: TtsEngine = Field(
        "auto",
        description="auto: a Piper voice in the cache, else Kokoro if it is there, else espeak. "
        "MODULE:NAME is a voice engine of your own.",
    )
    tts_voice: str | None = Field(
        None,
        description="Piper voice name or .onnx file, Kokoro voice (af_heart), espeak voice (+f3 = "
        "the language's voice in that variant), or speech server voice.",
    )
    tts_speed: float = Field(1.0, ge=0.25, le=4.0, description="Speed; 1.0 = the voice's own.")
    tts_url: str | None = Field(
        None, description="OpenAI-compatible speech server for tts=speech-api."
    )
    kokoro_url: str | None = Field(
        None,
        description="Mirror of the release that tts=kokoro is fetched from; unset = GitHub, "
        "or model_hub where that is a mirror or a folder.",
    )
    tts_model: str | None = Field(
        None, description="Model name at the speech server, or XTTS folder."
    )
    tts_api_key: SecretStr = Field(SecretStr(""), description="Key for the speech server.")
    tts_sample_rate: int = Field(
        24000, ge=8000, le=48000, description="Hertz of the speech server."
    )
    tts_reference: Path | None = Field(
        None, description="Reference WAV (6 to 30 s) to clone, for XTTS, Higgs and speech-api."
    )
    tts_reference_text: str = Field(
        "", description="What is said in that WAV; Higgs needs it with it."
    )
    tts_scene: str = Field(
        "", description="Where and in what mood it is spoken, in words, for Higgs."
    )
    tts_speakers: dict[str, str] = Field(
        {},
        description="What speakers sound like, in words, by tag, for Higgs, as JSON: "
        '{"SPEAKER0": "a calm man of sixty"}. With one, it speaks everything.',
    )
    tts_ras_window: int | None = Field(
        None,
        ge=1,
        le=1000,
        description="Window of Higgs's repetition-aware sampling; unset = the server's own.",
    )
    xtts_accept_license: bool = Field(
        False,
        description="You have read and accept the Coqui Public Model License (non-commercial).",
    )
    tts_fallback: bool = Field(
        True, description="Speak with espeak-ng while the chosen voice fails."
    )
    spell_numbers: bool = Field(
        False, description="Write numbers out for a voice that can't read them."
    )
    min_sentence_length: int = Field(
        20, ge=1, le=200, description="Characters under which a sentence joins the next one."
    )
    sentences_ahead: int = Field(
        3, ge=1, le=10, description="Sentences synthesised ahead of the playout at most."
    )

    # -- turns ---------------------------------------------------------------------------------
    turns: Literal["auto", "half_duplex", "push_to_talk"] = Field(
        "auto",
        description="auto: who speaks is decided from words and sound; half_duplex: the agent does "
        "not listen while it speaks; push_to_talk: over RPC start_turn, end_turn, cancel_turn.",
    )
    vad_min_silence_s: float = Field(
        0.1, ge=0.05, le=2.0, description="Seconds of silence that end an utterance."
    )
    min_endpointing_s: float = Field(
        0.15,
        ge=0,
        le=5.0,
        description="Seconds to wait after the end of speech when it looks complete.",
    )
    max_endpointing_s: float = Field(
        1.2, ge=0, le=10.0, description="Seconds to wait after the end of speech when it does not."
    )
    end_of_turn_model: Literal["off", "v1-mini"] = Field(
        "off",
        description="v1-mini: LiveKit's local model also hears in each pause whether the turn is "
        "over, where the words leave doubt; about 290 MB.",
    )
    interruption_min_s: float = Field(
        0.15, ge=0, le=5.0, description="Seconds of voice without a known word that hold the agent."
    )
    aec_warmup_s: float = Field(
        0.0, ge=0, le=10.0, description="Seconds at a call's start in which nothing interrupts."
    )

    # -- callers' choices ----------------------------------------------------------------------
    caller_may_choose: tuple[ChoiceKind, ...] = Field(
        ("flow", "character", "voice", "language", "economy"),
        description="What callers may choose for their call, by the page or the dispatch's "
        "metadata; [] = nothing.",
    )

    # -- the page ------------------------------------------------------------------------------
    web_host: str = Field("127.0.0.1", description="Address that the page is served on.")
    web_port: int = Field(8088, ge=0, le=65535, description="Port of the page; 0 = any free one.")
    web_token: SecretStr = Field(
        SecretStr(""), description="Bearer token that the page's callers must show; empty = none."
    )
    web_livekit_url: str | None = Field(
        None, description="The LiveKit server as browsers reach it; unset = livekit_url."
    )
    allowed_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="Other origins whose pages may ask for tokens and use the WebSocket, such as "
        "http://localhost:3000, tauri://localhost or capacitor://localhost; in the environment "
        "separated by commas.",
    )

    # -- files ---------------------------------------------------------------------------------
    cache_dir: Path = Field(
        default_factory=_cache_dir, description="Where the LiveKit server and voices are kept."
    )
    model_hub: str = Field(
        DEFAULT_HUB,
        validation_alias=AliasChoices("model_hub", f"{ENV_PREFIX}MODEL_HUB", "HF_ENDPOINT"),
        description="Where models are fetched from: the hub, a mirror of it, or a folder with "
        "them as OWNER/NAME/FILE.",
    )

    @field_validator(
        "metrics_port",
        "turn_log",
        "otel_endpoint",
        "web_livekit_url",
        "stt_model",
        "llm_url",
        "llm_model",
        "llm_gguf",
        "llm_kind",
        "llm_price_prompt",
        "llm_price_cached",
        "llm_price_completion",
        "flow_url",
        "persona_profiles",
        "persona_character",
        "memory_days",
        "documents",
        "documents_index_key",
        "weather_url",
        "stock_url",
        "search_url",
        "business_database",
        "tts_voice",
        "tts_url",
        "tts_model",
        "tts_reference",
        "tts_ras_window",
        "calls_dir",
        mode="before",
    )
    @classmethod
    def _empty_is_unset(cls, value: object) -> object:
        # compose files hand over unset variables as empty strings
        return None if value == "" else value

    @field_validator("allowed_origins", mode="before")
    @classmethod
    def _origins(cls, value: object) -> object:
        if isinstance(value, str):
            try:
                parts = json.loads(value) if value.lstrip().startswith("[") else value.split(",")
            except ValueError:
                raise ValueError("must be origins separated by commas, or a JSON list") from None
            value = [str(part).strip() for part in parts]
        if not isinstance(value, list | tuple):
            return value
        origins = [str(origin).rstrip("/") for origin in value if origin != ""]
        for origin in origins:
            # A WebSocket has no other guard against pages that ask with their visitors' rights.
            if not _ORIGIN.fullmatch(origin):
                raise ValueError(
                    f"{origin!r} is no origin; write scheme://host or scheme://host:port, each "
                    "one that is meant"
                )
        return origins

    @field_validator("tts", mode="wrap")
    @classmethod
    def _own_voice_engine(cls, value: object, known: ValidatorFunctionWrapHandler) -> Any:
        own = isinstance(value, str) and OWN_VOICE_ENGINE.fullmatch(value)
        # the type stays closed for whoever reads it: nothing else is to ask which engine it is
        return value if own else known(value)

    @field_validator("call_processes")
    @classmethod
    def _some_processes(cls, value: str | int) -> str | int:
        if isinstance(value, int) and not 1 <= value <= 256:
            raise ValueError("must be auto, or 1 to 256")
        return value

    @field_validator("livekit_url", "web_livekit_url")
    @classmethod
    def _websocket_url(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("ws://", "wss://", "http://", "https://")):
            raise ValueError("must start with ws:// or wss://")
        return value

    @field_validator("weather_url", "stock_url", "search_url")
    @classmethod
    def _has_a_place_for_the_question(cls, value: str | None) -> str | None:
        if value is not None and "{query}" not in value:
            raise ValueError("needs {query} where the question goes")
        return value

    @field_validator("llm_url", "flow_url", "tts_url", "otel_endpoint")
    @classmethod
    def _http_url(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("http://", "https://")):
            raise ValueError("must start with http:// or https://")
        return value

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, _TomlSource(settings_cls)

    @property
    def spoken_language(self) -> str:
        """The language that the agent speaks: English where the caller's is detected."""
        return "en" if self.language == "auto" else self.language

    def embeddings_dir(self) -> Path:
        """Folder of downloaded embedding models."""
        return self.cache_dir / "embeddings"

    def own_fault_words(self) -> dict[str, str]:
        """The words for when something breaks that are set, by their names without the prefix."""
        return {
            name.removeprefix("words_"): getattr(self, name)
            for name in Settings.model_fields
            if name.startswith("words_") and getattr(self, name) is not None
        }

    def voices_dir(self) -> Path:
        """Folder of downloaded Piper voices."""
        return self.cache_dir / "voices"

    def kokoro_dir(self) -> Path:
        """Folder of Kokoro's model and voices."""
        return self.voices_dir() / "kokoro"


class _TomlSource(InitSettingsSource):
    """The TOML file, if there is one. Its keys are the field names; tables are not used."""

    def __init__(self, settings_cls: type[BaseSettings]) -> None:
        path = _config_file()
        values = _read_toml(path)
        if hint := tables_hint(values, Settings.model_fields):
            raise SettingsError(f"{path}: {hint}")
        super().__init__(settings_cls, values)


def _config_file() -> Path | None:
    named = os.environ.get(CONFIG_FILE_VARIABLE)  # noqa: TID251
    if named:
        return Path(named)
    return DEFAULT_CONFIG_FILE if DEFAULT_CONFIG_FILE.is_file() else None


def _read_toml(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SettingsError(f"{path}: no such file (named by {CONFIG_FILE_VARIABLE})") from None
    except (OSError, UnicodeDecodeError) as e:
        raise SettingsError(f"{path}: can't be read: {e}") from e
    except tomllib.TOMLDecodeError as e:
        raise SettingsError(f"{path}: not valid TOML: {e}") from e


def load_settings(**overrides: Any) -> Settings:
    """Reads the settings once.

    Args:
        overrides: values from the command line; they win over everything else.

    Raises:
        SettingsError: one clear line for each key that is unknown or whose value is bad.
    """
    lines = [
        _unknown(name, name.removeprefix(ENV_PREFIX).lower())
        for name in sorted(os.environ)  # noqa: TID251
        if name.startswith(ENV_PREFIX)
        and name != CONFIG_FILE_VARIABLE
        and name.removeprefix(ENV_PREFIX).lower() not in Settings.model_fields
    ]
    if lines:
        raise SettingsError("\n".join(lines))
    try:
        return Settings(**overrides)
    except ValidationError as e:
        # a setting that takes one of several kinds fails once for each of them
        found = {_field_of(error["loc"]): error for error in reversed(e.errors())}
        lines = [_line(name, error, name in overrides) for name, error in found.items()]
        raise SettingsError("\n".join(sorted(lines))) from None
    except UnreadableError as e:
        name = next((n for n in Settings.model_fields if f'"{n}"' in str(e)), "settings")
        example = _JSON_EXAMPLES.get(name, '["one", "two"]')
        said = f"{name}: must be JSON in the environment, such as {example}"
        raise SettingsError(f"{said} (from {_variable_of(name)})") from None


_JSON_EXAMPLES = {
    "tts_speakers": '{"SPEAKER0": "a calm man of sixty"}',
    "mcp_servers": '[{"name": "files", "command": ["program", "argument"]}]',
    "caller_may_choose": '["voice", "language"]',
}


def _field_of(location: tuple[int | str, ...]) -> str:
    """The setting's own name, whichever of its names was used."""
    key = str(location[0]) if location else "settings"
    name = key.lower().removeprefix(ENV_PREFIX.lower())
    return name if name in Settings.model_fields else key


def _line(name: str, error: Any, given: bool) -> str:
    field = Settings.model_fields.get(name)
    if field is None:
        return _unknown(name, name)
    got = error["input"]
    # A secret's value must not come back in an error; tables hold keys now and then.
    secret = field.annotation is SecretStr or isinstance(got, dict)
    told = [] if secret else [f"got {without_password(repr(got))}"]
    source = "" if given else _source(name)
    if source not in ("", DEFAULT):
        told.append(f"from {source}")
    about = f" ({', '.join(told)})" if told else ""
    return f"{name}: {what_is_wrong(name, field, error)}{about}"


def _unknown(shown: str, key: str) -> str:
    close = difflib.get_close_matches(key, Settings.model_fields, n=1)
    hint = f"; did you mean {close[0]}?" if close else "; `agent-worker settings` lists them all"
    return f"{shown}: unknown setting{hint}"


DEFAULT = "default"


@dataclasses.dataclass(frozen=True)
class Explained:
    """One setting, for people."""

    name: str
    value: str
    """As it would stand in a file; secrets are hidden."""
    source: str
    """Where it comes from: a variable of the environment, the file's name, or "default"."""
    allowed: str
    description: str


def explain_settings(settings: Settings) -> list[Explained]:
    """Every setting with its value, where that comes from, and what it may be."""
    return [
        Explained(
            name,
            shown(getattr(settings, name)),
            _source(name),
            allowed(name, field),
            field.description or "",
        )
        for name, field in Settings.model_fields.items()
    ]


def _source(name: str) -> str:
    if variable := _variable_of(name):
        return variable
    path = _config_file()
    return str(path) if path is not None and name in _read_toml(path) else DEFAULT


def _variable_of(name: str) -> str:
    """The environment variable that a setting is taken from; empty where none is set."""
    alias = Settings.model_fields[name].validation_alias if name in Settings.model_fields else None
    names = [f"{ENV_PREFIX}{name}"]
    if isinstance(alias, AliasChoices):
        names = [str(choice) for choice in alias.choices]
    by_name = {variable.upper(): variable for variable in os.environ}  # noqa: TID251
    return next((by_name[n.upper()] for n in names if n.upper() in by_name), "")


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True, validated_data={})
    if isinstance(value, SecretStr):
        return ""
    return "" if value is None else str(value)


def export_environment(settings: Settings, *, inherit: bool = False) -> dict[str, str]:
    """The settings as environment variables, for a worker that runs in a process of its own.

    Args:
        inherit: lay them over this process's environment.
    """
    out = dict(os.environ) if inherit else {}  # noqa: TID251
    for name in Settings.model_fields:
        value = getattr(settings, name)
        if value is None:
            if not _default(Settings.model_fields[name]):
                continue
            value = ""
        if isinstance(value, SecretStr):
            value = value.get_secret_value()
        if isinstance(value, bool):
            value = str(value).lower()
        if isinstance(value, dict):
            value = json.dumps(value)
        if isinstance(value, tuple):
            value = json.dumps(
                [item.model_dump() if isinstance(item, BaseModel) else item for item in value]
            )
        text = str(value)
        out[ENV_PREFIX + name.upper()] = text
        if name.startswith("livekit_"):
            # for LiveKit's own code; what this process inherited must not win over either
            out[name.upper()] = text
    return out


def proxy_for(url: str) -> str | None:
    """The proxy that the environment names for an address, if it does not except its host."""
    parts = urlsplit(url)
    proxies = getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if not proxy or not parts.hostname or proxy_bypass(parts.hostname):
        return None
    return proxy


def default_environment(**variables: str) -> None:
    """Sets variables that a library reads from the environment, unless the user has set them."""
    for name, value in variables.items():
        os.environ.setdefault(name, value)  # noqa: TID251
