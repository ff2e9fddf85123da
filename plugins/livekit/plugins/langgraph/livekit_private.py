"""Every private name of livekit-agents that this plugin leans on, and what breaks without it.

A release may rename any of them. Then the plugin still loads and its turns are still answered: what
leaned on the name is done as well as it can be without. `tests/test_livekit_private.py` names each
of them, so that a version that lacks one fails there and not in a call.
"""

from __future__ import annotations

import asyncio
import functools
import importlib
from typing import Any, cast

from livekit.agents import APIConnectOptions, APIError, llm
from livekit.agents.voice import SpeechHandle

from .log import logger

_ACTIVITY = "livekit.agents.voice.agent_activity"
_POLL_S = 0.02


@functools.cache
def _found(name: str, lost: str) -> Any:
    """A name of LiveKit's activity; None where it is not there, which is said once."""
    try:
        return getattr(importlib.import_module(_ACTIVITY), name)
    except (ImportError, AttributeError):
        logger.warning("livekit-agents has no %s: %s", name, lost)
        return None


def speech_of_this_call() -> SpeechHandle | None:
    """The speech that this task makes; None outside a session.

    `_SpeechHandleContextVar`: LiveKit starts a reply before the turn is over (preemptive
    generation) and tells the LLM nothing of it. Without it, every turn counts as committed, and
    tools with side effects run on guesses.
    """
    variable = _found("_SpeechHandleContextVar", "every turn counts as final from its beginning")
    return None if variable is None else cast("SpeechHandle | None", variable.get(None))


async def wait_for_scheduled(speech: SpeechHandle) -> None:
    """Returns once the session has decided to say `speech`.

    `SpeechHandle._wait_for_scheduled`: without it, a gated tool polls `speech.scheduled`.
    """
    wait = getattr(speech, "_wait_for_scheduled", None)
    if wait is not None:
        await wait()
        return
    while not speech.scheduled:
        await asyncio.sleep(_POLL_S)


def asked_by_session(model: llm.LLM[Any]) -> bool:
    """Whether a session's turn runs in this task, and `model` is the LLM that the session asks.

    `_AgentActivityContextVar`: without it, an apology is spoken inside a `FallbackAdapter` too,
    where the next LLM is to answer instead.
    """
    variable = _found("_AgentActivityContextVar", "an apology also comes inside a FallbackAdapter")
    if variable is None:
        return True
    activity = variable.get(None)
    return activity is not None and activity.llm is model


def pause_before_retry_s(options: APIConnectOptions, attempt: int) -> float:
    """Seconds that LiveKit itself waits after that many attempts.

    `APIConnectOptions._interval_for_retry`: without it, a server that asks to be left alone is
    left alone for longer than it asks.
    """
    interval = getattr(options, "_interval_for_retry", None)
    return options.retry_interval if interval is None else float(interval(attempt))


class OvercomingStream(llm.LLMStream):
    """An `LLMStream` that can put an end of its own in place of an error.

    `_main_task` tries `_run` again and again and raises what is left; `_emit_error` tells the
    session, which counts the unrecoverable ones and closes at the fourth. Without the first, a
    caller hears nothing when the model is down; without the second, four such turns end the call.
    `_retry_on_chunk_sent`: without it, a retry after something was spoken says it twice.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._retry_on_chunk_sent = False

    def _overcomes(self) -> bool:
        """Whether an error that is left after all retries is overcome."""
        return False

    def _overcome(self, error: APIError) -> None:
        """Ends the stream well in spite of `error`."""

    async def _main_task(self) -> None:
        try:
            await super()._main_task()
        except APIError as e:
            if not self._overcomes():
                raise
            self._overcome(e)

    def _emit_error(self, api_error: Exception, recoverable: bool) -> None:
        super()._emit_error(api_error, recoverable or self._overcomes())
