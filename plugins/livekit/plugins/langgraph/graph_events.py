"""What happens inside a graph while it runs, told to the answer.

Tokens come straight from the models' callbacks. LangGraph's own `messages` stream has them too,
but wakes its whole loop for each: a third of the CPU that a token costs. Messages that nodes
return, tool results and interrupts come from the `updates` stream, what nodes write from `custom`.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, ToolMessage
from langchain_core.outputs import ChatGenerationChunk, LLMResult
from livekit.agents import llm

from langgraph.constants import TAG_NOSTREAM
from langgraph.types import Command

from .interrupts import question
from .log import logger
from .speakable import Speakable
from .stream import Run

STREAM_MODES = ["custom", "updates"]
"""The parts that `GraphEvents.take` wants."""

_SPEAK_TYPES = ("speak", "token")
# What a node wrote to the custom stream comes through LangGraph's queue, some turns of the event
# loop later. The first tokens of a message wait as long, or they would overtake it.
_TURNS_OF_QUEUE = 8

_Place = tuple[tuple[str, ...], str]
"""The enclosing nodes, as LangGraph's stream names them, and the node."""


@dataclass
class _ModelCall:
    """One model call of a node that is heard."""

    place: _Place
    source: str = ""
    texts: list[str] = field(default_factory=list)


@dataclass
class _ToolCall:
    id: str
    name: str
    arguments: str = ""


