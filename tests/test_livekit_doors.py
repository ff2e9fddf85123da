"""LiveKit's insides lie behind one door for each package of ours, and are there; see `.ci/newest`.

Two kinds of private names are used. Those that LiveKit's own plugins derive from are
`PLUGIN_INTERFACE`: there is no public way. All others are named in a module `livekit_private`, with
what is lost without them.
"""

from __future__ import annotations

import ast
import asyncio
import importlib
import inspect
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from livekit.agents import AgentServer, APIConnectOptions
from livekit.agents.voice import SpeechHandle
from livekit.agents.voice.agent_activity import _SpeechHandleContextVar
from livekit.rtc._ffi_client import FfiClient, FfiHandle, FfiQueue
from livekit.rtc._utils import Queue

from agent_worker import livekit_private
from local_tts import livekit_private as door_of_voices
from tests.own_code import ROOT, dotted, files

DOOR = "livekit_private.py"

PLUGIN_INTERFACE = {
    "_FlushSentinel",
    "_conn_options",
    "_event_ch",
    "_input_ch",
    "_input_text",
    "_llm",
    "_mark_started",
    "_prewarm_impl",
    "_pushed_text",
    "_recognize_impl",
    "_run",
    "_set_token_usage",
    "_synthesize_with_stream",
    "_update_session_keyterms",
}
"""What a class of LiveKit leaves to those that are derived from it, in its own plugins too."""
BEHIND_THE_DOOR = {
    # derived from what a door gives
    ("agent_worker.call.native_events", "_lock"),
}


def _module(path: Path) -> str:
    return dotted(path).removesuffix(".__init__")


def _is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def _defined(path: Path) -> set[str]:
    """Names that a file gives to what is its own."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                names.add(name)
            case ast.Attribute(value=ast.Name(id="self"), attr=name, ctx=ast.Store()):
                names.add(name)
    return names


@pytest.mark.parametrize("path", list(files()), ids=_module)
def test_nobody_but_a_door_reaches_into_another_package(path: Path) -> None:
    if path.name == DOOR:
        return
    # the files of one plugin may know each other
    near = path.parent.glob("*.py") if "plugins" in path.parts else [path]
    own = set().union(*(_defined(file) for file in near))
    wrong = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.ImportFrom(module=str(module), names=names) if module.startswith("livekit"):
                parts = [*module.split("."), *(alias.name for alias in names)]
                wrong += [f"{node.lineno}: {part}" for part in parts if _is_private(part)]
            # of the standard library: a process's end, the name of a type
            case ast.Attribute(value=ast.Name(id="self" | "cls" | "os" | "hashlib")):
                pass
            case ast.Attribute(attr=name) if _is_private(name) and name not in own:
                wrong.append(f"{node.lineno}: {name}")
    assert not wrong, path


def _privates(cls: type) -> set[str]:
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(cls)))
    except (OSError, TypeError):
        return set()
    names = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "self"
    }
    names |= {
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
    }
    return {name for name in names if _is_private(name)}


def _is_ours(cls: type) -> bool:
    source = inspect.getsourcefile(cls) if cls.__module__ != "builtins" else None
    return source is not None and Path(source).is_relative_to(ROOT) and ".venv" not in source


def test_what_our_classes_take_from_livekits_is_what_its_own_plugins_take() -> None:
    seen = set()
    for path in files():
        if path.name in {DOOR, "__main__.py"} or "_process" in path.parent.name:
            continue
        module: Any = importlib.import_module(_module(path))
        for cls in vars(module).values():
            if not inspect.isclass(cls) or cls.__module__ != module.__name__:
                continue
            bases = [b for b in cls.__mro__ if b.__module__.startswith("livekit.")]
            theirs = set().union(*(_privates(b) for b in bases if not _is_ours(b)))
            taken = {(module.__name__, name) for name in _privates(cls) & theirs}
            seen |= taken - BEHIND_THE_DOOR
    assert {name for _, name in seen} <= PLUGIN_INTERFACE, sorted(seen)


async def test_speech_handle_context_var_has_the_speech_of_this_task() -> None:
    assert livekit_private.speech_of_this_task() is None
    speech = SpeechHandle.create()
    token = _SpeechHandleContextVar.set(speech)
    try:
        assert livekit_private.speech_of_this_task() is speech
    finally:
        _SpeechHandleContextVar.reset(token)


def test_the_native_clients_queue_is_as_it_is_known() -> None:
    assert livekit_private.FfiQueue is FfiQueue
    assert livekit_private.Queue is Queue
    assert livekit_private.event_queue() is FfiClient.instance._queue


async def test_who_is_subscribed_can_be_taken_over() -> None:
    events: FfiQueue[Any] = FfiQueue()
    queue = events.subscribe(filter_fn=bool)
    assert livekit_private.subscribers(events) == [(queue, asyncio.get_running_loop(), bool)]


def test_a_queue_of_ours_takes_the_place_of_livekits() -> None:
    client = FfiClient.instance
    before = client._queue
    fresh: FfiQueue[Any] = FfiQueue()
    try:
        livekit_private.replace_event_queue(fresh)
        assert client.queue is fresh
    finally:
        client._queue = before


def test_a_handle_is_disposed_of(monkeypatch: pytest.MonkeyPatch) -> None:
    disposed: list[int] = []

    def dispose(handle: FfiHandle) -> None:
        disposed.append(handle.handle)

    monkeypatch.setattr(FfiHandle, "dispose", dispose)
    livekit_private.let_go(7)
    # `dispose` is also what its end calls
    assert set(disposed) == {7}


async def test_a_workers_http_session_is_found_and_replaced() -> None:
    server = AgentServer()
    assert hasattr(server, "_http_session") or "_http_session" in inspect.getsource(AgentServer)
    assert livekit_private.http_session_of(server) is None
    async with aiohttp.ClientSession() as session:
        livekit_private.put_http_session(server, session)
        assert livekit_private.http_session_of(server) is session


def test_the_voices_wait_before_they_try_again_as_livekit_does() -> None:
    options = APIConnectOptions(max_retry=3, retry_interval=2.0)
    waits = [door_of_voices.pause_before_retry_s(options, attempt) for attempt in range(3)]
    assert waits == [options._interval_for_retry(attempt) for attempt in range(3)]


_RENAMED = """
import logging
import livekit.rtc._ffi_client as native
import livekit.rtc._utils as waiting
import livekit.agents.voice.agent_activity as activity
from livekit import rtc

native.FfiClient.instance
for module, name in (
    (native, "FfiQueue"),
    (native, "FfiHandle"),
    (waiting, "Queue"),
    (activity, "_SpeechHandleContextVar"),
):
    setattr(module, name + "OfTomorrow", getattr(module, name))
    delattr(module, name)

logging.basicConfig(format="%(levelname)s %(name)s %(message)s")
import agent_worker.worker
from agent_worker.call.native_events import address_events
from agent_worker.gateway.words import WordsTap
from agent_worker.livekit_private import let_go, speech_of_this_task

before = native.FfiClient.instance.queue
print("addressed:", address_events(), native.FfiClient.instance.queue is before)
let_go(7)
print("speech:", speech_of_this_task())
told = []
tap = WordsTap(told.append)
tap.begins()("a guess")
tap.say("What is said.")
print("told:", told)
"""


def test_a_release_that_renames_its_insides_still_lets_the_worker_start() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _RENAMED], capture_output=True, text=True, timeout=50, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "addressed: False True",
        "speech: None",
        "told: ['What is said.']",
    ]
    assert "WARNING agent_worker.call.native_events this release of livekit is unknown" in (
        done.stderr
    )
