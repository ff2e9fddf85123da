"""The tool calls of one turn: each is told once, and those of the client's tools at the end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, ToolMessage

from .composer import Composer
from .events import ToolEnded
from .turn import TurnRequest


class ToolCalls:
    """Knows which calls are under way.

    Args:
        turn: What stands in its history was told before.
        composer: Told of what is new.
    """

    def __init__(self, turn: TurnRequest, composer: Composer) -> None:
        self._composer = composer
        self._client_tools = turn.tool_names
        self._client_calls: dict[str, tuple[str, dict[str, Any]]] = {}
        """Calls of the client's own tools by id, which nobody in the graph has answered."""
        self._begun = _calls_in(turn.messages)
        """Ids of tool calls that were told, or stood in the history."""
        self._ended = set(self._begun)

    def begin(self, message: AIMessage) -> None:
        """A model has called tools."""
        for call in message.tool_calls:
            call_id = call["id"] or ""
            if call_id in self._begun:
                continue
            self._begun.add(call_id)
            if call["name"] in self._client_tools:
                self._client_calls[call_id] = (call["name"], call["args"])
            else:
                self._composer.tool_began(call_id, call["name"], call["args"])

    def end(self, message: ToolMessage) -> None:
        """A tool has returned."""
        # an agent in a subgraph hands its messages up: each result is told once
        call_id = message.tool_call_id
        if call_id in self._ended or call_id not in self._begun:
            return
        self._ended.add(call_id)
        if self._client_calls.pop(call_id, None) is None:
            self._composer.tool_ended(
                ToolEnded(call_id, message.name, message.status, str(message.text))
            )

    def finish(self) -> None:
        """The graph has ended: what it left unanswered of the client's tools is the client's."""
        for call_id, (name, arguments) in self._client_calls.items():
            self._composer.client_call(call_id, name, arguments)


def _calls_in(messages: Sequence[BaseMessage]) -> set[str]:
    """The ids of the tool calls in a history."""
    return {
        call["id"] or ""
        for message in messages
        if isinstance(message, AIMessage)
        for call in message.tool_calls
    }
