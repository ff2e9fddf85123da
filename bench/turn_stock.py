"""A worker as LiveKit's own documentation builds one from local parts: python -m bench.turn_stock.

Whisper behind `StreamAdapter`, default endpointing on voice activity, the default tokenizer, the
official LangChain adapter on the same graph. Recognition, voice and model are those that the
settings choose for our worker; calls run in threads here too, so that both load a model once.
"""

from __future__ import annotations

import asyncio
import sys
import uuid
from functools import partial
from typing import Any

from langgraph.graph.state import CompiledStateGraph
from livekit.agents import (
    DEFAULT_API_CONNECT_OPTIONS,
    NOT_GIVEN,
    Agent,
    AgentServer,
    AgentSession,
    APIConnectOptions,
    JobContext,
    JobExecutorType,
    NotGivenOr,
    inference,
    stt,
)
from livekit.agents.utils import AudioBuffer

from agent_worker.engines.build import build_engines, import_plugins
from agent_worker.engines.chosen import Choices
from agent_worker.engines.found import choose_engines
from agent_worker.engines.warm_engines import WarmEngines
from agent_worker.settings import Settings, load_settings
from agent_worker.worker import run
from flows.graphs import assistant, offline
from flows.model import ModelOptions, chat_model
from livekit.plugins import langchain


class WholeUtterances(stt.STT[str]):
    """A recogniser that hears whole utterances only, as most local ones do."""

    def __init__(self, inner: stt.STT[Any]) -> None:
        super().__init__(capabilities=stt.STTCapabilities(streaming=False, interim_results=False))
        self._inner = inner

    @property
    def model(self) -> str:
        """The model's name."""
        return self._inner.model

    @property
    def provider(self) -> str:
        """Who makes the transcript."""
        return self._inner.provider

    async def _recognize_impl(
        self,
        buffer: AudioBuffer,
        *,
        language: NotGivenOr[str] = NOT_GIVEN,
        conn_options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS,
    ) -> stt.SpeechEvent:
        return await self._inner.recognize(buffer, language=language, conn_options=conn_options)

    async def aclose(self) -> None:
        """Closes the recogniser inside."""
        await self._inner.aclose()


def build_session(settings: Settings, choices: Choices) -> AgentSession[None]:
    """The stock pipeline on the engines that our worker would use."""
    engines = build_engines(settings, choices)
    vad = inference.VAD(model="silero")
    return AgentSession(
        stt=stt.StreamAdapter(stt=WholeUtterances(engines.stt), vad=vad),
        llm=langchain.LLMAdapter(
            _graph(settings, choices), config={"configurable": {"thread_id": uuid.uuid4().hex}}
        ),
        tts=engines.tts,
        vad=vad,
        turn_handling={"turn_detection": "vad", "interruption": {"mode": "vad"}},
    )


def _graph(settings: Settings, choices: Choices) -> CompiledStateGraph[Any, Any, Any, Any]:
    if choices.llm.engine == "offline":
        return offline.build()
    return assistant.build(
        model=chat_model(ModelOptions(base_url=choices.llm.endpoint, model=choices.llm.detail)),
        instructions=settings.instructions,
    )


async def _serve_call(settings: Settings, choices: Choices, ctx: JobContext) -> None:
    session = build_session(settings, choices)
    session.on("close", lambda _: ctx.shutdown("the call has ended"))
    await session.start(Agent(instructions=settings.instructions), room=ctx.room, record=False)
    await ctx.connect()


def main() -> int:
    """Serves calls until SIGTERM."""
    settings = load_settings()
    choices = asyncio.run(choose_engines(settings))
    if choices.problems:
        print("\n".join(choices.problems), file=sys.stderr)
        return 1
    import_plugins(choices)
    warm = WarmEngines(settings, choices)
    server = AgentServer(
        job_executor_type=JobExecutorType.THREAD,
        num_idle_processes=2,
        initialize_process_timeout=120,
        load_fnc=lambda _: 0.0,
        ws_url=settings.livekit_url,
        api_key=settings.livekit_api_key,
        api_secret=settings.livekit_api_secret.get_secret_value(),
        host="127.0.0.1",
        port=0,
        # kept, as in our worker: each call would load its voice anew
        setup_fnc=lambda _: warm.load(),
    )
    server.rtc_session(partial(_serve_call, settings, choices), agent_name=settings.agent_name)
    return run(server, "start", [])


if __name__ == "__main__":
    sys.exit(main())
