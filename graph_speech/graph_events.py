"""What happens inside a graph while it runs, told to the composer of its answer.

Tokens come straight from the models' callbacks. LangGraph's own `messages` stream has them too,
but wakes its whole loop for each: a third of the CPU that a token costs. Messages that nodes
return, tool results and interrupts come from the `updates` stream, what nodes write from `custom`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, ToolMessage
from langchain_core.outputs import ChatGenerationChunk, LLMResult
from langgraph.constants import TAG_NOSTREAM
from langgraph.types import Command

from .composer import Composer
from .events import Question, Usage
from .in_order import InOrder
from .interrupts import question
from .model_answers import (
    NO_TOOLS,
    OfferedTools,
    offered_tools,
    outcome,
    recover_calls,
    with_usage_of,
)
from .silence import ModelOutcome
from .speakable import Speakable
from .think_filter import ThinkFilter
from .tool_calls import ToolCalls
from .turn import TurnRequest

logger = logging.getLogger("graph_speech")

STREAM_MODES = ["custom", "updates"]
"""The parts that `GraphEvents.take` wants."""

_SPEAK_TYPES = ("speak", "token")

_Place = tuple[tuple[str, ...], str]
"""The enclosing nodes, as LangGraph's stream names them, and the node."""


@dataclass
class _ModelCall:
    """One model call of a node that is heard."""

    place: _Place
    tools: OfferedTools
    source: str = ""
    texts: list[str] = field(default_factory=list)
    calls_tools: bool = False


