"""What `examples/` shows is run: the agents against real parts of ours."""

from __future__ import annotations

import asyncio
import runpy
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from livekit.agents import AgentSession

from agent_worker.gateway.protocol import SessionStart
from flows.flow import Flow
from flows.graphs import offline
from flows.memory import open_memory

from .fake_voice_stack import FakeCall, FakeStack, LoudnessSTT, ToneTTS
from .flow_server import flow_server
from .test_documents_websocket import visiting
from .test_gateway import serving

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture
async def backend() -> AsyncIterator[str]:
    async with open_memory() as memory:
        graph = offline.build(store=memory.store, checkpointer=memory.checkpointer)
        flow = Flow("offline", offline.DESCRIPTION, graph, offline.SPEAKABLE_NODES)
        async with flow_server([flow], memory=memory) as url:
            yield url


@dataclass
class ExampleStack(FakeStack):
    """Calls whose agent is the example's, with no LLM."""

    backend: str = ""
    example: dict[str, Any] = field(
        default_factory=lambda: runpy.run_path(str(EXAMPLES / "say_sentences.py"))
    )

    async def build_call(self, request: SessionStart | None) -> FakeCall:
        session: AgentSession[None] = AgentSession(
            stt=LoudnessSTT(self.words),
            tts=ToneTTS(self.voice_s),
            turn_handling={
                "turn_detection": "stt",
                "endpointing": {"min_delay": 0.0, "max_delay": 0.1},
                "interruption": {"mode": "vad"},
            },
            vad=None,
            session_close_transcript_timeout=0.05,
        )
        agent = self.example["SentenceAgent"](self.backend, "offline", "s1")
        call = FakeCall(session, agent, self.lifetime(session))
        self.calls.append(call)
        return call


def history(stack: FakeStack) -> list[tuple[str, str]]:
    messages = stack.calls[0].agent.chat_ctx.messages()
    return [(m.role, m.text_content or "") for m in messages if m.role != "system"]


async def noted(stack: FakeStack) -> list[tuple[str, str]]:
    async with asyncio.timeout(20):
        while not history(stack):
            await asyncio.sleep(0.01)
    return history(stack)


async def test_each_sentence_is_said_and_the_answer_is_one_message(backend: str) -> None:
    stack = ExampleStack(backend=backend, words="tell me a joke", voice_s=0.3)
    async with serving(stack) as server, visiting(server) as client:
        await client.send({"type": "session_start"})
        await client.event("session_started")
        await client.say()
        asked, answered = await noted(stack)
        assert asked == ("user", "tell me a joke")
        assert answered[0] == "assistant"
        spoken = " ".join(event["token"] for event in client.all("llm_token"))
        assert spoken.split() == answered[1].split()
        # A voice for each sentence, one after the other.
        sentences = [event["token"] for event in client.all("llm_token")]
        assert len(sentences) > 1 and all(text.strip()[-1] in ".?!" for text in sentences)


async def test_a_caller_who_interrupts_hears_no_further_sentence(backend: str) -> None:
    stack = ExampleStack(backend=backend, words="tell me a joke", voice_s=20.0)
    async with serving(stack) as server, visiting(server) as client:
        await client.send({"type": "session_start"})
        await client.event("session_started")
        await client.say()
        await client.when(lambda: len(client.playing) > 0)
        await client.send({"type": "interrupt"})
        assert await noted(stack) == [("user", "tell me a joke")]
        assert len(client.all("llm_token")) == 1
