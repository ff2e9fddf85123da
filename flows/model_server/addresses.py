"""Which model servers are on one's own network, so that no proxy is asked for them."""

import ipaddress
from urllib.parse import urlsplit

_OWN_ENDINGS = (".local", ".lan", ".internal", ".home", ".home.arpa", ".localdomain", ".localhost")


def is_loopback(url: str) -> bool:
    """Whether `url` is on this machine."""
    return is_loopback_host(urlsplit(url).hostname or "")


def is_loopback_host(host: str) -> bool:
    """Whether a host, by its name or address, is this machine as it alone can reach it."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_own_network(url: str) -> bool:
    """Whether `url` is on this machine or its network.

    Private and link-local addresses, those of carrier-grade NAT (VPNs such as Tailscale use
    them), names without a dot (a container's, a neighbour's), and the endings of local networks.
    """
    host = (urlsplit(url).hostname or "").rstrip(".").lower()
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return "." not in host or host.endswith(_OWN_ENDINGS)
    # Not global is wider than private: it has 100.64.0.0/10 too.
    return not address.is_global
