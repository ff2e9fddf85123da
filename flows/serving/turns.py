"""Running turns: one at a time in each session, cancelled at once when nobody listens.

The graph runs in a task of its own that feeds a bounded queue. Handing its stream straight to
the web framework would leave the model generating after the client has gone: the framework's
repeated cancellation kills LangGraph's clean-up (langgraph issues 5682 and 8302).
"""

import asyncio
import contextlib
import logging
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from langchain_core.callbacks import AsyncCallbackHandler
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import LLMResult
from langchain_core.runnables import RunnableConfig
from langgraph.types import Command

from flows.flow import Flow
from flows.serving.events import Event, EventTranslator
from flows.serving.failures import failure_event

logger = logging.getLogger("flows")

_QUEUE_SIZE = 256
STREAM_MODES: Sequence[Any] = ("messages", "custom", "updates")


@dataclass(frozen=True)
class FillerOptions:
    """The phrase that bridges a slow tool."""

    after_s: float = 0.7
    text: str = "One moment, please."


@dataclass(eq=False)  # hashed: LangChain merges handlers in sets
class _Usage(AsyncCallbackHandler):
    """Adds up the tokens of every model call of a turn, spoken or not."""

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    model: str = ""

    async def on_llm_end(self, response: LLMResult, **kwargs: Any) -> None:
        for generation in (g for batch in response.generations for g in batch):
            message = getattr(generation, "message", None)
            if not isinstance(message, AIMessage):
                continue
            self.model = message.response_metadata.get("model_name") or self.model
            if message.usage_metadata is not None:
                self.input_tokens += message.usage_metadata["input_tokens"]
                self.output_tokens += message.usage_metadata["output_tokens"]
                details = message.usage_metadata.get("input_token_details", {})
                self.cached_tokens += details.get("cache_read") or 0

    def event(self) -> Event:
        return {
            "type": "usage",
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "cached_tokens": self.cached_tokens,
            "total_tokens": self.input_tokens + self.output_tokens,
            "model": self.model,
        }


