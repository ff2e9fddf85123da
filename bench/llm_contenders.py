"""What the LLM benchmark compares: ways to get a model's tokens into a LiveKit agent."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, aclosing
from typing import Any

import httpx
from langgraph.graph import START, MessagesState, StateGraph
from livekit.agents import APIConnectOptions, llm
from livekit.plugins.langchain import LLMAdapter

from flows.model import ModelOptions, ServerKind, VoiceChatModel, chat_model
from livekit.plugins.langgraph import LLM

Tokens = Callable[[str], AsyncIterator[str]]
"""Streams the answer to a prompt."""

MODEL = "scripted-qwen3"
_ONE_TRY = APIConnectOptions(max_retry=0, timeout=60.0)


def model_at(url: str) -> VoiceChatModel:
    """The model client of the flows."""
    return chat_model(ModelOptions(url, MODEL, kind=ServerKind.VLLM))


def graph_on(model: VoiceChatModel) -> Any:
    """The smallest graph: one node that asks the model."""

    async def answer(state: MessagesState) -> dict[str, Any]:
        return {"messages": [await model.ainvoke(state["messages"])]}

    return StateGraph(MessagesState).add_node(answer).add_edge(START, "answer").compile()


def through_livekit(model: llm.LLM[Any]) -> Tokens:
    """The tokens as an agent gets them."""

    async def tokens(prompt: str) -> AsyncIterator[str]:
        context = llm.ChatContext()
        context.add_message(role="user", content=prompt)
        async with model.chat(chat_ctx=context, conn_options=_ONE_TRY) as stream:
            async for chunk in stream:
                if chunk.delta and chunk.delta.content:
                    yield chunk.delta.content

    return tokens


def through_chat_model(model: VoiceChatModel) -> Tokens:
    """The tokens as LangChain's client gives them, without a graph."""

    async def tokens(prompt: str) -> AsyncIterator[str]:
        stream = model.astream(prompt)
        async with aclosing(stream):  # type: ignore[type-var]  # it is a generator
            async for chunk in stream:
                if chunk.content:
                    yield str(chunk.content)

    return tokens


def through_httpx(client: httpx.AsyncClient, url: str) -> Tokens:
    """The least that any client must do: read the events and parse them."""

    async def tokens(prompt: str) -> AsyncIterator[str]:
        body = {
            "model": MODEL,
            "stream": True,
            "messages": [{"role": "user", "content": prompt}],
        }
        async with client.stream("POST", f"{url}/chat/completions", json=body) as response:
            async for line in response.aiter_lines():
                if line.startswith("data: {"):
                    (choice,) = json.loads(line[6:])["choices"]
                    if text := choice["delta"].get("content"):
                        yield text

    return tokens


async def contenders(model_url: str, flow_url: str, stack: AsyncExitStack) -> dict[str, Tokens]:
    """All of them; `stack` closes what they hold."""
    model = model_at(model_url)
    stack.push_async_callback(model.aclose)
    graph = graph_on(model)
    client = await stack.enter_async_context(httpx.AsyncClient(timeout=60.0, trust_env=False))
    ours = await stack.enter_async_context(LLM(graph, speakable_nodes=["answer"]))
    # each stream is a session of its own, as each room is
    remote: list[llm.LLM[Any]] = []
    flow_client = await stack.enter_async_context(httpx.AsyncClient(timeout=60.0, trust_env=False))

    async def remote_tokens(prompt: str) -> AsyncIterator[str]:
        session = remote.pop() if remote else LLM.remote(flow_url, "bench", client=flow_client)
        try:
            stream = through_livekit(session)(prompt)
            async with aclosing(stream):  # type: ignore[type-var]  # it is a generator
                async for token in stream:
                    yield token
        finally:
            remote.append(session)

    return {
        "httpx": through_httpx(client, model_url),
        "chat_openai": through_chat_model(model),
        "ours": through_livekit(ours),
        "remote": remote_tokens,
        "official": through_livekit(LLMAdapter(graph)),
    }
