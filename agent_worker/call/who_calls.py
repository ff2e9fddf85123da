"""Who calls, as far as that is known: the id under which a caller is remembered across calls.

Nobody is remembered unless the setting `caller_id` says by what. Only what the caller can't choose
is believed: an identity that a token gives, an attribute of that token, a number that a phone's
trunk tells.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Protocol

from livekit import rtc

IDENTITY = "identity"
SESSION_START = "session_start"
"""What a WebSocket client says of its caller; for clients that are the operator's own."""

MAX_CALLER_ID = 256
_MADE_UP = re.compile(r"caller-[0-9a-f]{12}")
"""The identity of a token that was asked for without one; see `web.tokens`."""
_WITHHELD = frozenset(
    {"", "anonymous", "unknown", "unavailable", "restricted", "private", "withheld"}
)
"""What a trunk tells in place of a number that is not shown."""


class Participant(Protocol):
    """What tells who calls: a participant of a LiveKit room."""

    @property
    def identity(self) -> str: ...
    @property
    def kind(self) -> int: ...
    @property
    def attributes(self) -> Mapping[str, str]: ...


def sources(setting: str) -> tuple[str, ...]:
    """The setting `caller_id` as names, the first one first."""
    return tuple(name.strip() for name in setting.split(",") if name.strip())


def caller_of(participant: Participant, setting: str) -> str | None:
    """The id of a caller in a room, or None for one who stays unknown.

    Args:
        participant: the caller.
        setting: names of attributes, or "identity", separated by commas; the first that is there
            counts.
    """
    by_phone = participant.kind == rtc.ParticipantKind.PARTICIPANT_KIND_SIP
    for name in sources(setting):
        if name == SESSION_START:
            continue
        if name == IDENTITY:
            found = participant.identity
            if _MADE_UP.fullmatch(found):
                continue
        elif name.startswith("sip.") and not by_phone:
            # these are the SIP service's to set, and worth nothing from anybody else
            continue
        else:
            found = participant.attributes.get(name, "")
        found = found.strip()
        bare = found.lower().removeprefix("sip_") if by_phone else found
        if bare not in _WITHHELD and len(found) <= MAX_CALLER_ID:
            return found
    return None


def told_by_client(said: str | None, setting: str) -> str | None:
    """The id of a caller as a WebSocket client says it, where the setting lets it be believed."""
    return said if SESSION_START in sources(setting) else None


class WhoCalls:
    """Tells who calls at the moment: in a room, the caller may come back under another name.

    Args:
        setting: `caller_id`.
        known: who calls where there is no room; None = nobody knows.
    """

    def __init__(self, setting: str, known: str | None = None) -> None:
        self._setting = setting
        self._known = known
        self._participant: Callable[[], Participant | None] = lambda: None

    def follow(self, participant: Callable[[], Participant | None]) -> None:
        """From now on, whoever `participant` gives is the caller."""
        self._participant = participant

    def __call__(self) -> str | None:
        """The caller's id, or None."""
        participant = self._participant() if sources(self._setting) else None
        return self._known if participant is None else caller_of(participant, self._setting)
