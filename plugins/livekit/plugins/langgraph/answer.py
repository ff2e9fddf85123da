"""One answer on its way to the voice: what the graph says, in order, filtered, with one id.

Both ways of running a graph (in this process, behind a flow server) report here, so they speak
the same. Nothing in here waits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from livekit.agents import llm, utils
from livekit.agents.types import FlushSentinel

from .history import Aside, mark_asides
from .think_filter import ThinkFilter

SPEAKER_KEY = "speaker"
"""The key in `ChoiceDelta.extra` of the first words of whoever speaks from there on."""


class SpeechBreak(FlushSentinel):
    """Speak what has been said so far now; it goes on later.

    `AgentSession` ends the speech segment at it. To anything else that reads a stream it looks
    like a chunk without content.
    """

    delta: llm.ChoiceDelta | None = None
    usage: llm.CompletionUsage | None = None

    def __init__(self, id: str) -> None:
        self.id = id

    def has_response(self) -> bool:
        """Never: a break is no output."""
        return False


@dataclass
class _Source:
    """One AI message of the graph while it streams."""

    filter: ThinkFilter
    waiting: list[str] = field(default_factory=list)
    """Text that came while another message was being spoken."""
    ended: bool = False


class Answer:
    """Collects one completion and sends it as chat chunks.

    Messages that stream at the same time (parallel branches) are spoken one after the other.

    Args:
        send: Takes the chunks.
        on_tool_began: Called when the graph calls a tool and nothing was pending.
        starts_thinking: See `ThinkFilter`.
    """

    def __init__(
        self,
        send: Callable[[llm.ChatChunk], None],
        *,
        on_tool_began: Callable[[], None],
        starts_thinking: bool = False,
    ) -> None:
        self.id = utils.shortuuid("lg_")
        self.opener_was_missing: bool | None = None
        """What the filters saw; None while no message has ended."""
        self.pieces = 0
        """How many pieces of text were sent."""
        self.calls_under_way: set[str] = set()
        self.tools_ran = False
        self._send = send
        self._on_tool_began = on_tool_began
        self._starts_thinking = starts_thinking
        self._sources: dict[str, _Source] = {}
        self._current: str | None = None
        self._length = 0
        self._ends_in_space = True
        self._new_paragraph = False
        self._paused_at = 0
        self._asides: list[Aside] = []
        self._speaker: dict[str, str | None] | None = None
        """Who speaks from the next piece on, until that is told."""

    # --- what is said ---

    def token(self, source: str, text: str) -> None:
        """A piece of the AI message `source`."""
        entry = self._sources.get(source)
        if entry is None:
            entry = self._sources[source] = _Source(
                ThinkFilter(starts_thinking=self._starts_thinking)
            )
            if self._current is None:
                self._become_current(source)
        if self._current != source:
            entry.waiting.append(text)
        elif said := entry.filter.push(text):
            self._say(said)

    def end_of(self, source: str) -> None:
        """The AI message `source` is complete."""
        entry = self._sources.get(source)
        if entry is None:
            return
        entry.ended = True
        while self._current is not None and (entry := self._sources[self._current]).ended:
            del self._sources[self._current]
            if said := entry.filter.finish():
                self._say(said)
            self.opener_was_missing = entry.filter.opener_was_missing
            self._current = None
            if self._sources:
                self._become_current(next(iter(self._sources)))

    def _become_current(self, source: str) -> None:
        self._current = source
        self._new_paragraph = self._length > 0
        entry = self._sources[source]
        for text in entry.waiting:
            if said := entry.filter.push(text):
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
        known = {key: event.get(key) for key in ("name", "tag", "voice")}
        self._speaker = {k: v if isinstance(v, str) else None for k, v in known.items()}

    def ask(self, text: str) -> None:
        """A question that the graph stopped for."""
        self.end_all()
        if text.strip():
            self._new_paragraph = self._length > 0
            self._say(text)

    def pause(self) -> None:
        """Nothing more comes for a while: what was said must be spoken now."""
        self._new_paragraph = False
        if self._length == self._paused_at:
            return
        if not self._ends_in_space:
            self._say(" ")
        self._paused_at = self._length
        self._send(SpeechBreak(self.id))  # type: ignore[arg-type]

    def aside(self, text: str, *, last: bool = False) -> None:
        """Says something that is spoken but is no part of the answer; see `history`.

        Args:
            text: What to say.
            last: Whether the answer ends with it.
        """
        if not text.strip():
            return
        self.end_all()
        self.pause()
        self._asides.append(Aside(self._length, text))
        self._say(text, asides=True)
        if not last:
            self.pause()

    def _say(self, text: str, *, asides: bool = False) -> None:
        if self._new_paragraph:
            self._new_paragraph = False
            if not self._ends_in_space:
                text = "\n\n" + text.lstrip()
        self._length += len(text)
        self._ends_in_space = text[-1:].isspace()
        self.pieces += 1
        delta = llm.ChoiceDelta(role="assistant", content=text)
        extra: dict[str, Any] = mark_asides(self._asides) if asides else {}
        if self._speaker is not None:
            extra[SPEAKER_KEY], self._speaker = self._speaker, None
        if extra:
            delta.extra = extra
        self._send(llm.ChatChunk(id=self.id, delta=delta))

    # --- tools and usage ---

    def tool_began(self, call_id: str) -> None:
        """The graph calls a tool: what was said before it is spoken first."""
        if call_id in self.calls_under_way:
            return
        first = not self.calls_under_way
        self.calls_under_way.add(call_id)
        if first:
            self.pause()
            self._on_tool_began()

    def tool_ended(self, call_id: str) -> None:
        """The tool has answered."""
        self.calls_under_way.discard(call_id)
        self.tools_ran = True

    def function_call(self, call_id: str, name: str, arguments: str) -> None:
        """Hands a call of one of LiveKit's own function tools to the session."""
        call = llm.FunctionToolCall(call_id=call_id, name=name, arguments=arguments)
        self._send(
            llm.ChatChunk(id=self.id, delta=llm.ChoiceDelta(role="assistant", tool_calls=[call]))
        )

    def used(self, usage: llm.CompletionUsage) -> None:
        """Reports what the completion cost, as its last chunk."""
        self._send(llm.ChatChunk(id=self.id, usage=usage))
