"""The stream of one chat call: time limits, fillers, errors and the apology, for both modes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from livekit.agents import APIConnectOptions, APIError, APITimeoutError, llm

from .answer import Answer
from .errors import to_api_error
from .history import Message
from .log import logger
from .turn import TurnCommitted

if TYPE_CHECKING:
    from .llm import LLM

_SETTLE_S = 1.0
"""How long a cancelled run may take to let go before the stream ends without it."""


@dataclass(frozen=True)
class SpeechOptions:
    """What a stream says of its own accord, and how long it waits."""

    fillers: Sequence[str]
    filler_delay_s: float
    apology: str | None
    idle_timeout_s: float | None
    """Seconds between two signs of life; None takes the call's own `timeout`."""
    tool_timeout_s: float | None
    """Seconds that tools may take, None without limit."""


@dataclass
class Turn:
    """What one chat call asks of the graph."""

    id: str
    history: list[Message]
    tools: list[dict[str, Any]]
    """LiveKit's function tools as OpenAI schemas."""
    tool_choice: Any
    parallel_tool_calls: bool | None
    committed: TurnCommitted | None
    configurable: dict[str, Any]
    """Further entries for the graph's `config["configurable"]`."""
    attempt: int = 0
    tools_ran: bool = False
    """An earlier attempt has run tools, which must not run twice."""

    @property
    def tool_names(self) -> frozenset[str]:
        """The names of LiveKit's function tools."""
        return frozenset(tool["function"]["name"] for tool in self.tools)


class Run:
    """One attempt at a turn: what a runner reports to."""

    def __init__(self, turn: Turn, answer: Answer) -> None:
        self.turn = turn
        self.answer = answer
        self.stopping = False
        self.usage: llm.CompletionUsage | None = None
        self._now = asyncio.get_running_loop().time
        self.alive_at = self._now()

    def alive(self) -> None:
        """The graph has shown a sign of life.

        Raises:
            CancelledError: The run was stopped, but somebody in between swallowed the
                cancellation (`asyncio.wait_for` on Python 3.11 does, in clients that use it).
        """
        if self.stopping:
            raise asyncio.CancelledError
        self.alive_at = self._now()


class Runner(Protocol):
    """Runs turns: a graph in this process, or a flow server."""

    @property
    def model(self) -> str:
        """The model's name, as far as it is known."""

    @property
    def can_continue(self) -> bool:
        """Whether a failed run can go on where it failed, without running tools again."""

    async def run(self, run: Run) -> None:
        """Runs the turn to its end and reports to `run.answer`; is cancelled on barge-in."""

    async def prewarm(self) -> None:
        """Opens connections ahead of the first turn."""

    async def aclose(self) -> None:
        """Lets go of everything."""


