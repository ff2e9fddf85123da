"""Runs a compiled LangGraph graph in this process."""

from __future__ import annotations

import asyncio
from contextlib import aclosing, nullcontext
from typing import Any

from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import merge_configs

from .graph_events import STREAM_MODES, GraphEvents
from .speakable import Speakable
from .stream import Run, Turn
from .thread import Start, Thread
from .turn import COMMITTED_KEY


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
            events = GraphEvents(run, self.speakable, self._thread.interrupted)
            try:
                async with aclosing(
                    self._graph.astream(
                        start.input,
                        self._config_of(run, start, events),
                        context=self._context,
                        stream_mode=STREAM_MODES,
                        version="v2",
                        subgraphs=True,
                    )
                ) as stream:
                    async for part in stream:
                        run.alive()
                        events.take(part)
            except asyncio.CancelledError:
                if run.answer.calls_under_way and self._thread.keeps_state:
                    repair = asyncio.get_running_loop().create_task(self._thread.repair())
                    self._repairs.add(repair)
                    repair.add_done_callback(self._repairs.discard)
                raise
            finally:
                run.usage = events.usage
                self._model = events.model or self._model
        events.finish()

    async def _start(self, turn: Turn) -> Start:
        if turn.tools_ran and self._thread.keeps_state:
            return Start(None)
        if turn.attempt and self._resumed is not None and self._resumed[0] == turn.id:
            return self._resumed[1]
        history = [message.to_langchain() for message in turn.history]
        start = await self._thread.start(history, turn.committed)
        self._resumed = (turn.id, start) if start.resumes else None
        return start

    def _config_of(self, run: Run, start: Start, events: GraphEvents) -> RunnableConfig:
        turn = run.turn
        configurable: dict[str, Any] = {
            "thread_id": self._thread_id,
            "tools": turn.tools,
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
        return merge_configs(self._config, {"configurable": configurable, "callbacks": [events]})
