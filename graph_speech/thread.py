"""The checkpointed thread of one session: what a graph keeps besides the messages.

The client holds the messages, as heard; the thread keeps route, slots, persona and a pending
`interrupt()`. So each turn replaces the thread's messages, and what a discarded speculation did
to the thread is undone by going on from the checkpoint before it.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, RemoveMessage, ToolMessage
from langchain_core.runnables import RunnableConfig
from langgraph.graph.message import REMOVE_ALL_MESSAGES
from langgraph.types import Command, Overwrite

from .turn import TurnCommitted, TurnRequest

logger = logging.getLogger("graph_speech")

CANCELLED_OUTPUT = "Cancelled: the caller spoke before this had finished."
"""The output of a call that never got one, so that no call is left dangling."""


@dataclass(frozen=True)
class Start:
    """How to start a run on the thread."""

    input: Any
    """What the graph gets: messages, a `Command` that resumes it, or None to go on."""
    checkpoint_id: str | None = None
    """Where to go on from, None for the thread's newest state."""
    resumes: bool = False


class Thread:
    """One session's thread in a graph's checkpointer.

    Args:
        graph: The compiled graph; without a checkpointer nothing is kept, and every run starts
            from the messages alone.
        thread_id: The session's thread.
        is_new: Nothing can be in the thread yet, so the first turn has not to look.
    """

    def __init__(self, graph: Any, thread_id: str, *, is_new: bool = False) -> None:
        self._graph = graph
        self._config: RunnableConfig = {"configurable": {"thread_id": thread_id}}
        self._thread_id = thread_id
        self.lock = asyncio.Lock()
        """Held during a run: two runs at a time would mix in the thread."""
        self._speculation: tuple[TurnCommitted, str | None] | None = None
        self._maybe_interrupted = not is_new
        """A thread may come from an earlier process, so the first turn has to look."""

    @property
    def keeps_state(self) -> bool:
        """Whether the graph has a checkpointer."""
        return bool(getattr(self._graph, "checkpointer", None))

    async def start(self, turn: TurnRequest) -> Start:
        """Prepares the thread for a turn; the caller holds the lock."""
        messages = list(turn.messages)
        if not self.keeps_state:
            return Start({"messages": messages})
        committed = turn.speculative
        base = await self._undo_speculation()
        state = None
        if self._maybe_interrupted or committed is not None:
            state = await self._graph.aget_state(_at(self._config, base))
        interrupts = state.interrupts if state is not None else ()
        if interrupts and messages and isinstance(messages[-1], HumanMessage):
            if committed is not None:
                # An answer to a pending question can't be taken back: wait until it is final.
                await committed.wait()
            # It is answered once: if this run is broken off, what the caller says next is new.
            self._maybe_interrupted = False
            # Several may be pending: they were asked one at a time.
            answer = {interrupts[0].id: messages[-1].text}
            return Start(Command(resume=answer), base, resumes=True)
        self._maybe_interrupted = False
        if committed is not None and state is not None:
            head = state.config.get("configurable", {}).get("checkpoint_id")
            self._speculation = (committed, head)
        new = self._replace(messages) if turn.replaces_history else messages
        return Start({"messages": new}, base)

    def interrupted(self) -> None:
        """The run has ended in an `interrupt()`: the next turn answers it."""
        self._maybe_interrupted = True

    async def repair(self) -> None:
        """Gives tool calls that a cancelled run left without an output a cancelled one."""
        async with self.lock:
            try:
                state = await self._graph.aget_state(self._config)
                dangling = _dangling_calls(state.values.get("messages") or [])
                if dangling:
                    await self._graph.aupdate_state(
                        state.config,
                        {"messages": dangling},
                        as_node=state.next[0] if state.next else None,
                    )
            except Exception as e:
                # The next turn replaces the messages in any case.
                logger.debug("a cancelled run was not repaired", exc_info=e)

    async def _undo_speculation(self) -> str | None:
        """Forgets a speculation that was never committed; returns the checkpoint before it."""
        speculation, self._speculation = self._speculation, None
        if speculation is None or speculation[0].is_set():
            return None
        self._maybe_interrupted = True
        if speculation[1] is None:
            await self._graph.checkpointer.adelete_thread(self._thread_id)
        return speculation[1]

    def _replace(self, history: list[BaseMessage]) -> Any:
        """`history` as an update that replaces whatever messages the thread holds."""
        reducer = getattr(getattr(self._graph, "channels", {}).get("messages"), "operator", None)
        if reducer is None:
            return history
        if getattr(reducer, "__name__", "").endswith("add_messages"):
            return [RemoveMessage(REMOVE_ALL_MESSAGES), *history]
        return Overwrite(history)


def _at(config: RunnableConfig, checkpoint_id: str | None) -> RunnableConfig:
    if checkpoint_id is None:
        return config
    return {"configurable": {**config["configurable"], "checkpoint_id": checkpoint_id}}


def _dangling_calls(messages: list[BaseMessage]) -> list[ToolMessage]:
    answered = {m.tool_call_id for m in messages if isinstance(m, ToolMessage)}
    return [
        ToolMessage(CANCELLED_OUTPUT, tool_call_id=call["id"], name=call["name"], status="error")
        for message in messages
        if isinstance(message, AIMessage)
        for call in message.tool_calls
        if call["id"] not in answered
    ]
