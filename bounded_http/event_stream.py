"""Reads server-sent events.

Source: the event stream format of the HTML standard, section 9.2.6,
https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

import re
from dataclasses import dataclass

# Only these end a line: U+2028, at which Python splits too, may stand in JSON. A CR at the end may
# be the first half of a CRLF.
_LINE_END = re.compile(rb"\r?\n|\r(?=.)", re.DOTALL)


class EventTooLongError(ValueError):
    """An event is longer than any that was to be expected; its server may never end it."""


@dataclass(frozen=True)
class Event:
    """One event with data; a ping has none, and is none."""

    name: str
    """Empty where the server gives none."""
    data: str
    """Its lines."""


class EventReader:
    """Puts bytes together to events; they may be cut anywhere, also within a character.

    Args:
        most_bytes: How long one event may be.
    """

    def __init__(self, *, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._buffer = bytearray()
        self._searched = 0
        """Where in it no line ends."""
        self._name = ""
        self._data: list[str] = []
        self._size = 0
        """Bytes of the data."""

    def feed(self, data: bytes) -> list[Event]:
        """Takes the next bytes; returns the events that end in them.

        Raises:
            EventTooLongError: One has become too long.
        """
        self._buffer += data
        events = []
        while (end := _LINE_END.search(self._buffer, self._searched)) is not None:
            line = bytes(self._buffer[: end.start()])
            del self._buffer[: end.end()]
            self._searched = 0
            if (event := self._take(line)) is not None:
                events.append(event)
        self._searched = max(0, len(self._buffer) - 1)
        if self._size + len(self._buffer) > self._most_bytes:
            raise EventTooLongError(f"an event is longer than {self._most_bytes} bytes")
        return events

    def finish(self) -> list[Event]:
        """The last event, of a server that ended without an empty line.

        The standard has it thrown away; whoever knows that it is whole asks for it.
        """
        events = self.feed(b"\n") if self._buffer else []
        return [*events, *([last] if (last := self._take(b"")) is not None else [])]

    def _take(self, line: bytes) -> Event | None:
        if line:  # a comment is a field without a name
            name, _, value = line.partition(b":")
            if name == b"data":
                self._size += len(value)
                self._data.append(value.removeprefix(b" ").decode("utf-8", "replace"))
            elif name == b"event":
                self._name = value.decode("utf-8", "replace").strip()
            return None
        event = Event(self._name, "\n".join(self._data)) if self._data else None
        self._name, self._data, self._size = "", [], 0
        return event
