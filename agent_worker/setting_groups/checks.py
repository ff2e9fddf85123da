"""What settings of several groups have in common: their variables' names, and their checks."""

from __future__ import annotations

from pydantic import AliasChoices

ENV_PREFIX = "AGENT_WORKER_"


def livekit_names(name: str) -> AliasChoices:
    """Under our prefix, as every other setting, and as LiveKit's own tools call it."""
    ours, theirs = f"{ENV_PREFIX}LIVEKIT_{name.upper()}", f"LIVEKIT_{name.upper()}"
    return AliasChoices(ours, f"livekit_{name}", theirs)


def empty_is_unset(value: object) -> object:
    """None for an empty text: compose files hand over unset variables so."""
    return None if value == "" else value


def websocket_url(value: str | None) -> str | None:
    """Refuses what is no LiveKit server's address."""
    if value is not None and not value.startswith(("ws://", "wss://", "http://", "https://")):
        raise ValueError("must start with ws:// or wss://")
    return value


def http_url(value: str | None) -> str | None:
    """Refuses what is no HTTP server's address."""
    if value is not None and not value.startswith(("http://", "https://")):
        raise ValueError("must start with http:// or https://")
    return value
