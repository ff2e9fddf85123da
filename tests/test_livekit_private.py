"""LiveKit's private names that the LangGraph plugin leans on, each as it is leant on.

When a new version of livekit-agents lacks one, the test of that name fails, and
`livekit.plugins.langgraph.livekit_private` tells what breaks. Those of the worker are in
`test_livekit_doors`.
"""

from __future__ import annotations

import asyncio
import inspect
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

from livekit.agents import APIConnectOptions, APIError, llm
from livekit.agents.voice import SpeechHandle
from livekit.agents.voice.agent_activity import _AgentActivityContextVar, _SpeechHandleContextVar

from livekit.plugins.langgraph import livekit_private
from tests.graph_llm import said_by_user


async def test_speech_handle_context_var_has_the_speech_of_this_task() -> None:
    assert livekit_private.speech_of_this_call() is None
    speech = SpeechHandle.create()
    token = _SpeechHandleContextVar.set(speech)
    try:
        assert livekit_private.speech_of_this_call() is speech
    finally:
        _SpeechHandleContextVar.reset(token)


async def test_wait_for_scheduled_returns_once_the_speech_is_scheduled() -> None:
    speech = SpeechHandle.create()
    waiting = asyncio.create_task(livekit_private.wait_for_scheduled(speech))
    await asyncio.sleep(0)
    assert not waiting.done()
    speech._mark_scheduled()
    await waiting


def test_agent_activity_context_var_has_the_llm_that_the_session_asks() -> None:
    model = object()
    assert not livekit_private.asked_by_session(model)  # type: ignore[arg-type]
    token = _AgentActivityContextVar.set(SimpleNamespace(llm=model))  # type: ignore[arg-type]
    try:
        assert livekit_private.asked_by_session(model)  # type: ignore[arg-type]
        assert not livekit_private.asked_by_session(object())  # type: ignore[arg-type]
    finally:
        _AgentActivityContextVar.reset(token)


def test_interval_for_retry_is_what_livekit_waits() -> None:
    options = APIConnectOptions(max_retry=3, retry_interval=2.0)
    assert livekit_private.pause_before_retry_s(options, 1) == 2.0


class Failing(llm.LLM[str]):
    """Fails every time; its streams overcome it."""

    def chat(self, *, chat_ctx: llm.ChatContext, **_: object) -> llm.LLMStream:
        options = APIConnectOptions(max_retry=1, retry_interval=0.0)
        return Overcoming(self, chat_ctx=chat_ctx, tools=[], conn_options=options)


class Overcoming(livekit_private.OvercomingStream):
    says_first = False
    attempts = 0

    async def _run(self) -> None:
        self.attempts += 1
        if self.says_first:
            self._say("half")
        raise APIError("down")

    def _say(self, text: str) -> None:
        delta = llm.ChoiceDelta(role="assistant", content=text)
        self._event_ch.send_nowait(llm.ChatChunk(id="c", delta=delta))

    def _overcomes(self) -> bool:
        return True

    def _overcome(self, error: APIError) -> None:
        self._say("sorry")


async def test_main_task_is_where_all_retries_end_and_emit_error_is_what_a_session_counts() -> None:
    errors: list[llm.LLMError] = []
    model = Failing()
    model.on("error", errors.append)
    async with model.chat(chat_ctx=said_by_user("Hi.")) as stream:
        said = [chunk.delta.content async for chunk in stream if chunk.delta]
    assert said == ["sorry"]
    assert isinstance(stream, Overcoming)
    assert stream.attempts == 2
    # none of them counts towards the four at which a session closes
    assert [error.recoverable for error in errors] == [True, True]


async def test_retry_on_chunk_sent_keeps_what_was_said_from_being_said_again() -> None:
    class Talking(Overcoming):
        says_first = True

    options = APIConnectOptions(max_retry=3, retry_interval=0.0)
    context = said_by_user("Hi.")
    async with Talking(Failing(), chat_ctx=context, tools=[], conn_options=options) as stream:
        said = [chunk.delta.content async for chunk in stream if chunk.delta]
    assert said == ["half", "sorry"]
    assert isinstance(stream, Talking)
    assert stream.attempts == 1


def test_the_streams_hooks_are_still_hooks() -> None:
    for name in ("_main_task", "_emit_error", "_run"):
        assert inspect.isfunction(getattr(llm.LLMStream, name))


_RENAMED = """
import asyncio
import livekit.agents.voice.agent_activity as activity
from livekit.agents import APIConnectOptions
from livekit.agents.voice import SpeechHandle

for owner, name in (
    (activity, "_AgentActivityContextVar"),
    (activity, "_SpeechHandleContextVar"),
    (SpeechHandle, "_wait_for_scheduled"),
    (APIConnectOptions, "_interval_for_retry"),
):
    setattr(owner, name + "_of_tomorrow", getattr(owner, name))
    delattr(owner, name)

from langchain_core.messages import AIMessage
from langgraph.graph import START, MessagesState, StateGraph
from livekit.plugins import langgraph
from livekit.plugins.langgraph import livekit_private as door
from tests.graph_llm import said_by_user

graph = StateGraph(MessagesState)
graph.add_node("answer", lambda state: {"messages": [AIMessage("Here I am.")]})
graph.add_edge(START, "answer")

async def main():
    async with langgraph.LLM(graph.compile()) as model:
        async with model.chat(chat_ctx=said_by_user("Hi.")) as stream:
            print("".join([c.delta.content or "" async for c in stream if c.delta]))
    speech = SpeechHandle.create()
    waiting = asyncio.create_task(door.wait_for_scheduled(speech))
    await asyncio.sleep(0)
    print("waits:", not waiting.done())
    speech._mark_scheduled()
    await waiting
    print("speech:", door.speech_of_this_call(), door.speech_of_this_call())
    options = APIConnectOptions(max_retry=3, retry_interval=2.0)
    print("pause:", door.pause_before_retry_s(options, 1))

asyncio.run(main())
"""


def test_a_release_that_renames_its_insides_still_answers_turns() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _RENAMED],
        capture_output=True,
        text=True,
        timeout=50,
        cwd=Path(__file__).parents[1],
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "Here I am.",
        "waits: True",
        "speech: None None",
        "pause: 2.0",
    ]
    # once each
    assert done.stderr.count("livekit-agents has no _SpeechHandleContextVar") == 1
    assert done.stderr.count("livekit-agents has no _AgentActivityContextVar") == 1
