"""One answer in the making: what the graph's messages say, in order, filtered, as events.

Nothing in here waits.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from .events import (
    ClientCall,
    Excuse,
    Filler,
    Pause,
    Question,
    Speaker,
    Speech,
    ToolEnded,
    ToolStarted,
    VoiceEvent,
)
from .think_filter import ThinkFilter


@dataclass
class _Source:
    """One AI message of the graph while it streams."""

    filter: ThinkFilter
    waiting: list[str] = field(default_factory=list)
    """Text that came while another message was being spoken."""
    ended: Callable[[ThinkFilter, bool], None] | None = None
    """Set when it is complete; told the filter, and whether the message said something."""
    spoke: bool = False


class Composer:
    """Collects one answer.

    Messages that stream at the same time (parallel branches) are spoken one after the other, each
    as a paragraph of its own.

    Args:
        tell: Takes the events.
        starts_thinking: See `ThinkFilter`.
    """

    def __init__(
        self, tell: Callable[[VoiceEvent], None], *, starts_thinking: bool = False
    ) -> None:
        self.opener_was_missing: bool | None = None
        """What the filters saw; None while no message has ended."""
        self.length = 0
        """Characters of the answer so far, its questions included."""
        self.handed_over = False
        """A call was left to the client, which makes the next turn."""
        self.calls_under_way: set[str] = set()
        self._tell = tell
        self._starts_thinking = starts_thinking
        self._sources: dict[str, _Source] = {}
        self._current: str | None = None
        self._ends_in_space = True
        self._new_paragraph = False
        self._paused_at = 0

    # --- what is said ---

    def token(self, source: str, text: str, tools: Collection[str] = ()) -> None:
        """A piece of the AI message `source`, whose model was offered `tools`."""
        entry = self._sources.get(source)
        if entry is None:
            the_filter = ThinkFilter(starts_thinking=self._starts_thinking, tools=tools)
            entry = self._sources[source] = _Source(the_filter)
            if self._current is None:
                self._become_current(source)
        if self._current != source:
            entry.waiting.append(text)
        elif said := entry.filter.push(text):
            entry.spoke = True
            self._say(said)

    def end_of(
        self, source: str, ended: Callable[[ThinkFilter, bool], None] = lambda *_: None
    ) -> None:
        """The AI message `source` is complete.

        Args:
            source: As in `token`.
            ended: Told, once all of the message was said, its filter and whether it said anything.
        """
        entry = self._sources.get(source)
        if entry is None:
            return
        entry.ended = entry.ended or ended
        while self._current is not None and (entry := self._sources[self._current]).ended:
            del self._sources[self._current]
            if said := entry.filter.finish():
                entry.spoke = True
                self._say(said)
            self.opener_was_missing = entry.filter.opener_was_missing
            self._current = None
            entry.ended(entry.filter, entry.spoke)
            if self._sources:
                self._become_current(next(iter(self._sources)))

    def _become_current(self, source: str) -> None:
        self._current = source
        self._new_paragraph = self.length > 0
        entry = self._sources[source]
        for text in entry.waiting:
            if said := entry.filter.push(text):
                entry.spoke = True
                self._say(said)
        entry.waiting.clear()

    def end_all(self) -> None:
        """Every message is complete."""
        for source in list(self._sources):
            self.end_of(source)

    def speak(self, text: str) -> None:
        """Text that a graph gave to be spoken as it stands; may come in pieces."""
        if text:
            self._say(text)

    def speaker(self, event: Mapping[str, Any]) -> None:
        """Says who speaks from here on: `name`, `tag` and `voice`, as far as they are strings."""
        known = (event.get(key) for key in ("name", "tag", "voice"))
        self._tell(Speaker(*(value if isinstance(value, str) else None for value in known)))

    def ask(self, question: Question) -> None:
        """A question that the graph stopped for."""
        self.end_all()
        self.length += len(question.text)
        self._ends_in_space = False
        self._tell(question)

    def pause(self) -> None:
        """Nothing more comes for a while: what was said must be spoken now."""
        if self.length > self._paused_at:
            self._paused_at = self.length
            self._tell(Pause())

    def aside(self, text: str) -> None:
        """Says something that is heard but is no part of the answer."""
        if text.strip():
            self.end_all()
            self._tell(Filler(text))

    def excuse(self, text: str, cause: str) -> None:
        """Says something in place of an answer."""
        self._tell(Excuse(text, cause))

    def _say(self, text: str) -> None:
        if self._new_paragraph:
            self._new_paragraph = False
            if not self._ends_in_space:
                text = "\n\n" + text.lstrip()
        self.length += len(text)
        self._ends_in_space = text[-1:].isspace()
        self._tell(Speech(text))

    # --- tools ---

    def tool_began(self, call_id: str, name: str, arguments: dict[str, Any]) -> None:
        """The graph calls a tool: what was said before it is spoken first."""
        if call_id not in self.calls_under_way:
            self.pause()
            self.calls_under_way.add(call_id)
            self._tell(ToolStarted(call_id, name, arguments))

    def tool_ended(self, event: ToolEnded) -> None:
        """The tool has answered."""
        self.calls_under_way.discard(event.id)
        self._tell(event)

    def client_call(self, call_id: str, name: str, arguments: dict[str, Any]) -> None:
        """Hands a call of one of the client's own tools over."""
        self.handed_over = True
        self._tell(ClientCall(call_id, name, arguments))
