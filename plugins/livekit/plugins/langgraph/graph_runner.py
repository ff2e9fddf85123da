"""Runs a compiled LangGraph graph in this process."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from contextlib import aclosing, nullcontext
from dataclasses import dataclass, field
from typing import Any

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage, AIMessageChunk, ToolMessage
from langchain_core.outputs import LLMResult
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import merge_configs
from livekit.agents import llm

from .interrupts import question
from .log import logger
from .speakable import Speakable
from .stream import Run, Turn
from .thread import Start, Thread
from .turn import COMMITTED_KEY

_STREAM_MODES = ["messages", "custom", "updates"]
_SPEAK_TYPES = ("speak", "token")


class GraphRunner:
    """Runs turns of one session on a compiled graph.

    Args:
        graph: A compiled LangGraph graph whose state has `messages`.
        speakable: Which nodes may be heard.
        config: The base of every run's config.
        context: The graph's runtime context, if it has a context schema.
        thread_id: The session's thread.
    """

    def __init__(
        self,
        graph: Any,
        speakable: Speakable,
        *,
        config: RunnableConfig | None,
        context: Any,
        thread_id: str,
    ) -> None:
        self._graph = graph
        self.speakable = speakable
        self._config = config
        self._context = context
        self._thread_id = thread_id
        self._thread = Thread(graph, thread_id)
        self._model = ""
        self._resumed: tuple[str, Start] | None = None
        """The turn that answered an interrupt, and how: a retry answers the same again."""
        self._repairs: set[asyncio.Task[None]] = set()

    @property
    def model(self) -> str:
        """The name that the model itself gave, before the first answer the graph's."""
        return self._model or getattr(self._graph, "name", None) or "LangGraph"

    @property
    def can_continue(self) -> bool:
        """Whether the graph has a checkpointer."""
        return self._thread.keeps_state

    async def prewarm(self) -> None:
        """Nothing: the graph's own clients connect when they are first used."""

    async def aclose(self) -> None:
        """Waits for what cancelled runs have left to do; the graph is its owner's."""
        if self._repairs:
            await asyncio.wait(self._repairs)

    async def run(self, run: Run) -> None:
        """Runs the turn; see `stream.Runner`."""
        turn = run.turn
        async with self._thread.lock if self._thread.keeps_state else nullcontext():
            start = await self._start(turn)
            usage = _UsageCallback(run)
            parts = _Parts(self, run, usage)
            try:
                async with aclosing(
                    self._graph.astream(
                        start.input,
                        self._config_of(run, start, usage),
                        context=self._context,
                        stream_mode=_STREAM_MODES,
                        version="v2",
                        subgraphs=True,
                    )
                ) as stream:
                    async for part in stream:
                        run.alive()
                        parts.take(part)
            except asyncio.CancelledError:
                if run.answer.calls_under_way and self._thread.keeps_state:
                    repair = asyncio.get_running_loop().create_task(self._thread.repair())
                    self._repairs.add(repair)
                    repair.add_done_callback(self._repairs.discard)
                raise
            finally:
                run.usage = usage.total
                self._model = usage.model or self._model
        parts.finish()

    async def _start(self, turn: Turn) -> Start:
        if turn.tools_ran and self._thread.keeps_state:
            return Start(None)
        if turn.attempt and self._resumed is not None and self._resumed[0] == turn.id:
            return self._resumed[1]
        history = [message.to_langchain() for message in turn.history]
        start = await self._thread.start(history, turn.committed)
        self._resumed = (turn.id, start) if start.resumes else None
        return start

    def _config_of(self, run: Run, start: Start, usage: BaseCallbackHandler) -> RunnableConfig:
        turn = run.turn
        configurable: dict[str, Any] = {
            "thread_id": self._thread_id,
            "tools": turn.tools,
            "client_tools": turn.tools,
            **turn.configurable,
        }
        if turn.tool_choice is not None:
            configurable["tool_choice"] = turn.tool_choice
        if turn.parallel_tool_calls is not None:
            configurable["parallel_tool_calls"] = turn.parallel_tool_calls
        if turn.committed is not None:
            configurable[COMMITTED_KEY] = turn.committed
        if start.checkpoint_id is not None:
            configurable["checkpoint_id"] = start.checkpoint_id
        return merge_configs(self._config, {"configurable": configurable, "callbacks": [usage]})

    def interrupted(self) -> None:
        """The run has ended in an `interrupt()`."""
        self._thread.interrupted()


@dataclass
class _CallBeingWritten:
    id: str
    name: str
    arguments: str = ""


