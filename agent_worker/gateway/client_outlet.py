"""What a call tells beside sound and words, on its way to whichever connection its client is at."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from .protocol import Send


class ClientOutlet:
    """The gateway's side of `agent_worker.call.observer.Outlet`: the same as a room's clients get.

    What is told while nobody is connected is lost, as a room's messages are; attributes are kept,
    and told to whoever connects.
    """

    def __init__(self) -> None:
        self._post: Callable[[Send], None] | None = None
        self._attributes: dict[str, str] = {}

    def follow(self, post: Callable[[Send], None]) -> None:
        """Where messages go from now on."""
        self._post = post

    async def send(self, topic: str, text: str) -> None:
        """Sends a record or who speaks; other topics are for rooms."""
        if self._post is None:
            return
        fields: dict[str, Any] = json.loads(text)
        match topic:
            case "agent.latency":
                self._post(Send({"type": "latency", "record": fields}))
            case "agent.speaker":
                self._post(Send({"type": "speaker", **fields}))

    async def set_attributes(self, attributes: Mapping[str, str]) -> None:
        """Keeps a state, and sends it."""
        self._attributes |= attributes
        if self._post is not None:
            self._post(_message(attributes))

    def state(self) -> list[Send]:
        """All that is known, for a client that has just connected."""
        return [_message(self._attributes)] if self._attributes else []


def _message(attributes: Mapping[str, str]) -> Send:
    return Send({"type": "attributes", "attributes": dict(attributes)})
