"""An agent that asks a flow server, says each sentence as it comes, and notes the answer once.

    python -m flows &
    python examples/say_sentences.py dev

It has speech to text and text to speech of its own, and no LLM: what to say comes from the flow.
`BACKEND_URL` and `FLOW` say where; the room is LiveKit's usual `LIVEKIT_URL` and keys.
"""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator

import httpx
from livekit.agents import Agent, AgentSession, JobContext, StopResponse, WorkerOptions, cli, llm

from agent_worker.streaming_buffer import stream_with_sentences
from livekit.plugins import espeak, faster_whisper


class InterruptedByCallerError(Exception):
    """The caller spoke: the rest of the answer is not said."""


class SentenceAgent(Agent):
    """Speaks what a flow answers.

    Args:
        backend: the flow server, as http://127.0.0.1:8123.
        flow_id: which of its flows.
        session_id: names the conversation there.
    """

    def __init__(self, backend: str, flow_id: str, session_id: str) -> None:
        super().__init__(instructions="")
        self._stream = f"{backend}/api/flows/{flow_id}/stream/{session_id}"

    async def on_user_turn_completed(
        self, turn_ctx: llm.ChatContext, new_message: llm.ChatMessage
    ) -> None:
        """Answers by itself: no LLM is asked."""
        said: list[str] = []

        async def speak(sentence: str) -> None:
            speech = await self.session.say(
                sentence, allow_interruptions=True, add_to_chat_ctx=False
            )
            if speech.interrupted:
                raise InterruptedByCallerError
            said.append(sentence)

        try:
            answer = await stream_with_sentences(
                self._answer(new_message.text_content or ""), speak
            )
        except InterruptedByCallerError:
            answer = " ".join(said)
        history = self.chat_ctx.copy()
        history.insert(new_message)
        if answer:
            history.add_message(role="assistant", content=answer.strip())
        await self.update_chat_ctx(history)
        raise StopResponse

    async def _answer(self, text: str) -> AsyncIterator[str]:
        async with (
            httpx.AsyncClient(timeout=30, trust_env=False) as client,
            client.stream("GET", self._stream, params={"input": text}) as response,
        ):
            if response.is_error:
                await response.aread()
            response.raise_for_status()
            async for line in response.aiter_lines():
                if not line.startswith("data: "):
                    continue
                event = json.loads(line[6:])
                if event["type"] == "token":
                    yield event["content"]
                elif event["type"] == "done":
                    return


async def entrypoint(ctx: JobContext) -> None:
    """Serves one room."""
    backend = os.environ.get("BACKEND_URL", "http://127.0.0.1:8123")
    agent = SentenceAgent(backend, os.environ.get("FLOW", "offline"), ctx.room.name)
    session: AgentSession[None] = AgentSession(
        stt=faster_whisper.STT(model="bundled", language="en"), tts=espeak.TTS()
    )
    await session.start(agent, room=ctx.room, record=False)


if __name__ == "__main__":
    cli.run_app(WorkerOptions(entrypoint_fnc=entrypoint))
