"""Who may ask: the checks before a request is read. Decisions only, no I/O."""

from __future__ import annotations

import hmac
import ipaddress
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from .exposure import is_loopback

_USER = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_.:@+-]{0,63}$")


class AccessDeniedError(Exception):
    """A request by someone who may not ask; `status` is the HTTP status to answer with."""

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = dict(headers or {})


@dataclass(frozen=True, kw_only=True)
class Access:
    """The rules of the door.

    Attributes:
        bearer_token: when set, requests must carry `Authorization: Bearer <it>`.
        user_header: when set, the name of the header in which a proxy that signs people in puts
            the user, such as `X-Forwarded-User`. It is believed only from `trusted_proxies`.
        trusted_proxies: networks of the proxy, as `10.0.0.0/8`.
        allowed_hosts: names by which the server may be called. Empty: on loopback the loopback
            names, elsewhere any. It keeps a web site whose name is pointed at 127.0.0.1 out.
        allowed_origins: other sites whose pages may use the API, as `https://app.example.org`.
    """

    bearer_token: str | None = field(default=None, repr=False)
    user_header: str | None = None
    trusted_proxies: tuple[str, ...] = ("127.0.0.0/8", "::1/128")
    allowed_hosts: tuple[str, ...] = ()
    allowed_origins: tuple[str, ...] = ()

    @property
    def required(self) -> str | None:
        """What a caller must show: "bearer", "proxy", or nothing."""
        if self.bearer_token is not None:
            return "bearer"
        return "proxy" if self.user_header else None

    def check_host(self, host_header: str | None, *, listens_on: str) -> None:
        """Refuses calls by a name that isn't the server's own.

        Args:
            host_header: the name it was called by.
            listens_on: the address that the server listens on.

        Raises:
            AccessDeniedError: 421.
        """
        try:
            name = urlsplit(f"//{host_header or ''}").hostname or ""
        except ValueError:
            name = ""
        if self.allowed_hosts:
            known = name in self.allowed_hosts
        else:
            known = is_loopback(name) or not is_loopback(listens_on)
        if not known:
            raise AccessDeniedError(421, "this server does not go by that name")

    def check_origin(self, origin: str | None, host_header: str | None) -> None:
        """Keeps other sites' pages out of the WebSocket, which browsers don't do by themselves.

        Raises:
            AccessDeniedError: 403 for a page of another site. Clients that are no browsers send
                no origin and pass.
        """
        if origin is None or origin in self.allowed_origins:
            return
        try:
            # A page without an origin of its own says "null", which has no name.
            same = bool(host_header) and urlsplit(origin).netloc == host_header
        except ValueError:
            same = False
        if not same:
            raise AccessDeniedError(
                403,
                f"pages of {origin[:100]!r} may not connect here; the setting allowed_origins "
                "says which may",
            )

    def user(self, headers: Mapping[str, str], peer: str | None) -> str | None:
        """Who asks, once let in: the signed-in user, or None where nobody signs in.

        Args:
            headers: the request's, by lower-case name.
            peer: the address at the other end of the connection.

        Raises:
            AccessDeniedError: 401 for a missing or wrong key or user.
        """
        if self.bearer_token is not None:
            self._check_bearer(headers.get("authorization", ""))
        if not self.user_header:
            return None
        user = headers.get(self.user_header.lower(), "")
        if not self._is_proxy(peer) or not _USER.match(user):
            raise AccessDeniedError(401, "sign in first")
        return user

    def _check_bearer(self, given: str) -> None:
        scheme, _, token = given.partition(" ")
        expected = (self.bearer_token or "").encode()
        matches = hmac.compare_digest(token.strip().encode(errors="replace"), expected)
        if scheme.lower() != "bearer" or not matches:
            raise AccessDeniedError(
                401, "the access key is missing or wrong", {"WWW-Authenticate": "Bearer"}
            )

    def _is_proxy(self, peer: str | None) -> bool:
        try:
            address = ipaddress.ip_address(peer or "")
        except ValueError:
            return False
        return any(address in ipaddress.ip_network(network) for network in self.trusted_proxies)


class RateLimit:
    """A token bucket for each caller; forgets the callers that were quiet longest.

    Args:
        burst: requests in one go.
        per_minute: requests in the long run.
        callers: how many callers are remembered.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        *,
        burst: int = 10,
        per_minute: float = 30.0,
        callers: int = 4096,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._burst = burst
        self._per_second = per_minute / 60.0
        self._callers = callers
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait_s(self, caller: str) -> float:
        """Takes one request from the caller's bucket: 0.0, or the seconds until it has one."""
        now = self._clock()
        left, then = self._buckets.pop(caller, (float(self._burst), now))
        left = min(float(self._burst), left + (now - then) * self._per_second)
        allowed = left >= 1.0
        self._buckets[caller] = (left - 1.0 if allowed else left, now)
        while len(self._buckets) > self._callers:
            self._buckets.popitem(last=False)
        return 0.0 if allowed else (1.0 - left) / self._per_second
