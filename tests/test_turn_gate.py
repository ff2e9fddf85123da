"""Where a turn opens and is committed, and what its record says of an answer that did not come."""

from __future__ import annotations

import asyncio
from typing import Any

from langgraph.graph import START, MessagesState, StateGraph
from livekit.agents import AgentSession, UserStateChangedEvent, llm

from agent_worker.agent import VoicePipelineAgent
from agent_worker.telemetry.latency import TurnLatency
from livekit.plugins.langgraph import LLM
from tests.fake_openai_server import Reply
from tests.graph_llm import scripted_model


class Asked(LLM):
    """Keeps what it is told of the commitment of each turn."""

    commitments: list[asyncio.Event | None]

    def chat(self, **options: Any) -> Any:
        self.commitments.append((options["extra_kwargs"] or {}).get("turn_committed"))
        return super().chat(**options)


def asked(model: Any) -> Asked:
    async def answer(state: MessagesState) -> dict[str, Any]:
        return {"messages": [await model.ainvoke(state["messages"])]}

    ours = Asked(StateGraph(MessagesState).add_node(answer).add_edge(START, "answer").compile())
    ours.commitments = []
    return ours


async def test_the_agent_shuts_the_gate_when_the_caller_speaks_and_opens_it_at_the_commit() -> None:
    async with scripted_model() as (_, model):
        ours = asked(model)
        agent = VoicePipelineAgent(tells_commit=True)
        # nobody observes this call
        async with AgentSession[None](llm=ours) as session:
            await session.start(agent)
            event = UserStateChangedEvent(old_state="listening", new_state="speaking")
            session.emit("user_state_changed", event)
            await session.run(user_input="Hi.")
            (guess,) = ours.commitments
            assert guess is not None
            assert not guess.is_set()
            await agent.on_user_turn_completed(
                llm.ChatContext(), llm.ChatMessage(role="user", content=["Hi."])
            )
            assert guess.is_set()
            await session.run(user_input="Hi.")
            assert ours.commitments[1] is None


async def test_the_turns_record_names_why_there_was_no_answer() -> None:
    latency = TurnLatency()
    thinking = Reply("<|channel|>analysis<|message|>Hm.", usage=(7, 256, 0))
    async with scripted_model(default=thinking) as (_, model):
        agent = VoicePipelineAgent(latency=latency)
        async with AgentSession[None](llm=asked(model)) as session:
            await session.start(agent)
            latency.speech_ended(1.0)
            latency.heard("committed")
            await session.run(user_input="Hi.")
            said = [m.text_content for m in session.history.messages() if m.role == "assistant"]
    record = latency.speaking()
    assert record is not None
    assert record.to_dict()["failure"] == "all 256 tokens went into thinking"
    assert said
    assert all(said)


def test_a_cause_that_comes_after_the_first_words_is_in_the_record_too() -> None:
    latency = TurnLatency()
    latency.speech_ended(1.0)
    latency.heard("committed")
    latency.begin_generation()
    first = latency.speaking()
    assert first is not None
    assert first.failure == ""
    latency.failed("the graph took 40 steps without coming to an end")
    latency.answer_ended()
    (record,) = latency.ended()
    assert record.failure == "the graph took 40 steps without coming to an end"


def test_a_cause_is_in_the_record_of_its_own_turn_alone() -> None:
    times = iter(range(100))
    latency = TurnLatency(clock=lambda: float(next(times)))
    for cause in ("", "markup"):
        latency.speech_ended(float(next(times)))
        latency.heard("committed")
        latency.begin_generation()
        if cause:
            latency.failed(cause)
        latency.speaking()
    latency.call_ended()
    assert [record.failure for record in latency.ended()] == ["", "markup"]
