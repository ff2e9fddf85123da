"""One answer on its way to the voice: what happens in a turn, as LiveKit's chunks with one id.

A graph in this process and one behind a flow server tell the same events, so they speak the same.
Nothing in here waits.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from livekit.agents import llm, utils
from livekit.agents.types import FlushSentinel

from graph_speech.events import (
    ClientCall,
    End,
    Excuse,
    Failure,
    Filler,
    Pause,
    Question,
    Speaker,
    Speech,
    ToolEnded,
    ToolStarted,
    Usage,
    VoiceEvent,
)

from .history import Aside, mark_asides

SPEAKER_KEY = "speaker"
"""The key in `ChoiceDelta.extra` of the first words of whoever speaks from there on."""

NO_ANSWER_KEY = "no_answer"
"""The key in `ChoiceDelta.extra` of why there was no answer, where a sentence stands in for it."""


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


class Answer:
    """Sends the events of one turn as chat chunks.

    Args:
        send: Takes the chunks.
        no_answer: Said where there is no answer; None says what the runner of the graph says.
    """

    def __init__(
        self, send: Callable[[llm.ChatChunk], None], *, no_answer: str | None = None
    ) -> None:
        self.id = utils.shortuuid("lg_")
        self.calls_under_way: set[str] = set()
        self.tools_ran = False
        self.failure: Failure | None = None
        self.end: End | None = None
        """The turn's end; None while it has not come."""
        self.no_answer_because = ""
        """Why there was no answer; empty where there was one."""
        self._send = send
        self._no_answer = no_answer
        self._usage: Usage | None = None
        self._client_calls: list[ClientCall] = []
        self._length = 0
        self._ends_in_space = True
        self._paused_at = 0
        self._asides: list[Aside] = []
        self._speaker: Speaker | None = None
        """Who speaks from the next piece on, until that is told."""

    def take(self, event: VoiceEvent) -> None:
        """Takes every event of the turn, in order."""
        match event:
            case Speech(text):
                self._speak(text)
            case Pause():
                self.pause()
            case ToolStarted():
                self.pause()
                self.calls_under_way.add(event.id)
            case ToolEnded():
                self.calls_under_way.discard(event.id)
                self.tools_ran = True
            case Filler(text):
                self.aside(text)
            case Speaker():
                self._speaker = event
            case Question():
                self._ask(event.text)
            case Excuse(text, cause):
                self._excuse(self._no_answer or text, cause)
            case ClientCall():
                self._client_calls.append(event)
            case Usage():
                self._usage = event
            case Failure():
                self.failure = event
            case End():
                self.end = event

    def finish(self) -> None:
        """The turn has ended well: the session's own tools are called, and the cost is told."""
        for call in self._client_calls:
            arguments = json.dumps(call.arguments, ensure_ascii=False)
            made = llm.FunctionToolCall(call_id=call.id, name=call.name, arguments=arguments)
            delta = llm.ChoiceDelta(role="assistant", tool_calls=[made])
            self._send(llm.ChatChunk(id=self.id, delta=delta))
        if self._usage is not None and self._usage.total_tokens:
            self._send(llm.ChatChunk(id=self.id, usage=_completion_usage(self._usage)))

    def pause(self) -> None:
        """Nothing more comes for a while: what was said must be spoken now."""
        if self._length == self._paused_at:
            return
        if not self._ends_in_space:
            self._say(" ")
        self._paused_at = self._length
        self._send(SpeechBreak(self.id))  # type: ignore[arg-type]

    def aside(self, text: str, *, last: bool = False, extra: dict[str, Any] | None = None) -> None:
        """Says something that is spoken but is no part of the answer; see `history`.

        Args:
            text: What to say.
            last: Whether the answer ends with it.
            extra: More for the `extra` of its chunk.
        """
        if not text.strip():
            return
        self.pause()
        self._asides.append(Aside(self._length, text))
        self._say(text, mark_asides(self._asides) | (extra or {}))
        if not last:
            self.pause()

    def _excuse(self, text: str, cause: str) -> None:
        self.no_answer_because = cause
        self.aside(text, last=True, extra={NO_ANSWER_KEY: cause})

    def _speak(self, text: str) -> None:
        if self._length == self._paused_at:
            # the break before it parts the two
            text = text.lstrip()
        if text:
            self._say(text)

    def _ask(self, text: str) -> None:
        if text.strip():
            parted = "" if self._ends_in_space else "\n\n"
            self._say(parted + text)

    def _say(self, text: str, extra: dict[str, Any] | None = None) -> None:
        self._length += len(text)
        self._ends_in_space = text[-1:].isspace()
        delta = llm.ChoiceDelta(role="assistant", content=text)
        extra = dict(extra or {})
        if self._speaker is not None:
            speaker, self._speaker = self._speaker, None
            extra[SPEAKER_KEY] = {
                "name": speaker.name,
                "tag": speaker.tag,
                "voice": speaker.voice,
            }
        if extra:
            delta.extra = extra
        self._send(llm.ChatChunk(id=self.id, delta=delta))


def _completion_usage(usage: Usage) -> llm.CompletionUsage:
    return llm.CompletionUsage(
        completion_tokens=usage.output_tokens,
        prompt_tokens=usage.input_tokens,
        total_tokens=usage.total_tokens,
        prompt_cached_tokens=usage.cached_tokens,
        cache_read_tokens=usage.cached_tokens,
        cache_creation_tokens=usage.created_tokens,
        reasoning_tokens=usage.reasoning_tokens,
    )
