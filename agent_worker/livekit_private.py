"""Every private name of LiveKit's packages that the worker leans on, and what is lost without it.

A release may rename any of them. Then the worker still starts and its calls are still served: what
leaned on the name is left out, and says so once in the log. `tests/test_livekit_private.py` names
each of them, and `.ci/newest` runs that against what was released last.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import logging
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

import aiohttp
from livekit.agents import AgentServer
from livekit.agents.voice import SpeechHandle

logger = logging.getLogger(__name__)

_T = TypeVar("_T")
_NATIVE = "livekit.rtc._ffi_client"


class _Absent(Generic[_T]):
    """Stands where a class was, for those that are derived from it; never made."""


def _found(module: str, name: str, otherwise: Any = None) -> Any:
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError):
        return otherwise


if TYPE_CHECKING:
    from livekit.rtc._ffi_client import FfiQueue as FfiQueue
    from livekit.rtc._utils import Queue as Queue
else:
    FfiQueue = _found(_NATIVE, "FfiQueue", _Absent)
    """The subscribers to the native library's events."""
    Queue = _found("livekit.rtc._utils", "Queue", asyncio.Queue)
    """The events that wait for one of them."""


def event_queue() -> FfiQueue[Any] | None:
    """The queue that brings the native library's events to this process, where it is as known.

    `FfiClient.instance`, its `_queue`, and `_subscribers`, `_lock`, `subscribe` and `put` of that:
    without them every event wakes every call of the process, and many calls at once cost more.
    """
    client = _client()
    queue = getattr(client, "_queue", None)
    known = (
        _found(_NATIVE, "FfiQueue") is not None
        and isinstance(queue, FfiQueue)
        and isinstance(getattr(queue, "_subscribers", None), list)
        and hasattr(queue, "_lock")
        and _parameters(queue, "subscribe") == ["loop", "filter_fn"]
        and _parameters(queue, "put") == ["item"]
        and _parameters(Queue, "wait_for") == ["self", "fnc"]
        and _found(_NATIVE, "FfiHandle") is not None
    )
    return cast("FfiQueue[Any]", queue) if known else None


def subscribers(queue: FfiQueue[Any]) -> list[Any]:
    """Who is subscribed: queue, event loop, and what filters its events, or None."""
    return list(queue._subscribers)


def replace_event_queue(queue: FfiQueue[Any]) -> None:
    """Has a queue of ours bring the events from now on."""
    _client()._queue = queue


def let_go(handle: int) -> None:
    """Gives up what the native library keeps for us, by `FfiHandle` and its `dispose`."""
    owned = _found(_NATIVE, "FfiHandle")
    if owned is not None:
        owned(handle).dispose()


def speech_of_this_task() -> SpeechHandle | None:
    """The speech that this task makes; None outside a session.

    `_SpeechHandleContextVar`: nothing else tells which answer a task writes, or whether it is a
    guess that will be thrown away. Without it, a WebSocket's client is told the words as they go to
    the voice, not as the model writes them.
    """
    variable = _found("livekit.agents.voice.agent_activity", "_SpeechHandleContextVar")
    return None if variable is None else cast("SpeechHandle | None", variable.get(None))


def http_session_of(server: AgentServer) -> aiohttp.ClientSession | None:
    """Over which a worker that has started reaches its server.

    `AgentServer._http_session`: without it, a worker whose server was away for a moment registers
    again at LiveKit's own pace, after up to ten seconds.
    """
    session = getattr(server, "_http_session", None)
    return session if isinstance(session, aiohttp.ClientSession) else None


def put_http_session(server: AgentServer, session: Any) -> None:
    """Has the worker reach its server over another one."""
    server._http_session = session


def _client() -> Any:
    return getattr(_found(_NATIVE, "FfiClient"), "instance", None)


def _parameters(of: Any, name: str) -> list[str]:
    method = getattr(of, name, None)
    return list(inspect.signature(method).parameters) if callable(method) else []