class GraphEvents(BaseCallbackHandler):
    """Hears one run of a graph: a handler of its callbacks, and a taker of its stream.

    Args:
        turn: The turn that is run.
        composer: Told what is said, and which tools are called.
        speakable: Which nodes may be heard.
        on_interrupt: Called when the graph stops to ask something.
        alive: Called at every sign of life; may raise `CancelledError` to end the run.
    """

    run_inline = True
    raise_error = True

    def __init__(
        self,
        turn: TurnRequest,
        composer: Composer,
        speakable: Speakable,
        *,
        on_interrupt: Callable[[], None],
        alive: Callable[[], None],
    ) -> None:
        self.usage = Usage()
        self.model = ""
        self.last: ModelOutcome | None = None
        """How the last model call that is heard ended."""
        self.asked = False
        """The graph has stopped to ask something."""
        self._composer = composer
        self._speakable = speakable
        self._on_interrupt = on_interrupt
        self._alive = alive
        self._order = InOrder()
        self._calls: dict[UUID, _ModelCall] = {}
        self._tools: dict[UUID, OfferedTools] = {}
        """What each model call under way was offered, heard or not."""
        self._written: dict[tuple[UUID, Any], list[str]] = {}
        """The id of each tool call that streams, and its arguments as they are written."""
        self._streamed: dict[_Place, list[str]] = {}
        """What each node has streamed in this step, to know it again when it returns it anew."""
        self._seen = {message.id for message in turn.messages}
        self._known = set(self._seen)
        """Ids of the messages that any node has returned, heard or not."""
        self._subgraphs: set[_Place] = set()
        """The nodes inside which others were seen to work."""
        self._tool_calls = ToolCalls(turn, composer)

    def finish(self) -> None:
        """The graph has ended: what it left unanswered of the client's tools is the client's."""
        self._order.release()
        self._composer.end_all()
        self._tool_calls.finish()

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
        invocation_params: dict[str, Any] | None = None,
        **_: Any,
    ) -> None:
        """A model is asked."""
        if not metadata or "langgraph_checkpoint_ns" not in metadata:
            return
        tools = self._tools[run_id] = offered_tools(invocation_params)
        if tags and TAG_NOSTREAM in tags:
            return
        namespace = tuple(metadata["langgraph_checkpoint_ns"].split("|"))[:-1]
        node = metadata["langgraph_node"]
        if self._speakable(namespace, node):
            self._calls[run_id] = _ModelCall((namespace, node), tools)
            self._order.on_loop(self._order.hold)

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
        self._alive()
        if not isinstance(chunk, ChatGenerationChunk):
            return
        for piece in getattr(chunk.message, "tool_call_chunks", ()):
            written = self._written.setdefault((run_id, piece.get("index")), [""])
            written[0] = written[0] or piece.get("id") or ""
            written.append(piece.get("args") or "")
        call = self._calls.get(run_id)
        if call is not None:
            self._order.take(self._chunk, run_id, call, chunk.message)

    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **_: Any) -> None:
        """A model's answer is complete; calls that its server left in the text are made real."""
        call = self._calls.pop(run_id, None)
        tools = self._tools.pop(run_id, NO_TOOLS)
        written = self._written_by(run_id)
        for generations in response.generations:
            for generation in generations[:1]:
                message = getattr(generation, "message", None)
                if isinstance(message, AIMessage):
                    strangers, broken = recover_calls(message, tools, written)
                    self.model = message.response_metadata.get("model_name") or self.model
                    self.usage = with_usage_of(message, self.usage)
                    if call is not None:
                        self._order.take(self._model_ended, call, message, strangers, broken)

    def on_llm_error(self, error: BaseException, *, run_id: UUID, **_: Any) -> None:
        """A model has failed, or was cancelled."""
        self._calls.pop(run_id, None)
        self._tools.pop(run_id, None)
        self._written_by(run_id)

    def _written_by(self, run_id: UUID) -> dict[str, str]:
        """The arguments that a model has written, by the ids of its calls; forgotten here."""
        keys = [key for key in self._written if key[0] == run_id]
        pieces = [self._written.pop(key) for key in keys]
        return {call_id: "".join(arguments) for call_id, *arguments in pieces}

    def _chunk(self, run_id: UUID, call: _ModelCall, chunk: BaseMessage) -> None:
        content = chunk.content
        text = content if type(content) is str else str(chunk.text)
        if text:
            if not call.source:
                call.source = chunk.id or str(run_id)
            call.texts.append(text)
            self._composer.token(call.source, text, call.tools.parameters)
        if isinstance(chunk, AIMessageChunk) and chunk.tool_call_chunks and not call.calls_tools:
            # nothing is said while the model writes the arguments
            call.calls_tools = True
            self._composer.end_of(call.source)
            self._composer.pause()

    def _model_ended(
        self,
        call: _ModelCall,
        message: AIMessage,
        strangers: Sequence[str],
        broken: Sequence[str],
    ) -> None:
        def ended(the_filter: ThinkFilter | None, spoke: bool) -> None:
            self.last = outcome(
                message, the_filter, spoke=spoke, strangers=strangers, broken=broken
            )

        text = "".join(call.texts)
        self._streamed.setdefault(call.place, []).append(text.strip())
        if call.source:
            # where tools are called, the message may have been ended before
            ended(None, bool(text.strip()))
            self._composer.end_of(call.source, ended)
        elif message.text:
            # a model that does not stream
            self._say_whole(message, call.tools, ended)
        else:
            ended(None, False)
        self._tool_calls.begin(message)
        self._seen.update(filter(None, (message.id, call.source)))

    # --- the graph's stream ---

    def take(self, part: Mapping[str, Any]) -> None:
        """Takes the next part of the graph's stream."""
        self._alive()
        if part["type"] == "custom":
            self._custom(part["data"])
        elif part["type"] == "updates":
            self._order.take(self._update, part["data"], tuple(part["ns"]))

    def _custom(self, data: Any) -> None:
        if isinstance(data, str):
            self._composer.speak(data)
        elif isinstance(data, Mapping):
            kind, text = data.get("type", "speak"), data.get("text", data.get("content"))
            if kind == "speaker":
                self._composer.speaker(data)
            if not isinstance(text, str):
                return
            if kind in _SPEAK_TYPES:
                self._composer.speak(text)
            elif kind == "filler":
                self._composer.aside(text)

    def _update(self, data: Mapping[str, Any], namespace: tuple[str, ...]) -> None:
        if namespace:
            self._subgraphs.add((namespace[:-1], namespace[-1].partition(":")[0]))
        for node, update in data.items():
            if node == "__interrupt__":
                # a subgraph's comes up again at the root
                if not namespace:
                    self._interrupt(update)
                continue
            place = (namespace, node)
            for message in _messages_in(update):
                if isinstance(message, AIMessage):
                    # a subgraph hands up what came into it, too
                    is_old = place in self._subgraphs and message.id in self._known
                    if self._speakable(namespace, node) and not is_old:
                        self._whole(message, place)
                    self._known.add(message.id)
                    self._tool_calls.begin(message)
                elif isinstance(message, ToolMessage):
                    self._tool_calls.end(message)
            self._streamed.pop(place, None)

    def _whole(self, message: AIMessage, place: _Place) -> None:
        if message.id is None:
            # LangGraph would give it one; the graph around this one may return it again
            message.id = str(uuid4())
        if message.id in self._seen:
            return
        self._seen.add(message.id)
        if message.text and message.text.strip() not in self._streamed.get(place, ()):
            self._say_whole(message, NO_TOOLS, lambda *_: None)

    def _say_whole(
        self, message: AIMessage, tools: OfferedTools, ended: Callable[[ThinkFilter, bool], None]
    ) -> None:
        source = message.id or str(uuid4())
        self._composer.token(source, str(message.text), tools.parameters)
        self._composer.end_of(source, ended)

    def _interrupt(self, pending: Sequence[Any]) -> None:
        self._on_interrupt()
        if self.asked or not pending:
            return
        self.asked = True
        # several may be pending: they are asked one at a time
        first = pending[0]
        text = question(first.value)
        if text is None:
            logger.warning("an interrupt has nothing that can be spoken")
        self._composer.ask(Question(first.id, text or "", first.value))


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
