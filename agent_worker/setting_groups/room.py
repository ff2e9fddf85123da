"""The LiveKit server, how many calls the worker takes there, and whom it tells of them."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import AliasChoices, BaseModel, Field, SecretStr, field_validator

from .checks import ENV_PREFIX, empty_is_unset, http_url, livekit_names, websocket_url


class RoomSettings(BaseModel):
    """Where calls come from, how many, and who is told."""

    # -- the room ----------------------------------------------------------------------------
    livekit_url: str = Field(
        "ws://127.0.0.1:7880",
        validation_alias=livekit_names("url"),
        description="The LiveKit server, ws:// or wss://.",
    )
    livekit_api_key: str = Field(
        "",
        validation_alias=livekit_names("api_key"),
        description="API key of the LiveKit server.",
    )
    livekit_api_secret: SecretStr = Field(
        SecretStr(""),
        validation_alias=livekit_names("api_secret"),
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

    # -- what it tells -----------------------------------------------------------------------
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

    _room_unset = field_validator(
        "metrics_port",
        "turn_log",
        "otel_endpoint",
        mode="before",
    )(empty_is_unset)
    _room_websocket_url = field_validator("livekit_url")(websocket_url)
    _room_http_url = field_validator("otel_endpoint")(http_url)

    @field_validator("call_processes")
    @classmethod
    def _some_processes(cls, value: str | int) -> str | int:
        if isinstance(value, int) and not 1 <= value <= 256:
            raise ValueError("must be auto, or 1 to 256")
        return value
