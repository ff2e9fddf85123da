"""A LangGraph graph as the LLM of a LiveKit agent."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import httpx
from langchain_core.runnables import RunnableConfig
from livekit.agents import APIConnectOptions, llm, utils
from livekit.agents.types import DEFAULT_API_CONNECT_OPTIONS, NOT_GIVEN, NotGivenOr
from livekit.agents.utils import is_given

from graph_speech.runner import NO_ANSWER, GraphSpeech
from graph_speech.speakable import Speakable

from .history import heard
from .in_process import InProcess
from .livekit_private import asked_by_session
from .remote_runner import RemoteRunner
from .stream import ChatStream, Runner, SpeechOptions, Turn
from .turn import COMMITTED_KEY, turn_committed

DEFAULT_FILLERS = ("One moment, please.", "Just a second.")
DEFAULT_APOLOGY = "Sorry, I'm having trouble answering right now. Please try again in a moment."


def _schemas(tools: list[llm.Tool]) -> list[dict[str, Any]]:
    return llm.ToolContext(tools).parse_function_tools("openai", strict=False)


class LLM(llm.LLM[Any]):
    """Speaks what a compiled LangGraph graph answers.

    One object serves one session: it has one thread in the graph's checkpointer.

    Args:
        graph: A compiled graph whose state has `messages`. Messages come from LiveKit each turn
            and replace those of the thread. LiveKit's function tools are in the run's
            `config["configurable"]["tools"]`, as OpenAI schemas for `bind_tools`; a call of one
            that no node answers goes to the session.
        speakable_nodes: Names of the nodes that may be heard; a subgraph's name allows all in it,
            `"subgraph/node"` one node in it. Not given, every node but tool nodes is heard, so a
            graph whose router or classifier calls a model must name its speaking nodes (or tag
            those calls `nostream`). What a node writes to the custom stream is heard in any case:
            strings, and `{"type": "speak", "text": ...}`. After `{"type": "speaker", "name": ...,
            "voice": ...}` there, the next chunk has that in `delta.extra["speaker"]`.
        session_id: The `thread_id`; a fresh one if not given.
        config: The base of each run's config. Its `configurable` may hold more for the nodes.
        context: The graph's runtime context, if it has a context schema.
        model: The model's name in metrics; if not given, the one that the model's own answers
            tell, and the graph's name before the first.
        provider: The provider's name in metrics.
        fillers: Phrases to say when a tool takes long, one at a time; none if empty or None.
        filler_delay_s: Seconds of silence during a tool before a filler.
        apology: What to say, in an `AgentSession` whose LLM this is, when the graph or its model
            has failed after all retries; the session goes on. If None, and wherever `chat` is
            called otherwise, the error is raised.
        no_answer: What to say when a turn ends without an answer (all tokens went into thinking,
            a tool that nobody knows was called, the graph went round in circles, …); the cause is
            logged, and stands in `delta.extra["no_answer"]` of that chunk. Not given, a sentence in
            English, or `apology` where that is given. If None, nothing is said.
        idle_timeout_s: Seconds between two signs of life of the graph; if None, the call's own
            `conn_options.timeout`, which is also the limit for the first.
        tool_timeout_s: Seconds that tools may take, without limit if None.

    Raises:
        TypeError: `graph` has no `astream`, or `speakable_nodes` is one string.
    """

    def __init__(
        self,
        graph: Any,
        *,
        speakable_nodes: NotGivenOr[Collection[str] | None] = NOT_GIVEN,
        session_id: NotGivenOr[str] = NOT_GIVEN,
        config: RunnableConfig | None = None,
        context: Any = None,
        model: NotGivenOr[str] = NOT_GIVEN,
        provider: NotGivenOr[str] = NOT_GIVEN,
        fillers: NotGivenOr[Sequence[str] | str | None] = NOT_GIVEN,
        filler_delay_s: NotGivenOr[float] = NOT_GIVEN,
        apology: NotGivenOr[str | None] = NOT_GIVEN,
        no_answer: NotGivenOr[str | None] = NOT_GIVEN,
        idle_timeout_s: NotGivenOr[float | None] = NOT_GIVEN,
        tool_timeout_s: NotGivenOr[float | None] = NOT_GIVEN,
    ) -> None:
        super().__init__()
        own = (config or {}).get("configurable", {}).get("thread_id")
        self._session_id = (
            session_id if is_given(session_id) else own or utils.shortuuid("session_")
        )
        self._runner: Runner
        if isinstance(graph, RemoteRunner):
            self._runner = graph
        elif hasattr(graph, "astream"):
            self._runner = InProcess(
                GraphSpeech(
                    graph,
                    thread_id=self._session_id,
                    speakable_nodes=speakable_nodes if is_given(speakable_nodes) else None,
                    config=config,
                    context=context,
                )
            )
        else:
            raise TypeError(
                f"graph must be a compiled LangGraph graph, not {type(graph).__name__}; "
                "call .compile() on a StateGraph"
            )
        self._graph = graph
        self._model_name = model if is_given(model) else None
        self._provider_name = provider if is_given(provider) else "LangGraph"
        self._options = SpeechOptions(
            fillers=DEFAULT_FILLERS,
            filler_delay_s=0.7,
            apology=DEFAULT_APOLOGY,
            no_answer=None,
            idle_timeout_s=None,
            tool_timeout_s=60.0,
        )
        self.update_options(
            fillers=fillers,
            filler_delay_s=filler_delay_s,
            apology=apology,
            no_answer=no_answer,
            idle_timeout_s=idle_timeout_s,
            tool_timeout_s=tool_timeout_s,
        )
        self._filler_count = 0
        self._kept: set[asyncio.Task[Any]] = set()

    @classmethod
    def remote(
        cls,
        url: str,
        flow_id: str,
        *,
        session_id: NotGivenOr[str] = NOT_GIVEN,
        token: str | None = None,
        context: Mapping[str, Any] | None = None,
        client: httpx.AsyncClient | None = None,
        model: NotGivenOr[str] = NOT_GIVEN,
        provider: NotGivenOr[str] = NOT_GIVEN,
        fillers: NotGivenOr[Sequence[str] | str | None] = NOT_GIVEN,
        filler_delay_s: NotGivenOr[float] = NOT_GIVEN,
        apology: NotGivenOr[str | None] = NOT_GIVEN,
        no_answer: NotGivenOr[str | None] = NOT_GIVEN,
        idle_timeout_s: NotGivenOr[float | None] = NOT_GIVEN,
        tool_timeout_s: NotGivenOr[float | None] = NOT_GIVEN,
    ) -> LLM:
        """Speaks what a flow on a flow server answers; the server knows which nodes may be heard.

        Args:
            url: The server, such as `http://127.0.0.1:8123`.
            flow_id: Which of its flows.
            session_id: The session on the server; a fresh one if not given.
            token: The bearer token that guards the server.
            context: What the flow may know of the call, such as `{"caller_id": ...}`.
            client: An httpx client to use; it is left open. If None, one is made and closed here.
            model: As for `LLM`; before the first answer the flow's id.
            provider: As for `LLM`.
            fillers: As for `LLM`.
            filler_delay_s: As for `LLM`.
            apology: As for `LLM`.
            no_answer: As for `LLM`; if None, the server's own sentence is said.
            idle_timeout_s: As for `LLM`; the server's pings are no signs of the graph's life.
            tool_timeout_s: As for `LLM`.

        Raises:
            ValueError: `url` is not an http or https URL, or `flow_id` is empty.
        """
        session = session_id if is_given(session_id) else utils.shortuuid("session_")
        runner = RemoteRunner(
            url, flow_id, session_id=session, token=token, context=context, client=client
        )
        return cls(
            runner,
            session_id=session,
            model=model,
            provider=provider,
            fillers=fillers,
            filler_delay_s=filler_delay_s,
            apology=apology,
            no_answer=no_answer,
            idle_timeout_s=idle_timeout_s,
            tool_timeout_s=tool_timeout_s,
        )

    @property
    def model(self) -> str:
        """The model's name as given, else as the model tells it, else the graph's."""
        return self._model_name or self._runner.model

    @property
    def provider(self) -> str:
        """The provider's name, `LangGraph` if none was given."""
        return self._provider_name

    @property
    def session_id(self) -> str:
        """The thread in the graph's checkpointer."""
        return self._session_id

    def update_options(
        self,
        *,
        speakable_nodes: NotGivenOr[Collection[str] | None] = NOT_GIVEN,
        model: NotGivenOr[str] = NOT_GIVEN,
        fillers: NotGivenOr[Sequence[str] | str | None] = NOT_GIVEN,
        filler_delay_s: NotGivenOr[float] = NOT_GIVEN,
        apology: NotGivenOr[str | None] = NOT_GIVEN,
        no_answer: NotGivenOr[str | None] = NOT_GIVEN,
        idle_timeout_s: NotGivenOr[float | None] = NOT_GIVEN,
        tool_timeout_s: NotGivenOr[float | None] = NOT_GIVEN,
    ) -> None:
        """Changes options for the streams that are opened from now on."""
        if is_given(speakable_nodes):
            if not isinstance(self._runner, InProcess):
                raise ValueError("speakable_nodes are the flow server's business in remote mode")
            self._runner.speech.speakable = Speakable(speakable_nodes, self._graph)
        if is_given(model):
            self._model_name = model
        if is_given(fillers):
            phrases = (fillers,) if isinstance(fillers, str) else tuple(fillers or ())
            self._options = replace(
                self._options, fillers=tuple(phrase for phrase in phrases if phrase.strip())
            )
        if is_given(filler_delay_s):
            self._options = replace(self._options, filler_delay_s=filler_delay_s)
        if is_given(apology):
            # a caller of another language than English hears one sentence of it, at least
            self._options = replace(
                self._options, apology=apology, no_answer=apology if apology else None
            )
        if is_given(no_answer):
            self._options = replace(self._options, no_answer=no_answer)
            if isinstance(self._runner, InProcess):
                self._runner.speech.no_answer = no_answer and NO_ANSWER
        if is_given(idle_timeout_s):
            self._options = replace(self._options, idle_timeout_s=idle_timeout_s)
        if is_given(tool_timeout_s):
            self._options = replace(self._options, tool_timeout_s=tool_timeout_s)

    def chat(
        self,
        *,
        chat_ctx: llm.ChatContext,
        tools: list[llm.Tool] | None = None,
        conn_options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS,
        parallel_tool_calls: NotGivenOr[bool] = NOT_GIVEN,
        tool_choice: NotGivenOr[llm.ToolChoice] = NOT_GIVEN,
        extra_kwargs: NotGivenOr[dict[str, Any]] = NOT_GIVEN,
    ) -> ChatStream:
        """Runs one turn of the graph.

        Args:
            chat_ctx: The conversation as heard; it is not changed.
            tools: LiveKit's function tools, for graphs that bind them.
            conn_options: Retries, and the limit for the first sign of life.
            parallel_tool_calls: For the graph, in `configurable`.
            tool_choice: For the graph, in `configurable`.
            extra_kwargs: `turn_committed`, an `asyncio.Event` that tells when a speculative turn
                is final (tools with side effects wait for it); everything else is for the graph,
                in `configurable`.
        """
        extra = dict(extra_kwargs) if is_given(extra_kwargs) else {}
        committed = turn_committed(extra)
        extra.pop(COMMITTED_KEY, None)
        turn = Turn(
            id=utils.shortuuid("turn_"),
            history=heard(chat_ctx),
            tools=_schemas(tools) if tools else [],
            tool_choice=tool_choice if is_given(tool_choice) else None,
            parallel_tool_calls=parallel_tool_calls if is_given(parallel_tool_calls) else None,
            committed=committed,
            configurable=extra,
        )
        return ChatStream(
            self,
            self._runner,
            turn,
            self._options,
            chat_ctx=chat_ctx,
            tools=tools or [],
            conn_options=conn_options,
            apologise=asked_by_session(self),
        )

    async def _prewarm_impl(self) -> None:
        await self._runner.prewarm()

    async def aclose(self) -> None:
        """Ends what is under way; safe to call twice."""
        await super().aclose()
        for task in list(self._kept):
            await utils.aio.cancel_and_wait(task)
        await self._runner.aclose()

    def _next_filler(self, fillers: Sequence[str]) -> str:
        self._filler_count += 1
        return fillers[(self._filler_count - 1) % len(fillers)]

    def _keep(self, task: asyncio.Task[Any]) -> None:
        """Keeps a run that does not end, until it does or this object is closed."""
        self._kept.add(task)
        task.add_done_callback(self._forget)

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._kept.discard(task)
        if not task.cancelled():
            task.exception()
