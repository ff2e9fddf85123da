"""The sessions of the flow server: who talks with which flow, and until when."""

import asyncio
import contextlib
import logging
import math
from dataclasses import dataclass, field
from typing import Any

from langchain_core.messages import BaseMessage

from flows.flow import Flow
from flows.memory import Memory
from graph_speech.runner import NO_ANSWER, GraphSpeech
from graph_speech.turn import TurnRequest

from .faults import RequestRefusedError
from .turns import EarlyCommits, FillerOptions, Turn

logger = logging.getLogger("flows")

_CANCEL_PATIENCE_S = 2.0


@dataclass(frozen=True)
class TurnInput:
    """What a turn is made of, whichever way it came in."""

    turn_id: str
    messages: list[BaseMessage]
    replaces_history: bool = True
    """Whether `messages` are the whole conversation, or only what is new."""
    context: dict[str, Any] = field(default_factory=dict)
    client_tools: list[dict[str, Any]] = field(default_factory=list)
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    committed: bool = True
    filler: bool = True
    one_off: bool = False
    """Whether the session is over with this turn."""


@dataclass
class _Session:
    thread_id: str
    speech: GraphSpeech
    """Runs its turns, and knows what of them was never committed."""
    turn: Turn | None = None
    last_used: float = 0.0
    """Time of the event loop; 0 lets the next sweep take it."""
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def idle(self) -> bool:
        """Whether it may be ended."""
        return not (self.lock.locked() or (self.turn is not None and self.turn.running))


class Sessions:
    """All sessions. Use as `async with`, which ends them.

    Args:
        memory: Where their threads live.
        ttl_s: Seconds without a turn after which a session is over.
        limit: Sessions at once; for one more, that which was quiet longest is ended.
        filler: The phrase for slow tools; None for none.
        no_answer: What is said where a flow ends without a word.
    """

    def __init__(
        self,
        memory: Memory,
        *,
        ttl_s: float = 900.0,
        limit: int = 1000,
        filler: FillerOptions | None = None,
        no_answer: str = NO_ANSWER,
    ) -> None:
        self._memory = memory
        self._ttl_s = ttl_s
        self._limit = limit
        self._filler = filler
        self._no_answer = no_answer
        self._sessions: dict[str, _Session] = {}
        self._early_commits = EarlyCommits()
        self._sweeper: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._sessions)

    async def __aenter__(self) -> "Sessions":
        self._sweeper = asyncio.create_task(self._sweep(), name="session sweeper")
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._sweeper is not None:
            self._sweeper.cancel()
            await asyncio.wait([self._sweeper])
        turns = [session.turn for session in self._sessions.values() if session.turn is not None]
        for turn in turns:
            turn.cancel()
        for turn in turns:
            await turn.wait()
        for session in self._sessions.values():
            await session.speech.aclose()
            await self._memory.end_session(session.thread_id)
        self._sessions.clear()

    async def start(self, flow: Flow, session_id: str, request: TurnInput) -> Turn:
        """Start a turn; a turn that still runs in this session is cancelled first.

        Raises:
            RequestRefusedError: The flow can't run here, or all sessions are at work.
        """
        if flow.graph is None:
            raise RequestRefusedError(503, "flow_unavailable", flow.unavailable)
        thread_id = thread_of(flow.id, session_id)
        if thread_id not in self._sessions:
            await self._make_room()
        session = self._sessions.get(thread_id) or self._open(flow, thread_id)
        async with session.lock:
            # It may have been swept away while this turn waited.
            self._sessions[thread_id] = session
            session.last_used = 0.0 if request.one_off else asyncio.get_running_loop().time()
            await self._end_turn(session)
            turn = Turn(request.turn_id, flow.id, self._filler if request.filler else None)
            if request.committed or self._early_commits.take(thread_id, turn.id):
                turn.committed.set()
            turn.start(session.speech, _turn_request(request))
            session.turn = turn
            return turn

    def _open(self, flow: Flow, thread_id: str) -> _Session:
        speech = GraphSpeech(
            flow.graph,
            thread_id=thread_id,
            speakable_nodes=flow.speakable_nodes,
            no_answer=self._no_answer,
            durability="exit",
            # The database is only looked at for a session that this process does not know.
            is_new=not self._memory.keeps_conversations,
        )
        session = self._sessions[thread_id] = _Session(thread_id, speech)
        return session

    def commit(self, flow_id: str, session_id: str, turn_id: str) -> bool:
        """The caller's turn is final: release its tools. Returns whether the turn is running."""
        thread_id = thread_of(flow_id, session_id)
        session = self._sessions.get(thread_id)
        if session is not None and session.turn is not None and session.turn.id == turn_id:
            session.turn.committed.set()
            return session.turn.running
        self._early_commits.add(thread_id, turn_id)
        return False

    def cancel(self, flow_id: str, session_id: str, turn_id: str | None = None) -> bool:
        """Cancel the running turn, or only if it is `turn_id`. Returns whether one was running."""
        session = self._sessions.get(thread_of(flow_id, session_id))
        if session is None or session.turn is None:
            return False
        return turn_id in (None, session.turn.id) and session.turn.cancel()

    async def forget(self, flow_id: str, session_id: str) -> None:
        """End a session and delete what was kept of it."""
        thread_id = thread_of(flow_id, session_id)
        session = self._sessions.get(thread_id)
        if session is not None:
            async with session.lock:
                await self._end_turn(session)
                await session.speech.aclose()
                self._sessions.pop(thread_id, None)
        await self._memory.forget_session(thread_id)

    async def _end_turn(self, session: _Session) -> None:
        turn = session.turn
        if turn is None or not turn.running:
            return
        turn.cancel()
        # A tool in a thread can't be stopped; the caller does not wait for it.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CANCEL_PATIENCE_S):
                await turn.wait()

    async def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(min(self._ttl_s / 4, 30.0))
            for session in list(self._sessions.values()):
                idle_s = loop.time() - session.last_used if session.last_used else math.inf
                if session.idle and idle_s > self._ttl_s:
                    try:
                        await self._end(session)
                    except Exception:
                        # The next sweep must come, or the sessions pile up.
                        logger.exception("a session could not be ended")

    async def _make_room(self) -> None:
        while len(self._sessions) >= self._limit:
            idle = [session for session in self._sessions.values() if session.idle]
            if not idle:
                raise RequestRefusedError(
                    503, "busy", "Too many sessions are at work; try again in a while."
                )
            await self._end(min(idle, key=lambda session: session.last_used))

    async def _end(self, session: _Session) -> None:
        async with session.lock:
            if self._sessions.get(session.thread_id) is session:
                del self._sessions[session.thread_id]
                await session.speech.aclose()
                await self._memory.end_session(session.thread_id)


def thread_of(flow_id: str, session_id: str) -> str:
    """The thread id under which a graph knows a session."""
    return f"{flow_id}:{session_id}"


def _turn_request(request: TurnInput) -> TurnRequest:
    configurable: dict[str, Any] = {"context": request.context}
    caller_id = request.context.get("caller_id")
    if isinstance(caller_id, str) and caller_id:
        configurable["caller_id"] = caller_id
    return TurnRequest(
        request.turn_id,
        request.messages,
        replaces_history=request.replaces_history,
        tools=request.client_tools,
        tool_choice=request.tool_choice,
        parallel_tool_calls=request.parallel_tool_calls,
        configurable=configurable,
    )
