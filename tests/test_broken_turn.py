"""The agent breaks into a pause: a real session with the product's own agent, frames in and out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from livekit.agents import AgentSession, llm

from agent_worker.agent import VoicePipelineAgent
from agent_worker.hearing.turn_taking import TurnTaking
from tests.fake_conversation import FrameVAD, Loudspeaker, Microphone, ScriptSTT, Utterance
from tests.fake_voice_stack import ScriptLLM, ToneTTS

ANSWER = "The train leaves at ten from platform four."
BOTH = "and so my fellow americans. ask not what your country can do for you."


@dataclass
class Call:
    session: AgentSession[None]
    agent: VoicePipelineAgent
    microphone: Microphone
    loudspeaker: Loudspeaker
    recogniser: ScriptSTT
    model: ScriptLLM
    transcribed: list[str] = field(default_factory=list)

    def will_say(self, final: str, *partials: tuple[float, str]) -> None:
        self.recogniser.script.append(Utterance(final, list(partials)))

    def history(self) -> list[tuple[str, str]]:
        return spoken(self.session.history)

    async def until(self, happened: Callable[[], bool]) -> None:
        while not happened():
            await asyncio.sleep(0.01)


def spoken(context: llm.ChatContext) -> list[tuple[str, str]]:
    messages = [m for m in context.messages() if m.role != "system"]
    return [(m.role, (m.text_content or "").strip()) for m in messages]


@asynccontextmanager
async def call(*, speech_s: float = 3.0) -> AsyncIterator[Call]:
    turns = TurnTaking()
    recogniser, model = ScriptSTT(), ScriptLLM(ANSWER)
    session: AgentSession[None] = AgentSession(
        stt=recogniser,
        llm=model,
        tts=ToneTTS(speech_s),
        vad=FrameVAD(),
        turn_handling=turns.options(),
        aec_warmup_duration=None,
    )
    turns.attach(session)
    microphone, loudspeaker = Microphone(), Loudspeaker()
    session.input.audio = microphone
    session.output.audio = loudspeaker
    agent = VoicePipelineAgent(turns=turns)
    made = Call(session, agent, microphone, loudspeaker, recogniser, model)
    session.on(
        "user_input_transcribed",
        lambda e: made.transcribed.append(e.transcript) if e.is_final and e.transcript else None,
    )
    await session.start(agent)
    try:
        yield made
    finally:
        await turns.aclose()
        await session.aclose()
        await loudspeaker.aclose()


async def test_the_turn_that_was_broken_into_and_its_rest_become_one() -> None:
    async with call() as it:
        it.will_say("and so my fellow americans.")
        it.will_say("ask not what your country can do for you.", (0.2, "ask not what"))
        await it.microphone.speak(0.4)
        await it.until(lambda: it.session.agent_state == "speaking")
        await it.microphone.speak(0.6)
        await it.until(lambda: len(it.loudspeaker.finished) > 0)
        assert it.loudspeaker.finished[0].interrupted, "the agent falls silent"
        await it.until(lambda: it.session.agent_state == "speaking")
        assert it.history() == [("user", BOTH)], "no answer to a half stays"
        assert spoken(it.agent.chat_ctx) == it.history()
        assert [text for text in it.model.asked[-1] if text] == [BOTH]
        assert it.transcribed == [
            "and so my fellow americans.",
            "ask not what your country can do for you.",
        ]
        await it.until(lambda: it.session.agent_state == "listening")
        assert it.history() == [("user", BOTH), ("assistant", ANSWER)]


async def test_who_goes_on_while_the_agent_thinks_is_not_talked_over() -> None:
    async with call() as it:
        it.model.think_s = 1.5
        it.will_say("and so my fellow americans.")
        it.will_say("ask not what your country can do for you.", (0.2, "ask not what"))
        await it.microphone.speak(0.4)
        await it.until(lambda: it.session.agent_state == "thinking")
        await asyncio.sleep(0.3)
        heard_s = it.loudspeaker.heard_s
        await it.microphone.speak(1.2)
        assert it.loudspeaker.heard_s - heard_s < 0.2
        await it.until(lambda: it.history() == [("user", BOTH), ("assistant", ANSWER)])


async def test_the_next_turn_begins_anew() -> None:
    async with call(speech_s=1.2) as it:
        it.will_say("and so my fellow americans.")
        it.will_say("ask not what your country can do for you.", (0.2, "ask not what"))
        it.will_say("what time is it?")
        await it.microphone.speak(0.4)
        await it.until(lambda: it.session.agent_state == "speaking")
        await it.microphone.speak(0.6)
        await it.until(lambda: it.history() == [("user", BOTH), ("assistant", ANSWER)])
        await it.microphone.speak(0.4)
        await it.until(lambda: len(it.history()) == 4)
        assert [text for role, text in it.history() if role == "user"] == [
            BOTH,
            "what time is it?",
        ]


async def test_a_plain_stop_is_no_rest_of_a_turn() -> None:
    async with call() as it:
        it.will_say("what time is it?")
        it.will_say("stop", (0.2, "stop"))
        await it.microphone.speak(0.4)
        await it.until(lambda: it.session.agent_state == "speaking")
        await it.microphone.speak(0.5)
        await it.until(lambda: len([1 for role, _ in it.history() if role == "user"]) == 2)
        users = [text for role, text in it.history() if role == "user"]
        assert users == ["what time is it?", "stop"]