class GraphEvents(BaseCallbackHandler):
    """Hears one run of a graph: a handler of its callbacks, and a taker of its stream.

    Args:
        run: The run, whose answer is told.
        speakable: Which nodes may be heard.
        on_interrupt: Called when the graph stops to ask something.
    """

    run_inline = True
    raise_error = True

    def __init__(self, run: Run, speakable: Speakable, on_interrupt: Callable[[], None]) -> None:
        self.usage: llm.CompletionUsage | None = None
        self.model = ""
        self._run = run
        self._answer = run.answer
        self._speakable = speakable
        self._on_interrupt = on_interrupt
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._calls: dict[UUID, _ModelCall] = {}
        self._waiting: list[tuple[Callable[..., None], tuple[Any, ...]]] | None = None
        """What waits for the custom stream; None when nothing has to."""
        self._streamed: dict[_Place, list[str]] = {}
        """What each node has streamed in this step, to know it again when it returns it anew."""
        self._seen = {message.id for message in run.turn.history}
        self._livekit_names = run.turn.tool_names
        self._livekit_calls: dict[str, _ToolCall] = {}
        """Calls of LiveKit's own tools by id, which nobody in the graph has answered."""
        self._tool_calls: dict[tuple[UUID, int | None], _ToolCall] = {}
        self._asked = False

    def finish(self) -> None:
        """The graph has ended: what it left unanswered of LiveKit's tools is the session's."""
        self._stop_waiting()
        self._answer.end_all()
        for call in self._livekit_calls.values():
            self._answer.function_call(call.id, call.name, call.arguments or "{}")

    # --- callbacks of the models; those of sync nodes come from other threads ---

    def tap_output_aiter(self, _: UUID, output: Any) -> Any:
        """Passes `output` on. Having this method makes LangChain stream what is only awaited."""
        return output

    def tap_output_iter(self, _: UUID, output: Any) -> Any:
        """Passes `output` on, as `tap_output_aiter`."""
        return output

    def on_chat_model_start(
        self,
        serialized: dict[str, Any],
        messages: list[list[BaseMessage]],
        *,
        run_id: UUID,
        tags: list[str] | None = None,
        metadata: dict[str, Any] | None = None,
        **_: Any,
    ) -> None:
        """A model is asked."""
        if not metadata or "langgraph_checkpoint_ns" not in metadata:
            return
        if tags and TAG_NOSTREAM in tags:
            return
        namespace = tuple(metadata["langgraph_checkpoint_ns"].split("|"))[:-1]
        node = metadata["langgraph_node"]
        if self._speakable(namespace, node):
            self._calls[run_id] = _ModelCall((namespace, node))
            self._on_loop(self._wait_for_custom)

    def on_llm_new_token(
        self,
        token: str | list[str | dict[str, Any]],
        *,
        chunk: Any = None,
        run_id: UUID,
        **_: Any,
    ) -> None:
        """A model has answered a piece."""
        # Within the node's own task: where a client swallowed the cancellation (asyncio.wait_for
        # of Python 3.11 may), the model's stream is closed at its next token after all.
        self._run.alive()
        call = self._calls.get(run_id)
        if call is not None and isinstance(chunk, ChatGenerationChunk):
            if self._waiting is None and threading.get_ident() == self._thread:
                self._chunk(run_id, call, chunk.message)
            else:
                self._on_loop(self._in_order, self._chunk, run_id, call, chunk.message)

    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **_: Any) -> None:
        """A model's answer is complete."""
        call = self._calls.pop(run_id, None)
        for generations in response.generations:
            for generation in generations[:1]:
                message = getattr(generation, "message", None)
                if isinstance(message, AIMessage):
                    self._add_usage(message)
                    if call is not None:
                        self._on_loop(self._in_order, self._model_ended, call, message)

    def _on_loop(self, act: Callable[..., None], *arguments: Any) -> None:
        if threading.get_ident() == self._thread:
            act(*arguments)
        else:
            self._loop.call_soon_threadsafe(act, *arguments)

    def _wait_for_custom(self, turns: int = _TURNS_OF_QUEUE) -> None:
        if turns == _TURNS_OF_QUEUE:
            if self._waiting is not None:
                return
            self._waiting = []
        if turns:
            self._loop.call_soon(self._wait_for_custom, turns - 1)
        else:
            self._stop_waiting()

    def _stop_waiting(self) -> None:
        waiting, self._waiting = self._waiting, None
        for act, arguments in waiting or ():
            act(*arguments)

    def _in_order(self, act: Callable[..., None], *arguments: Any) -> None:
        if self._waiting is None:
            act(*arguments)
        else:
            self._waiting.append((act, arguments))

    def _chunk(self, run_id: UUID, call: _ModelCall, chunk: BaseMessage) -> None:
        content = chunk.content
        text = content if type(content) is str else str(chunk.text)
        if text:
            if not call.source:
                call.source = chunk.id or str(run_id)
            call.texts.append(text)
            self._answer.token(call.source, text)
        if isinstance(chunk, AIMessageChunk) and chunk.tool_call_chunks:
            self._answer.end_of(call.source)
            for piece in chunk.tool_call_chunks:
                self._tool_call_piece(run_id, piece)

    def _tool_call_piece(self, run_id: UUID, piece: Mapping[str, Any]) -> None:
        key = (run_id, piece.get("index"))
        call = self._tool_calls.get(key)
        if call is None or (piece.get("id") and piece["id"] != call.id):
            call = self._tool_calls[key] = _ToolCall(piece.get("id") or "", piece.get("name") or "")
            self._begin_call(call)
        call.arguments += piece.get("args") or ""

    def _begin_call(self, call: _ToolCall) -> None:
        if call.name in self._livekit_names:
            self._livekit_calls[call.id] = call
        else:
            self._answer.tool_began(call.id)

    def _model_ended(self, call: _ModelCall, message: AIMessage) -> None:
        if not call.source and not self._tool_calls:
            # a model that does not stream
            self._whole(message, call.place)
        self._answer.end_of(call.source)
        self._streamed.setdefault(call.place, []).append("".join(call.texts).strip())
        self._seen.update(filter(None, (message.id, call.source)))

    def _add_usage(self, message: AIMessage) -> None:
        self.model = message.response_metadata.get("model_name") or self.model
        usage = message.usage_metadata
        if usage is None:
            return
        before = self.usage or llm.CompletionUsage(
            completion_tokens=0, prompt_tokens=0, total_tokens=0
        )
        cached = usage.get("input_token_details", {}).get("cache_read") or 0
        created = usage.get("input_token_details", {}).get("cache_creation") or 0
        reasoning = usage.get("output_token_details", {}).get("reasoning") or 0
        self.usage = llm.CompletionUsage(
            completion_tokens=before.completion_tokens + usage["output_tokens"],
            prompt_tokens=before.prompt_tokens + usage["input_tokens"],
            total_tokens=before.total_tokens + usage["total_tokens"],
            prompt_cached_tokens=before.prompt_cached_tokens + cached,
            cache_read_tokens=before.cache_read_tokens + cached,
            cache_creation_tokens=before.cache_creation_tokens + created,
            reasoning_tokens=before.reasoning_tokens + reasoning,
        )

    # --- the graph's stream ---

    def take(self, part: Mapping[str, Any]) -> None:
        """Takes the next part of the graph's stream."""
        if part["type"] == "custom":
            self._custom(part["data"])
        elif part["type"] == "updates":
            self._in_order(self._update, part["data"], tuple(part["ns"]))

    def _custom(self, data: Any) -> None:
        if isinstance(data, str):
            self._answer.speak(data)
        elif isinstance(data, Mapping):
            kind, text = data.get("type", "speak"), data.get("text", data.get("content"))
            if kind == "speaker":
                self._answer.speaker(data)
            if not isinstance(text, str):
                return
            if kind in _SPEAK_TYPES:
                self._answer.speak(text)
            elif kind == "filler":
                self._answer.aside(text)

    def _update(self, data: Mapping[str, Any], namespace: tuple[str, ...]) -> None:
        for node, update in data.items():
            if node == "__interrupt__":
                # a subgraph's comes up again at the root
                if not namespace:
                    self._interrupt(update)
                continue
            place = (namespace, node)
            for message in _messages_in(update):
                if isinstance(message, AIMessage):
                    if self._speakable(namespace, node):
                        self._whole(message, place)
                elif isinstance(message, ToolMessage):
                    self._answer.tool_ended(message.tool_call_id)
                    self._livekit_calls.pop(message.tool_call_id, None)
            self._streamed.pop(place, None)

    def _whole(self, message: AIMessage, place: _Place) -> None:
        if message.id is None:
            # LangGraph would give it one; the graph around this one may return it again
            message.id = str(uuid4())
        if message.id in self._seen:
            return
        self._seen.add(message.id)
        text = str(message.text)
        if text and text.strip() not in self._streamed.get(place, ()):
            self._answer.token(message.id, text)
            self._answer.end_of(message.id)
        for call in message.tool_calls:
            self._begin_call(_ToolCall(call["id"] or "", call["name"], json.dumps(call["args"])))

    def _interrupt(self, pending: Sequence[Any]) -> None:
        self._on_interrupt()
        if self._asked or not pending:
            return
        self._asked = True
        text = question(pending[0].value)
        if text is None:
            logger.warning("an interrupt has nothing that can be spoken")
        else:
            self._answer.ask(text)


def _messages_in(update: Any) -> Iterator[BaseMessage]:
    """The messages in what a node has returned, under whatever key."""
    if isinstance(update, BaseMessage):
        yield update
    elif isinstance(update, Command):
        yield from _messages_in(update.update)
    elif isinstance(update, Mapping):
        for value in update.values():
            yield from _messages_in(value)
    elif isinstance(update, list | tuple):
        for value in update:
            yield from _messages_in(value)