@dataclass
class Turn:
    """One turn of a session: a run of the graph, and the events that it has made."""

    id: str
    flow: Flow
    translator: EventTranslator
    filler: FillerOptions | None
    committed: asyncio.Event = field(default_factory=asyncio.Event)
    _queue: asyncio.Queue[Event] = field(default_factory=asyncio.Queue)
    """Bounded by `_put`, but for the last event, which must always find room."""
    _drained: asyncio.Event = field(default_factory=asyncio.Event)
    _reason: str = "cancelled"
    _task: asyncio.Task[None] | None = None
    _cancelled: bool = False
    _spoke: bool = False
    _open_calls: set[str] = field(default_factory=set)
    _filler_timer: asyncio.TimerHandle | None = None

    def start(self, graph_input: Any, config: RunnableConfig) -> None:
        """Run the graph in a task of its own."""
        self._task = asyncio.create_task(self._run(graph_input, config), name=f"turn {self.id}")
        # Not in the task itself: one that is cancelled before its first step never runs.
        self._task.add_done_callback(self._end)

    @property
    def question(self) -> str | None:
        """The id of what the graph asked, which the next turn answers."""
        return self.translator.question

    @property
    def running(self) -> bool:
        """Whether the graph is still at work."""
        return self._task is not None and not self._task.done()

    def cancel(self) -> bool:
        """Stop the run; returns whether there was one to stop.

        The task is cancelled once only: a second cancellation would hit LangGraph's clean-up,
        and the model would go on generating.
        """
        if self._task is None or self._cancelled:
            return False
        self._cancelled = self._task.cancel()
        return self._cancelled

    async def wait(self) -> None:
        """Wait until the run has ended, one way or another."""
        if self._task is not None:
            await asyncio.wait([self._task])

    async def batches(self, ping_s: float) -> AsyncIterator[list[Event]]:
        """The events, as many at a time as there are; an empty list after `ping_s` of silence."""
        while True:
            try:
                async with asyncio.timeout(ping_s):
                    batch = [await self._queue.get()]
            except TimeoutError:
                yield []
                continue
            while not self._queue.empty():
                batch.append(self._queue.get_nowait())
            self._drained.set()
            yield batch
            if batch[-1]["type"] == "done":
                return

    async def _run(self, graph_input: Any, config: RunnableConfig) -> None:
        usage = _Usage()
        try:
            await self._stream(graph_input, {**config, "callbacks": [usage]})
            await self._put(usage.event())
            self._reason = "interrupted" if self.question else "completed"
        except Exception as fault:
            self._reason = "failed"
            logger.warning(
                "flow failed", extra={"flow": self.flow.id, "fault": type(fault).__name__}
            )
            logger.debug("flow failed", exc_info=fault)
            await self._put(failure_event(fault, spoke=self._spoke))

    def _end(self, task: asyncio.Task[None]) -> None:
        self._stop_filler()
        if task.cancelled():
            # Who cancels does not want the rest.
            self._reason = "cancelled"
            while not self._queue.empty():
                self._queue.get_nowait()
        self._queue.put_nowait({"type": "done", "turn_id": self.id, "reason": self._reason})

    async def _stream(self, graph_input: Any, config: RunnableConfig) -> None:
        assert self.flow.graph is not None
        if isinstance(graph_input, Command):
            # The answer to a question can't be taken back.
            await self.committed.wait()
        parts = self.flow.graph.astream(
            graph_input,
            config,
            stream_mode=STREAM_MODES,
            version="v2",
            subgraphs=True,
            durability="exit" if self.flow.graph.checkpointer else None,
        )
        async with contextlib.aclosing(parts):  # type: ignore[type-var]  # it is a generator
            async for part in parts:
                for event in self.translator.translate(part):
                    await self._emit(event)
        for event in self.translator.finish():
            await self._emit(event)

    async def _put(self, event: Event) -> None:
        while self._queue.qsize() >= _QUEUE_SIZE:
            self._drained.clear()
            await self._drained.wait()
        self._queue.put_nowait(event)

    async def _emit(self, event: Event) -> None:
        match event["type"]:
            case "token" | "filler":
                self._spoke = True
                self._stop_filler()
            case "tool_start":
                self._open_calls.add(event["id"])
                if not self._spoke:
                    self._start_filler()
            case "tool_end":
                self._open_calls.discard(event["id"])
                if not self._open_calls:
                    self._stop_filler()
        await self._put(event)

    def _start_filler(self) -> None:
        if self.filler is not None and self._filler_timer is None:
            loop = asyncio.get_running_loop()
            self._filler_timer = loop.call_later(self.filler.after_s, self._fill)

    def _fill(self) -> None:
        self._filler_timer = None
        if not self.committed.is_set():
            # The tool waits for the commit, not the caller for the tool.
            self._start_filler()
        elif self.filler is not None and self._open_calls:
            self._spoke = True
            self._queue.put_nowait({"type": "filler", "content": self.filler.text})

    def _stop_filler(self) -> None:
        if self._filler_timer is not None:
            self._filler_timer.cancel()
            self._filler_timer = None


class EarlyCommits:
    """Commits that came in before their turn: two requests may overtake each other."""

    def __init__(self, size: int = 1024) -> None:
        self._ids: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._size = size

    def add(self, session: str, turn_id: str) -> None:
        """Remember a commit, and forget the oldest where there are too many."""
        self._ids[session, turn_id] = None
        while len(self._ids) > self._size:
            self._ids.popitem(last=False)

    def take(self, session: str, turn_id: str) -> bool:
        """Whether this turn was committed already."""
        return self._ids.pop((session, turn_id), 0) is None


def known_calls(messages: Sequence[BaseMessage]) -> set[str]:
    """The ids of the tool calls in a history."""
    return {
        call["id"] or ""
        for message in messages
        if isinstance(message, AIMessage)
        for call in message.tool_calls
    }
