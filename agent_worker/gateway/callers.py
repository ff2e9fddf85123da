"""Which caller a connection is from, for one who comes back without its session's id."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from typing import Protocol, TypeVar
from urllib.parse import urlsplit

COOKIE = "s2s_caller"
_VALUE = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class Caller:
    """Who is at a connection.

    Attributes:
        key: the same when this caller comes back, and no other caller's; None = can't be told.
        set_cookie: the header with which a browser is given its key; None for no need.
    """

    key: tuple[str, ...] | None = None
    set_cookie: str | None = None


def caller_of(
    headers: Mapping[str, str], *, user: str | None, peer: str | None, secure: bool
) -> Caller:
    """Tells callers apart: a signed-in user by name, a browser by a cookie of ours, and another
    client by the key that it shows and the address that it has.

    Args:
        headers: of the connection's request, by lower-case name.
        user: who signed in at the proxy, if anybody did.
        peer: the address at the other end.
        secure: the connection is encrypted.
    """
    if user is not None:
        return Caller(("user", user))
    origin = headers.get("origin")
    if origin is not None:
        kept = _cookie(headers.get("cookie", ""))
        if kept is not None:
            return Caller(("browser", kept))
        fresh = secrets.token_hex(16)
        # A browser brings a strict cookie back to its own site only, whatever the port.
        elsewhere = _name(f"//{headers.get('host', '')}") != _name(origin)
        rule = "SameSite=None; Secure" if elsewhere and secure else "SameSite=Strict"
        rule += "; Secure" if secure and not elsewhere else ""
        header = f"{COOKIE}={fresh}; Path=/ws/s2s; HttpOnly; {rule}"
        return Caller(("browser", fresh), header)
    # Behind a proxy, everybody has the same address.
    if peer is None or "x-forwarded-for" in headers or "forwarded" in headers:
        return Caller()
    return Caller(("client", headers.get("authorization", ""), peer))


def _cookie(header: str) -> str | None:
    try:
        kept = SimpleCookie(header).get(COOKIE)
    except CookieError:
        return None
    return kept.value if kept is not None and _VALUE.fullmatch(kept.value) else None


def _name(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None


class Lost(Protocol):
    """A session, as far as it matters for who takes it up again."""

    @property
    def caller(self) -> Caller: ...

    @property
    def last_seq(self) -> int: ...

    @property
    def waiting(self) -> bool:
        """Whether its connection is known to be gone."""


_Session = TypeVar("_Session", bound=Lost)


def lost_by(caller: Caller, sessions: Iterable[_Session], last_seq: int) -> _Session | None:
    """The session that this caller lost: the one whose voice had come nearest beyond `last_seq`.
    None where there is none, or where it could be either of two."""
    if caller.key is None:
        return None
    own = [s for s in sessions if s.caller.key == caller.key and s.last_seq >= last_seq]
    candidates = sorted([s for s in own if s.waiting] or own, key=lambda session: session.last_seq)
    if len(candidates) > 1 and candidates[0].last_seq == candidates[1].last_seq:
        return None
    return candidates[0] if candidates else None
