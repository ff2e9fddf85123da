"""The policies at work on a real `AgentSession`: frames in, frames out."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
from livekit.agents import Agent, AgentSession, LanguageCode, ModelSettings, llm, stt

from agent_worker.call.push_to_talk import PushToTalk
from agent_worker.hearing.turn_taking import Mode, TurnTaking
from agent_worker.hearing.turns import EndOfTurnPolicy, Waits
from livekit import rtc
from tests.fake_conversation import FrameVAD, Loudspeaker, Microphone, ScriptSTT, Utterance
from tests.fake_voice_stack import ScriptLLM, ToneTTS

WAITS = Waits()
ANSWER = "The train leaves at ten from platform four."


class TurnAgent(Agent):
    """Wires the turn-taking in, as any agent would."""

    def __init__(self, turns: TurnTaking) -> None:
        super().__init__(instructions="Answer.")
        self._turns = turns

    async def stt_node(
        self, audio: AsyncIterable[rtc.AudioFrame], model_settings: ModelSettings
    ) -> AsyncGenerator[stt.SpeechEvent, None]:
        assert self.session.stt is not None
        async for event in self._turns.recognize(audio, self.session.stt):
            yield event

    async def transcription_node(
        self, text: AsyncIterable[str], model_settings: ModelSettings
    ) -> AsyncGenerator[str, None]:
        async for part in text:
            self._turns.agent_says(part)
            yield part


@dataclass
class Conversation:
    """One call and what can be seen of it."""

    session: AgentSession[None]
    turns: TurnTaking
    microphone: Microphone
    loudspeaker: Loudspeaker
    recogniser: ScriptSTT
    model: ScriptLLM
    requests: list[str]

    def says(self, final: str, *partials: tuple[float, str], cut_after_s: float = math.inf) -> None:
        self.recogniser.script.append(Utterance(final, list(partials), cut_after_s))

    def history(self) -> list[tuple[str, str]]:
        messages = [item for item in self.session.history.items if item.type == "message"]
        return [(m.role, (m.text_content or "").strip()) for m in messages if m.role != "system"]

    async def until(self, happened: Callable[[], bool]) -> None:
        while not happened():
            await asyncio.sleep(0.01)

    async def until_agent(self, state: str) -> None:
        await self.until(lambda: self.session.agent_state == state)

    async def answers(self, question: str) -> None:
        """Asks, and returns when the agent has begun to answer."""
        self.says(question)
        await self.microphone.speak(0.4)
        await self.until_agent("speaking")


@asynccontextmanager
async def conversation(
    *, speech_s: float = 1.5, mode: Mode = "auto"
) -> AsyncIterator[Conversation]:
    turns = TurnTaking()
    requests: list[str] = []

    class Model(ScriptLLM):
        def chat(self, *, chat_ctx: llm.ChatContext, **kwargs: object) -> llm.LLMStream:
            last = chat_ctx.items[-1]
            requests.append(last.text_content or "" if last.type == "message" else "")
            return super().chat(chat_ctx=chat_ctx, **kwargs)

    recogniser, model = ScriptSTT(), Model(ANSWER)
    session: AgentSession[None] = AgentSession(
        stt=recogniser,
        llm=model,
        tts=ToneTTS(speech_s),
        vad=FrameVAD(),
        turn_handling=turns.options(mode),
        aec_warmup_duration=None,
    )
    turns.attach(session)
    microphone, loudspeaker = Microphone(), Loudspeaker()
    session.input.audio = microphone
    session.output.audio = loudspeaker
    await session.start(TurnAgent(turns))
    try:
        yield Conversation(session, turns, microphone, loudspeaker, recogniser, model, requests)
    finally:
        await turns.aclose()
        await session.aclose()
        await loudspeaker.aclose()


async def test_a_finished_question_is_answered_from_the_preflight() -> None:
    async with conversation(speech_s=0.2) as call:
        call.says("what time is it", (0.3, "what time"))
        await call.microphone.speak(0.5)
        await call.until_agent("speaking")
        await call.until_agent("listening")
        assert call.requests == ["what time is it"], "one request, made ahead and kept"
        assert call.history() == [("user", "what time is it"), ("assistant", ANSWER)]
        assert call.recogniser.flushes == 1


async def test_a_turn_with_a_pause_inside_is_one_turn() -> None:
    async with conversation(speech_s=0.2) as call:
        call.says("remember that my name is", (0.3, "remember that"))
        call.says("alice", (0.2, "alice"))
        await call.microphone.speak(0.5)
        await asyncio.sleep(0.7)
        assert call.session.agent_state == "listening"
        assert call.history() == []
        await call.microphone.speak(0.4)
        await call.until_agent("speaking")
        await call.until(lambda: len(call.history()) > 1)
        assert call.history()[0] == ("user", "remember that my name is alice")
        assert call.requests[0] == "remember that my name is", "answered ahead, and dropped"
        assert call.requests[-1] == "remember that my name is alice"
        assert sum(role == "assistant" for role, _ in call.history()) == 1


async def test_digits_that_were_asked_for_are_waited_for_although_an_answer_is_prepared() -> None:
    async with conversation(speech_s=0.2) as call:
        call.model.answer = "What is your phone number?"
        call.says("book a table please.")
        await call.microphone.speak(0.3)
        await call.until_agent("speaking")
        await call.until_agent("listening")
        call.model.answer = "Thank you."
        call.says("five")
        call.says("five six")
        await call.microphone.speak(0.3)
        await asyncio.sleep(1.2)
        assert call.requests[-1] == "five", "an answer was prepared"
        await call.microphone.speak(0.3)
        await call.until(lambda: len(call.history()) > 3)
        assert call.history()[2] == ("user", "five five six")


async def test_a_backchannel_neither_stops_the_agent_nor_enters_the_history() -> None:
    async with conversation(speech_s=1.5) as call:
        await call.answers("what time is it")
        call.says("mhm", (0.2, "mhm"))
        await call.microphone.speak(0.3)
        await call.until_agent("listening")
        assert call.loudspeaker.heard == call.loudspeaker.captured
        assert not call.loudspeaker.finished[-1].interrupted
        await asyncio.sleep(0.8)
        assert call.history() == [("user", "what time is it"), ("assistant", ANSWER)]
        assert call.requests == ["what time is it"]


async def test_words_stop_the_agent_and_become_the_next_turn() -> None:
    async with conversation(speech_s=3.0) as call:
        await call.answers("what time is it")
        call.says("yeah but is it late?", (0.1, "yeah"), (0.3, "yeah but"))
        await call.microphone.speak(0.6)
        await call.until(lambda: len(call.loudspeaker.finished) > 0)
        assert call.loudspeaker.finished[0].interrupted
        assert call.loudspeaker.heard_s < 3.0
        await call.until_agent("speaking")
        users = [text for role, text in call.history() if role == "user"]
        assert users == ["what time is it", "yeah but is it late?"]


async def test_a_noise_holds_the_voice_which_then_goes_on_exactly_where_it_was() -> None:
    async with conversation(speech_s=1.5) as call:
        await call.answers("what time is it")
        call.says("")
        await call.microphone.speak(0.6)
        await call.until_agent("listening")
        assert call.loudspeaker.pauses == 1
        assert call.loudspeaker.heard == call.loudspeaker.captured
        assert not call.loudspeaker.finished[-1].interrupted
        assert call.history()[-1] == ("assistant", ANSWER)


async def test_the_agents_own_voice_is_not_answered() -> None:
    async with conversation(speech_s=1.5) as call:
        await call.answers("what time is it")
        call.says("The train leaves at ten", (0.15, "the train"), (0.4, "the train leaves"))
        await call.microphone.speak(0.8)
        await call.until_agent("listening")
        await asyncio.sleep(0.8)
        assert call.loudspeaker.heard == call.loudspeaker.captured
        assert call.requests == ["what time is it"]
        assert len(call.history()) == 2


async def test_what_follows_the_first_final_of_a_long_echo_is_an_echo_too() -> None:
    async with conversation(speech_s=2.5) as call:
        await call.answers("what time is it")
        # A recogniser cuts long speech into several finals.
        call.says(
            "The train leaves at ten",
            (0.15, "the train"),
            (0.4, "the train leaves"),
            cut_after_s=0.8,
        )
        call.says("from platform four", (0.15, "from platform"))
        await call.microphone.speak(1.6)
        assert not call.recogniser.script, "it was cut"
        await call.until_agent("listening")
        await asyncio.sleep(0.8)
        assert call.loudspeaker.heard == call.loudspeaker.captured
        assert call.requests == ["what time is it"]
        assert len(call.history()) == 2


async def test_an_agent_that_does_not_listen_while_it_speaks_is_not_stopped() -> None:
    async with conversation(speech_s=1.2, mode="half_duplex") as call:
        await call.answers("what time is it")
        call.says("stop it now", (0.2, "stop"))
        await call.microphone.speak(0.5)
        await call.until_agent("listening")
        assert call.loudspeaker.heard == call.loudspeaker.captured
        assert len(call.history()) == 2


async def test_push_to_talk_answers_when_the_key_is_released() -> None:
    async with conversation(speech_s=1.0, mode="push_to_talk") as call:
        key = PushToTalk(call.turns)
        call.says("and then what")
        await key.begin_turn()
        await call.microphone.speak(0.3)
        await asyncio.sleep(0.8)
        assert call.history() == [], "no silence ends the turn"
        assert await key.end_turn() == "and then what"
        await call.until_agent("speaking")
        await key.begin_turn()
        assert call.session.agent_state == "listening"
        call.says("forget it")
        await call.microphone.speak(0.3)
        key.cancel_turn()
        await asyncio.sleep(0.3)
        assert [text for role, text in call.history() if role == "user"] == ["and then what"]


async def test_turns_by_hand_need_a_session() -> None:
    with pytest.raises(RuntimeError, match="not attached"):
        await PushToTalk(TurnTaking()).begin_turn()


async def test_closing_midway_leaves_no_task() -> None:
    before = asyncio.all_tasks()
    async with conversation(speech_s=2.0) as call:
        call.says("and then")
        await call.microphone.speak(0.3)
        await asyncio.sleep(0.3)
    left = {task for task in asyncio.all_tasks() - before if "turn_taking" in task.get_name()}
    assert not left


async def test_one_object_serves_one_session() -> None:
    async with conversation() as call:
        with pytest.raises(RuntimeError, match="one session"):
            call.turns.attach(call.session)


@pytest.mark.parametrize(
    ("metadata", "wait_s"),
    [
        (None, WAITS.stated_s),
        ({"closing_probability": "sure"}, WAITS.stated_s),
        ({"closing_probability": 1}, WAITS.plain_s),
        ({"closing_probability": 0.2}, WAITS.doubt_s),
    ],
)
def test_what_the_recogniser_tells_of_its_full_stop_reaches_the_policy(
    metadata: dict[str, object] | None, wait_s: float
) -> None:
    policy = EndOfTurnPolicy()
    data = stt.SpeechData(LanguageCode("en"), "I live in Berlin.", metadata=metadata)
    TurnTaking(end_of_turn=policy)._hear(
        stt.SpeechEvent(stt.SpeechEventType.FINAL_TRANSCRIPT, alternatives=[data])
    )
    assert policy.wait_s() == wait_s
