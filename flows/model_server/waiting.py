"""A caller who waits for a model to be loaded, and the loading that goes on without them."""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import openai
from langgraph.config import get_stream_writer

from .habits import ServerMemory

logger = logging.getLogger("flows")

_FILLER_AFTER_S = 1.5
"""Longer than a warm model takes to its first word, shorter than a caller's patience."""
_FILLER_EVERY_S = 7.0
"""Under the ten seconds after which a voice side takes a silent graph for dead."""
_SIGN_EVERY_S = 2.0
_LOADING_S = 600.0
_LOADING_TRIES = 1200


class WaitingCaller:
    """Keeps a caller company through the graph's custom stream, until the model answers.

    Writes `{"type": "filler", "text"}`, which is heard, and `{"type": "waiting"}`, which only tells
    whoever runs the graph that it is alive. Outside a graph it does nothing.

    Args:
        fillers: What to say, one after the other; nothing if empty.
        cold: Whether the model may not be in memory; else only `is_waiting` makes it speak.
    """

    def __init__(self, fillers: tuple[str, ...], *, cold: bool) -> None:
        self._fillers = fillers
        self._cold = cold
        self._said = 0
        self._timers: list[asyncio.TimerHandle] = []
        self._write: Callable[[Any], None] | None = None

    def __enter__(self) -> Self:
        # KeyError and RuntimeError: outside of a graph's run.
        with contextlib.suppress(KeyError, RuntimeError):
            self._write = get_stream_writer()
        if self._write is not None and self._cold:
            self._start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        self.is_answered()

    def is_waiting(self) -> None:
        """The server has said that it takes its time."""
        if self._write is not None and not self._timers:
            self._start()

    def is_answered(self) -> None:
        """The first token has come, or none will."""
        while self._timers:
            self._timers.pop().cancel()

    def _start(self) -> None:
        self._timers = [_later(_FILLER_AFTER_S, self._fill), _later(_SIGN_EVERY_S, self._live)]

    def _fill(self) -> None:
        if self._write is not None and self._fillers:
            text = self._fillers[self._said % len(self._fillers)]
            self._said += 1
            self._write({"type": "filler", "text": text})
            self._timers[0] = _later(_FILLER_EVERY_S, self._fill)

    def _live(self) -> None:
        if self._write is not None:
            self._write({"type": "waiting"})
            self._timers[1] = _later(_SIGN_EVERY_S, self._live)


def _later(after_s: float, act: Callable[[], None]) -> asyncio.TimerHandle:
    return asyncio.get_running_loop().call_later(after_s, act)


class Loader:
    """Keeps a model's loading alive when the request that began it is given up.

    Ollama and others stop loading when nobody is connected any more: a caller who talks on would
    begin it anew with each sentence, and never get an answer.
    """

    def __init__(self) -> None:
        self._task: asyncio.Task[None] | None = None

    @property
    def is_loading(self) -> bool:
        """Whether a model is being loaded in the background."""
        return self._task is not None and not self._task.done()

    def start(
        self, client: openai.AsyncOpenAI, payload: dict[str, Any], memory: ServerMemory
    ) -> None:
        """Ask for one token of the same answer, and wait for it in the background."""
        if self.is_loading:
            return
        logger.info("the model is not in memory yet; it is loaded in the background")
        self._task = asyncio.get_running_loop().create_task(
            _load(client, payload, memory), name="load the model"
        )

    async def aclose(self) -> None:
        """Give up; safe to call twice."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])


async def _load(client: openai.AsyncOpenAI, payload: dict[str, Any], memory: ServerMemory) -> None:
    # The same prompt, so that the server has it in its cache when the caller asks again.
    left_out = ("stream", "stream_options", "max_tokens", "max_completion_tokens")
    body = {key: value for key, value in payload.items() if key not in left_out}
    loop = asyncio.get_running_loop()
    give_up_at = loop.time() + _LOADING_S
    for _ in range(_LOADING_TRIES):
        try:
            await client.chat.completions.create(**body, max_tokens=1, timeout=_LOADING_S)
            memory.answered()
        except openai.InternalServerError as e:
            # llama.cpp says "loading" instead of letting one wait.
            if e.status_code == 503 and loop.time() < give_up_at:
                await asyncio.sleep(0.5)
                continue
        except openai.APIError as e:
            logger.debug("the model can't be loaded", exc_info=e)
        return