@dataclass
class _Parts:
    """Tells one run's answer what the parts of LangGraph's stream mean."""

    runner: GraphRunner
    run: Run
    usage: _UsageCallback
    calls: dict[str, _CallBeingWritten] = field(default_factory=dict)
    """Calls of LiveKit's own tools by id, which nobody in the graph has answered."""
    writing: dict[tuple[str, int | None], _CallBeingWritten] = field(default_factory=dict)
    streamed: dict[str, list[str]] = field(default_factory=dict)
    """What each node has streamed in this step, to know it again when it returns it whole."""
    seen: set[str] = field(default_factory=set)
    asked: set[str] = field(default_factory=set)
    last_source: dict[str, str] = field(default_factory=dict)
    heard: dict[str, bool] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.seen.update(message.id for message in self.run.turn.history)

    def take(self, part: Mapping[str, Any]) -> None:
        """Takes the next part of the stream."""
        match part["type"]:
            case "messages":
                message, metadata = part["data"]
                if isinstance(message, AIMessageChunk):
                    self._chunk(message, metadata, part["ns"])
                elif isinstance(message, AIMessage):
                    self._whole(message, metadata, part["ns"])
                elif isinstance(message, ToolMessage):
                    self.run.answer.tool_ended(message.tool_call_id)
                    self.calls.pop(message.tool_call_id, None)
            case "custom":
                self._custom(part["data"])
            case "updates":
                self._update(part["data"], part["ns"])

    def finish(self) -> None:
        """The graph has ended: what it left unanswered of LiveKit's tools is the session's."""
        self.run.answer.end_all()
        for call in self.calls.values():
            self.run.answer.function_call(call.id, call.name, call.arguments or "{}")

    def _chunk(
        self, chunk: AIMessageChunk, metadata: Mapping[str, Any], namespace: Sequence[str]
    ) -> None:
        # Runs for every token: one look-up decides whether the place in the graph is heard.
        place: str = metadata["langgraph_checkpoint_ns"]
        heard = self.heard.get(place)
        if heard is None:
            heard = self.runner.speakable(namespace, metadata["langgraph_node"])
            self.heard[place] = heard
        if not heard:
            return
        answer = self.run.answer
        source = chunk.id or place
        content = chunk.content
        text = content if type(content) is str else str(chunk.text)
        if text:
            if self.last_source.get(place) != source:
                self._new_source(place, source)
            self.streamed[place].append(text)
            answer.token(source, text)
        if chunk.tool_call_chunks:
            answer.end_of(source)
            for piece in chunk.tool_call_chunks:
                self._call_piece(source, piece)
        if chunk.chunk_position == "last":
            answer.end_of(source)

    def _new_source(self, place: str, source: str) -> None:
        previous = self.last_source.get(place)
        if previous is not None:
            self.run.answer.end_of(previous)
        self.last_source[place] = source
        self.seen.add(source)
        self.streamed[place] = []

    def _call_piece(self, source: str, piece: Mapping[str, Any]) -> None:
        key = (source, piece.get("index"))
        call = self.writing.get(key)
        if call is None or (piece.get("id") and piece["id"] != call.id):
            call = _CallBeingWritten(piece.get("id") or "", piece.get("name") or "")
            self.writing[key] = call
            self._begin_call(call)
        call.arguments += piece.get("args") or ""

    def _begin_call(self, call: _CallBeingWritten) -> None:
        if call.name in self.run.turn.tool_names:
            self.calls[call.id] = call
        else:
            self.run.answer.tool_began(call.id)

    def _whole(
        self, message: AIMessage, metadata: Mapping[str, Any], namespace: Sequence[str]
    ) -> None:
        if not self.runner.speakable(namespace, metadata["langgraph_node"]):
            return
        source = message.id or ""
        if source in self.seen:
            return
        self.seen.add(source)
        place: str = metadata["langgraph_checkpoint_ns"]
        text = str(message.text)
        if text and text.strip() != "".join(self.streamed.get(place, ())).strip():
            self.run.answer.token(source, text)
            self.run.answer.end_of(source)
        for call in message.tool_calls:
            self._begin_call(
                _CallBeingWritten(call["id"] or "", call["name"], json.dumps(call["args"]))
            )

    def _custom(self, data: Any) -> None:
        if isinstance(data, str):
            self.run.answer.speak(data)
        elif isinstance(data, Mapping):
            kind, text = data.get("type", "speak"), data.get("text", data.get("content"))
            if not isinstance(text, str):
                return
            if kind in _SPEAK_TYPES:
                self.run.answer.speak(text)
            elif kind == "filler":
                self.run.answer.aside(text)

    def _update(self, data: Mapping[str, Any], namespace: Sequence[str]) -> None:
        if "__interrupt__" not in data:
            return
        if namespace or self.asked:
            return
        pending = data["__interrupt__"]
        self.runner.interrupted()
        self.asked.update(entry.id for entry in pending)
        if pending:
            text = question(pending[0].value)
            if text is None:
                logger.warning("an interrupt has nothing that can be spoken")
            else:
                self.run.answer.ask(text)


class _UsageCallback(BaseCallbackHandler):
    """Adds up the usage of every model call in the graph, those that are not streamed too."""

    run_inline = True

    def __init__(self, run: Run) -> None:
        self._run = run
        self.total: llm.CompletionUsage | None = None
        self.model = ""

    def on_llm_new_token(self, *_: Any, **__: Any) -> None:
        # Within the node's own task: where a client swallowed the cancellation, the model's
        # stream is closed at its next token after all.
        if self._run.stopping:
            raise asyncio.CancelledError

    def on_llm_end(self, response: LLMResult, **_: Any) -> None:
        for generations in response.generations:
            for generation in generations[:1]:
                message = getattr(generation, "message", None)
                if isinstance(message, AIMessage):
                    self._add(message)

    def _add(self, message: AIMessage) -> None:
        self.model = message.response_metadata.get("model_name") or self.model
        usage = message.usage_metadata
        if usage is None:
            return
        before = self.total or llm.CompletionUsage(
            completion_tokens=0, prompt_tokens=0, total_tokens=0
        )
        cached = usage.get("input_token_details", {}).get("cache_read") or 0
        created = usage.get("input_token_details", {}).get("cache_creation") or 0
        reasoning = usage.get("output_token_details", {}).get("reasoning") or 0
        self.total = llm.CompletionUsage(
            completion_tokens=before.completion_tokens + usage["output_tokens"],
            prompt_tokens=before.prompt_tokens + usage["input_tokens"],
            total_tokens=before.total_tokens + usage["total_tokens"],
            prompt_cached_tokens=before.prompt_cached_tokens + cached,
            cache_read_tokens=before.cache_read_tokens + cached,
            cache_creation_tokens=before.cache_creation_tokens + created,
            reasoning_tokens=before.reasoning_tokens + reasoning,
        )