class ChatStream(llm.LLMStream):
    """One answer of the graph as LiveKit's chunks."""

    def __init__(
        self,
        model: LLM,
        runner: Runner,
        turn: Turn,
        options: SpeechOptions,
        *,
        chat_ctx: llm.ChatContext,
        tools: list[llm.Tool],
        conn_options: APIConnectOptions,
        apologise: bool,
    ) -> None:
        self._model = model
        self._runner = runner
        self._turn = turn
        self._options = options
        self._apologise = apologise and bool(options.apology)
        self._answer: Answer | None = None
        super().__init__(model, chat_ctx=chat_ctx, tools=tools, conn_options=conn_options)
        # A retry after something was spoken would say it twice.
        self._retry_on_chunk_sent = False

    async def _main_task(self) -> None:
        try:
            await super()._main_task()
        except APIError as error:
            if not self._apologise:
                raise
            logger.warning(
                "the model failed, an apology is spoken",
                extra={
                    "llm": self._llm.label,
                    "error_type": type(error).__name__,
                    "cause_type": type(error.__cause__).__name__,
                },
            )
            logger.debug("why the model failed", exc_info=error)
            assert self._answer is not None and self._options.apology
            self._answer.aside(self._options.apology, last=True)

    def _emit_error(self, api_error: Exception, recoverable: bool) -> None:
        # A session counts unrecoverable errors and closes at the fourth; one that the caller is
        # told of in words is overcome: the call goes on, and the next turn tries again.
        super()._emit_error(api_error, recoverable or self._apologise)

    async def _run(self) -> None:
        self._answer = Answer(
            self._event_ch.send_nowait,
            on_tool_began=self._start_filler_timer,
            starts_thinking=self._model._starts_thinking,
        )
        run = Run(self._turn, self._answer)
        try:
            await self._run_within_limits(run)
        except APIError as error:
            if run.answer.tools_ran:
                self._turn.tools_ran = True
                error.retryable = error.retryable and self._runner.can_continue
            raise
        finally:
            self._turn.attempt += 1
        self._finish(run)

    def _finish(self, run: Run) -> None:
        run.answer.end_all()
        if run.answer.opener_was_missing is not None:
            self._model._starts_thinking = run.answer.opener_was_missing
        if run.usage is not None:
            run.answer.used(run.usage)

    async def _run_within_limits(self, run: Run) -> None:
        loop = asyncio.get_running_loop()
        expired: asyncio.Future[str] = loop.create_future()
        # A task of its own: cancelled once, whatever happens to the task that waits for it.
        # LangGraph's clean-up does not survive a second cancellation.
        pump = loop.create_task(self._runner.run(run), name="langgraph.run")
        watch = _Watch(run, expired, self._conn_options.timeout, self._options)
        self._filler_timer: asyncio.TimerHandle | None = None
        try:
            await asyncio.wait((pump, expired), return_when=asyncio.FIRST_COMPLETED)
        finally:
            watch.stop()
            self._stop_filler_timer()
            run.stopping = True
            if not pump.done():
                pump.cancel()
                await self._settle(pump)
        if expired.done():
            if pump.done() and not pump.cancelled():
                pump.exception()
            raise APITimeoutError(expired.result())
        if pump.cancelled():
            raise APIError("the graph cancelled itself", retryable=False)
        if (error := pump.exception()) is not None:
            api_error = to_api_error(error)
            raise api_error from (None if api_error is error else error)

    async def _settle(self, pump: asyncio.Task[None]) -> None:
        """Waits for the cancelled pump, through further cancellations."""
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + _SETTLE_S
        cancelled: asyncio.CancelledError | None = None
        while not pump.done() and loop.time() < give_up_at:
            try:
                await asyncio.wait((pump,), timeout=give_up_at - loop.time())
            except asyncio.CancelledError as error:
                cancelled = error
        if not pump.done():
            logger.warning("a cancelled graph is still running", extra={"llm": self._llm.label})
            self._model._keep(pump)
        if cancelled is not None:
            raise cancelled

    def _start_filler_timer(self) -> None:
        self._stop_filler_timer()
        if self._options.fillers:
            assert self._answer is not None
            self._filler_timer = asyncio.get_running_loop().call_later(
                self._options.filler_delay_s, self._fill, self._answer, self._answer.pieces
            )

    def _stop_filler_timer(self) -> None:
        if self._filler_timer is not None:
            self._filler_timer.cancel()
            self._filler_timer = None

    def _fill(self, answer: Answer, pieces_before: int) -> None:
        if answer.calls_under_way and answer.pieces == pieces_before:
            answer.aside(self._model._next_filler(self._options.fillers))


class _Watch:
    """Looks after the time limits of a run with one timer, not one per token."""

    def __init__(
        self,
        run: Run,
        expired: asyncio.Future[str],
        timeout_s: float,
        options: SpeechOptions,
    ) -> None:
        self._run = run
        self._expired = expired
        self._first_s = timeout_s
        self._idle_s = timeout_s if options.idle_timeout_s is None else options.idle_timeout_s
        self._tool_s = options.tool_timeout_s
        self._started_at = run.alive_at
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(min(self._first_s, self._idle_s), self._look)

    def stop(self) -> None:
        self._timer.cancel()

    def _look(self) -> None:
        if self._expired.done():
            return
        first = self._run.alive_at == self._started_at
        limit: float | None = self._first_s if first else self._idle_s
        if self._run.answer.calls_under_way:
            limit = self._tool_s
        left = 1.0 if limit is None else self._run.alive_at + limit - self._loop.time()
        if left > 0:
            self._timer = self._loop.call_later(min(left, self._idle_s), self._look)
        elif self._run.answer.calls_under_way:
            self._expired.set_result(f"a tool took longer than {limit} s")
        elif first:
            self._expired.set_result(f"the graph gave no sign of life within {limit} s")
        else:
            self._expired.set_result(f"the graph fell silent for {limit} s")
