"""The stream of one chat call: time limits, fillers, errors and the apology, for both modes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from livekit.agents import APIConnectOptions, APIError, APIStatusError, APITimeoutError, llm

from graph_speech.events import Failure, VoiceEvent
from graph_speech.failures import failure_of
from graph_speech.filler import FillerTimer

from .answer import Answer
from .errors import to_api_error
from .history import Message
from .livekit_private import OvercomingStream, pause_before_retry_s
from .log import logger
from .turn import TurnCommitted

if TYPE_CHECKING:
    from .llm import LLM

_LONGEST_WAIT_S = 5.0
"""How long a server may ask to be left alone before the caller is told that there is no answer."""

_SETTLE_S = 1.0
"""How long a cancelled run may take to let go before the stream ends without it."""


@dataclass(frozen=True)
class SpeechOptions:
    """What a stream says of its own accord, and how long it waits."""

    fillers: Sequence[str]
    filler_delay_s: float
    apology: str | None
    no_answer: str | None
    """Said where a turn brings no answer; None says what the runner of the graph says."""
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


class Run:
    """One attempt at a turn: what a runner reports to."""

    def __init__(self, turn: Turn, answer: Answer, filler: FillerTimer) -> None:
        self.turn = turn
        self.answer = answer
        self.stopping = False
        self._filler = filler
        self._now = asyncio.get_running_loop().time
        self.alive_at = self._now()

    def tell(self, event: VoiceEvent) -> None:
        """Takes an event of the turn."""
        self._filler.take(event)
        self.answer.take(event)

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
        """Runs the turn to its end and tells it to `run`; is cancelled on barge-in."""

    async def prewarm(self) -> None:
        """Opens connections ahead of the first turn."""

    async def aclose(self) -> None:
        """Lets go of everything."""


class ChatStream(OvercomingStream):
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

    def _overcomes(self) -> bool:
        return self._apologise

    def _overcome(self, error: APIError) -> None:
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

    async def _run(self) -> None:
        answer = self._answer = Answer(
            self._event_ch.send_nowait, no_answer=self._options.no_answer
        )
        filler = FillerTimer(self._options.filler_delay_s, self._fill, self._turn.committed)
        run = Run(self._turn, answer, filler)
        try:
            await self._run_within_limits(run)
        except APIError as e:
            if answer.tools_ran:
                self._turn.tools_ran = True
                e.retryable = e.retryable and self._runner.can_continue
            if e.retryable and answer.failure is not None:
                await self._leave_alone(answer.failure, e)
            raise
        finally:
            filler.stop()
            self._turn.attempt += 1
        if answer.no_answer_because:
            logger.warning(
                "there was no answer, a sentence was spoken instead",
                extra={"llm": self._llm.label, "cause": answer.no_answer_because},
            )
        answer.finish()

    async def _leave_alone(self, failure: Failure, error: APIError) -> None:
        """Waits as long as a busy server asks for, or gives up where the caller would wait long."""
        attempt = self._turn.attempt
        interval_s = pause_before_retry_s(self._conn_options, attempt)
        wait_s = further_wait_s(failure, interval_s)
        if wait_s is None:
            error.retryable = False
        elif attempt < self._conn_options.max_retry:
            await asyncio.sleep(wait_s)

    async def _run_within_limits(self, run: Run) -> None:
        loop = asyncio.get_running_loop()
        expired: asyncio.Future[str] = loop.create_future()
        # A task of its own: cancelled once, whatever happens to the task that waits for it.
        # LangGraph's clean-up does not survive a second cancellation.
        pump = loop.create_task(self._runner.run(run), name="langgraph.run")
        watch = _Watch(run, expired, self._conn_options.timeout, self._options)
        try:
            await asyncio.wait((pump, expired), return_when=asyncio.FIRST_COMPLETED)
        finally:
            watch.stop()
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
            run.tell(failure_of(error))
        if (failure := run.answer.failure) is not None:
            api_error = to_api_error(failure)
            raise api_error from (None if api_error is failure.error else failure.error)
        if run.answer.end is not None and run.answer.end.reason == "cancelled":
            # Another turn of this session has taken over: nothing is wrong, nothing more comes.
            raise APIStatusError("the flow server cancelled the turn", status_code=499)

    async def _settle(self, pump: asyncio.Task[None]) -> None:
        """Waits for the cancelled pump, through further cancellations."""
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + _SETTLE_S
        cancelled: asyncio.CancelledError | None = None
        while not pump.done() and loop.time() < give_up_at:
            try:
                await asyncio.wait((pump,), timeout=give_up_at - loop.time())
            except asyncio.CancelledError as e:
                cancelled = e
        if not pump.done():
            logger.warning("a cancelled graph is still running", extra={"llm": self._llm.label})
            self._model._keep(pump)
        if cancelled is not None:
            raise cancelled

    def _fill(self) -> None:
        if self._answer is not None and self._options.fillers:
            self._answer.aside(self._model._next_filler(self._options.fillers))


def further_wait_s(failure: Failure, interval_s: float) -> float | None:
    """Seconds to wait before the next attempt, besides LiveKit's own; None to give up.

    Args:
        failure: Of the last attempt; it may tell how long the server asks to be left alone.
        interval_s: What LiveKit waits of its own accord.
    """
    asked_s = failure.retry_after_s or 0.0
    return None if asked_s > _LONGEST_WAIT_S else max(0.0, asked_s - interval_s)


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
