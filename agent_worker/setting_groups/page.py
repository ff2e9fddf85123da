"""The page that browsers open, and whose other pages may ask it for tokens."""

from __future__ import annotations

import json
import re
from typing import Annotated

from pydantic import BaseModel, Field, SecretStr, field_validator
from pydantic_settings import NoDecode

from .checks import empty_is_unset, websocket_url

_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://(\[[0-9a-f:]+\]|[a-z0-9._-]+)(:\d{1,5})?")
"""As browsers send it: lower case, without a path."""


class PageSettings(BaseModel):
    """Where the page is served, and to whom."""

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

    _page_unset = field_validator("web_livekit_url", mode="before")(empty_is_unset)
    _page_websocket_url = field_validator("web_livekit_url")(websocket_url)

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
