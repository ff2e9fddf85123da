"""The LangGraph plugin in a test: a graph on a scripted model, in this process or remote."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass
from typing import Any, Literal

from livekit.agents import APIConnectOptions, llm

from flows.flow import Flow
from flows.model import ModelOptions, ServerKind, VoiceChatModel, chat_model
from livekit.plugins.langgraph import LLM, SpeechBreak
from tests.fake_openai_server import FakeOpenAIServer, Reply
from tests.flow_server import flow_server

Mode = Literal["in_process", "remote"]
NO_RETRY = APIConnectOptions(max_retry=0, timeout=5.0)


@contextlib.asynccontextmanager
async def scripted_model(
    *replies: Reply, **options: Any
) -> AsyncIterator[tuple[FakeOpenAIServer, VoiceChatModel]]:
    """A scripted server and the real client of it."""
    async with FakeOpenAIServer(*replies, **options) as server:
        model = chat_model(ModelOptions(server.base_url, server.model, kind=ServerKind.VLLM))
        try:
            yield server, model
        finally:
            await model.aclose()


@contextlib.asynccontextmanager
async def graph_llm(
    mode: Mode, graph: Any, speakable_nodes: Collection[str], **options: Any
) -> AsyncIterator[LLM]:
    """The plugin on `graph`, in this process or behind a real flow server."""
    async with contextlib.AsyncExitStack() as stack:
        if mode == "in_process":
            model = LLM(graph, speakable_nodes=speakable_nodes, **options)
        else:
            flow = Flow("flow", "a flow", graph, tuple(speakable_nodes))
            url = await stack.enter_async_context(flow_server([flow]))
            model = LLM.remote(url, "flow", **options)
        await stack.enter_async_context(model)
        yield model


def said_by_user(*texts: str) -> llm.ChatContext:
    """A conversation in which only the user has spoken."""
    context = llm.ChatContext()
    for text in texts:
        context.add_message(role="user", content=text)
    return context


@dataclass
class Completion:
    """All of one completion."""

    chunks: list[Any]

    @property
    def text(self) -> str:
        return "".join(c.delta.content for c in self.chunks if c.delta and c.delta.content)

    @property
    def usage(self) -> llm.CompletionUsage | None:
        return next((c.usage for c in reversed(self.chunks) if c.usage), None)

    @property
    def ids(self) -> set[str]:
        return {c.id for c in self.chunks}

    @property
    def calls(self) -> list[llm.FunctionToolCall]:
        return [call for c in self.chunks if c.delta for call in c.delta.tool_calls]

    @property
    def segments(self) -> list[str]:
        """The text between the places where all that was said is to be spoken at once."""
        segments = [""]
        for chunk in self.chunks:
            if isinstance(chunk, SpeechBreak):
                segments.append("")
            elif chunk.delta and chunk.delta.content:
                segments[-1] += chunk.delta.content
        return segments


async def complete(
    model: llm.LLM[Any],
    context: llm.ChatContext | str,
    conn_options: APIConnectOptions = NO_RETRY,
    **options: Any,
) -> Completion:
    """One chat call to its end."""
    if isinstance(context, str):
        context = said_by_user(context)
    async with model.chat(chat_ctx=context, conn_options=conn_options, **options) as stream:
        return Completion([chunk async for chunk in stream])
