"""Runs turns of one session on a compiled LangGraph graph, and tells what happens as events."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import merge_configs
from langgraph.errors import GraphRecursionError

from .composer import Composer
from .events import End, VoiceEvent
from .failures import chain, failure_of
from .graph_events import STREAM_MODES, GraphEvents
from .silence import cause_of_silence, too_many_steps
from .speakable import Speakable
from .thread import Start, Thread
from .turn import COMMITTED_KEY, TurnRequest

MAX_STEPS = 40
"""Steps of a graph in one turn, unless it or the caller says otherwise: a dozen rounds of a model
and its tools. LangGraph's and LangChain's own limits are some ten thousand."""

NO_ANSWER = "Sorry, I have no answer to that. Could you say it another way?"
"""Said where a graph ended without a word."""

_UNLIMITED_STEPS = 1000
"""From here on, a limit is one that nobody chose: LangChain's agents bring 9,999."""
_LOCK_PATIENCE_S = 2.0
"""How long a turn waits for the one before it, which may hang in a tool's thread."""


class GraphSpeech:
    """One session of a graph.

    Args:
        graph: A compiled LangGraph graph whose state has `messages`.
        thread_id: The session's thread in the graph's checkpointer.
        speakable_nodes: See `Speakable`.
        config: The base of every run's config.
        context: The graph's runtime context, if it has a context schema.
        no_answer: What is said where a turn brings no answer; if None, nothing is, and a graph
            that goes round in circles has failed.
        durability: LangGraph's: when checkpoints are written.
        is_new: Nothing can be in the thread yet.
    """

    def __init__(
        self,
        graph: Any,
        *,
        thread_id: str,
        speakable_nodes: Collection[str] | None = None,
        config: RunnableConfig | None = None,
        context: Any = None,
        no_answer: str | None = NO_ANSWER,
        durability: Any = None,
        is_new: bool = False,
    ) -> None:
        self._graph = graph
        self.speakable = Speakable(speakable_nodes, graph)
        self._config = config
        self._context = context
        self.no_answer = no_answer
        """For the turns from now on; see above."""
        self._durability = durability
        self._thread_id = thread_id
        self._thread = Thread(graph, thread_id, is_new=is_new)
        self._model = ""
        self._starts_thinking = False
        self._resumed: tuple[str, Start] | None = None
        """The turn that answered an interrupt, and how: a retry answers the same again."""
        self._repairs: set[asyncio.Task[None]] = set()

    @property
    def model(self) -> str:
        """The name that the model itself gave, before the first answer the graph's."""
        return self._model or getattr(self._graph, "name", None) or "LangGraph"

    @property
    def keeps_state(self) -> bool:
        """Whether the graph has a checkpointer, so that a failed run can go on where it failed."""
        return self._thread.keeps_state

    async def aclose(self) -> None:
        """Waits for what cancelled runs have left to do; the graph is its owner's."""
        if self._repairs:
            await asyncio.wait(self._repairs)

    async def run(
        self,
        turn: TurnRequest,
        tell: Callable[[VoiceEvent], None],
        *,
        alive: Callable[[], None] = lambda: None,
        room: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """Runs a turn to its end; cancel the task to break it off.

        Whatever fails is told, not raised. The last event is an `End`, unless the task is
        cancelled.

        Args:
            turn: What is asked.
            tell: Takes each event as it happens, on the event loop; it must not block.
            alive: Called at every sign of life, thinking included. It may raise `CancelledError`
                to end a run that swallowed its cancellation.
            room: Awaited where the graph may be held back until the events were taken.
        """
        composer = Composer(tell, starts_thinking=self._starts_thinking)
        events = GraphEvents(
            turn, composer, self.speakable, on_interrupt=self._thread.interrupted, alive=alive
        )
        reason: Any = "completed"
        try:
            async with self._turn_of_the_thread():
                await self._run(turn, events, room)
        except asyncio.CancelledError:
            if composer.calls_under_way and self._thread.keeps_state:
                repair = asyncio.get_running_loop().create_task(self._thread.repair())
                self._repairs.add(repair)
                repair.add_done_callback(self._repairs.discard)
            raise
        except Exception as e:
            composer.end_all()
            cause = self._cause_of_silence_in(e)
            if cause and self.no_answer is not None:
                composer.excuse(self.no_answer, cause)
            else:
                tell(failure_of(e))
                reason = "failed"
        else:
            if composer.opener_was_missing is not None:
                self._starts_thinking = composer.opener_was_missing
            silent = events.last is not None and events.last.abnormal
            if not composer.handed_over and (not composer.length or silent) and self.no_answer:
                composer.excuse(self.no_answer, cause_of_silence(events.last))
            if events.asked:
                reason = "interrupted"
        if reason != "failed":
            tell(replace(events.usage, model=events.model))
        tell(End(reason))

    @contextlib.asynccontextmanager
    async def _turn_of_the_thread(self) -> AsyncIterator[None]:
        """Holds the thread, where there is one: two runs at a time would mix in it."""
        if not self._thread.keeps_state:
            yield
            return
        held = False
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LOCK_PATIENCE_S):
                held = await self._thread.lock.acquire()
        try:
            yield
        finally:
            if held:
                self._thread.lock.release()

    async def _run(
        self,
        turn: TurnRequest,
        events: GraphEvents,
        room: Callable[[], Awaitable[None]] | None,
    ) -> None:
        start = await self._start(turn)
        options: dict[str, Any] = {}
        if self._durability is not None and self._thread.keeps_state:
            options["durability"] = self._durability
        try:
            async with aclosing(
                self._graph.astream(
                    start.input,
                    self._config_of(turn, start, events),
                    context=self._context,
                    stream_mode=STREAM_MODES,
                    version="v2",
                    subgraphs=True,
                    **options,
                )
            ) as stream:
                async for part in stream:
                    events.take(part)
                    if room is not None:
                        await room()
        finally:
            self._model = events.model or self._model
        events.finish()

    async def _start(self, turn: TurnRequest) -> Start:
        if turn.goes_on and self._thread.keeps_state:
            return Start(None)
        if turn.attempt and self._resumed is not None and self._resumed[0] == turn.id:
            return self._resumed[1]
        start = await self._thread.start(turn)
        self._resumed = (turn.id, start) if start.resumes else None
        return start

    def _cause_of_silence_in(self, fault: Exception) -> str:
        """Why there is no answer, if that is what `fault` says; empty for a failure."""
        for error in chain(fault):
            if isinstance(error, GraphRecursionError):
                return too_many_steps(self._max_steps())
            if type(error).__name__ == "EmptyAnswerError":
                # a chat model that looks at its own answers has found the cause already
                return str(error)
        return ""

    def _max_steps(self) -> int:
        for config in (self._config, getattr(self._graph, "config", None)):
            limit = (config or {}).get("recursion_limit")
            if isinstance(limit, int) and limit < _UNLIMITED_STEPS:
                return limit
        return MAX_STEPS

    def _config_of(self, turn: TurnRequest, start: Start, events: GraphEvents) -> RunnableConfig:
        configurable: dict[str, Any] = {
            "thread_id": self._thread_id,
            "tools": list(turn.tools),
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
        own: RunnableConfig = {
            "configurable": configurable,
            "callbacks": [events],
            "recursion_limit": self._max_steps(),
        }
        return merge_configs(self._config, own)
