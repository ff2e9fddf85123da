"""Whom a server would let in by where it listens, and with which keys it may do so."""

from __future__ import annotations

import ipaddress

DEVELOPMENT_KEYS = frozenset({"devkey"})
"""API keys which are printed in documentation, and so are known to everyone."""

MIN_SECRET_LENGTH = 32
"""Characters; LiveKit's server warns below it too."""


class InsecureConfigurationError(ValueError):
    """The endpoint would hand out tokens which anyone could forge, to anyone who asks."""


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server that listens on `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def check_exposure(host: str, api_key: str, api_secret: str) -> None:
    """Refuses to serve the network with keys that everyone knows or can guess.

    Raises:
        InsecureConfigurationError: with what to do about it.
    """
    if is_loopback(host):
        return
    if api_key in DEVELOPMENT_KEYS or len(api_secret) < MIN_SECRET_LENGTH:
        raise InsecureConfigurationError(
            f"refusing to listen on {host} with development keys: anyone could forge a token. "
            "Make a pair with `livekit-server generate-keys` (the secret needs at least "
            f"{MIN_SECRET_LENGTH} characters), or listen on 127.0.0.1"
        )
