"""What a session's events become, without a room and without a voice."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any

import pytest
from livekit.agents import (
    AgentSession,
    AgentStateChangedEvent,
    APIConnectionError,
    ConversationItemAddedEvent,
    ErrorEvent,
    UserStateChangedEvent,
    llm,
    stt,
    tts,
)
from livekit.agents.voice.io import PlaybackFinishedEvent
from prometheus_client import CollectorRegistry

from agent_worker.call.observer import VOICE_ATTRIBUTE, Observer, cause_of
from agent_worker.commands.simulate import Loudspeaker
from agent_worker.telemetry.latency import TurnLatency, TurnRecord
from agent_worker.telemetry.metrics import Metrics
from agent_worker.telemetry.outlets import Telemetry
from tests.fake_voice_stack import LoudnessSTT, ScriptLLM, ToneTTS


class Kept(Telemetry):
    """Keeps the records that are handed to it."""

    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__(metrics=Metrics(registry))
        self.records: list[tuple[str, TurnRecord]] = []

    def turn_ended(self, call_id: str, record: TurnRecord) -> None:
        super().turn_ended(call_id, record)
        self.records.append((call_id, record))


@dataclass
class Told:
    """What the clients were told."""

    messages: list[tuple[str, Any]] = field(default_factory=list)
    attributes: dict[str, str] = field(default_factory=dict)
    gone: bool = False

    async def send(self, topic: str, text: str) -> None:
        if self.gone:
            raise ConnectionError("the room is closed")
        self.messages.append((topic, json.loads(text)))

    async def set_attributes(self, attributes: dict[str, str]) -> None:
        self.attributes |= attributes


class Watched:
    """A session whose events the test makes, and its observer."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.telemetry = Kept(self.registry)
        self.told = Told()
        self.latency = TurnLatency()
        self.observer = Observer(
            self.latency, self.told, telemetry=self.telemetry, call_id="call-1"
        )
        self.session: AgentSession[None] = AgentSession()
        self.loudspeaker = Loudspeaker()
        self.session.output.audio = self.loudspeaker
        self.observer.watch(self.session)

    def user(self, old: Any, new: Any) -> None:
        self.session.emit("user_state_changed", UserStateChangedEvent(old_state=old, new_state=new))

    def agent(self, old: Any, new: Any) -> None:
        self.session.emit(
            "agent_state_changed", AgentStateChangedEvent(old_state=old, new_state=new)
        )

    def turn(self) -> None:
        """The caller asks, and the agent's voice is heard."""
        self.user("listening", "speaking")
        self.user("speaking", "listening")
        self.latency.heard("committed")
        self.latency.begin_generation()
        self.agent("thinking", "speaking")

    def value(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(f"agent_worker_{name}", labels)


async def test_a_turn_is_told_at_its_first_sound_and_handed_over_when_it_is_over() -> None:
    watched = Watched()
    watched.turn()
    await asyncio.sleep(0)
    assert [(topic, record["turn"]) for topic, record in watched.told.messages] == [
        ("agent.latency", 1)
    ]
    assert watched.telemetry.records == []
    watched.agent("speaking", "thinking")  # a tool works; the rest of the answer comes
    assert watched.telemetry.records == []
    watched.agent("thinking", "speaking")
    watched.agent("speaking", "listening")
    assert [(call, record.turn) for call, record in watched.telemetry.records] == [("call-1", 1)]
    watched.observer.close()
    assert len(watched.telemetry.records) == 1


async def test_an_interrupted_answer_tells_how_much_was_heard_and_not_what() -> None:
    watched = Watched()
    watched.turn()
    watched.loudspeaker.emit(
        "playback_finished", PlaybackFinishedEvent(playback_position=1.25, interrupted=True)
    )
    item = llm.ChatMessage(role="assistant", content=["Once upon a"], interrupted=True)
    watched.session.emit("conversation_item_added", ConversationItemAddedEvent(item=item))
    watched.agent("speaking", "listening")
    await asyncio.sleep(0)
    told = watched.told.messages[-1][1]
    assert told["heard_until"] == {"seconds": 1.25, "characters": 11}
    assert told["interrupted_at"] is not None
    assert "Once" not in str(watched.told.messages)
    assert [record.to_dict() for _, record in watched.telemetry.records] == [told]


async def test_a_call_that_ends_in_the_middle_of_an_answer_hands_its_turn_over() -> None:
    watched = Watched()
    assert watched.value("calls") == 1
    watched.turn()
    watched.observer.close()
    watched.observer.close()
    assert watched.value("calls") == 0
    assert len(watched.telemetry.records) == 1


@pytest.mark.parametrize(
    ("source", "stage"),
    [(LoudnessSTT("hello"), "stt"), (ScriptLLM("hello"), "llm"), (ToneTTS(0.1), "tts")],
)
async def test_a_failure_is_counted_by_its_stage(
    source: stt.STT[Any] | llm.LLM[Any] | tts.TTS[Any], stage: str
) -> None:
    watched = Watched()
    failure = tts.TTSError(
        timestamp=0.0, label="", error=APIConnectionError("it is down"), recoverable=True
    )
    watched.session.emit("error", ErrorEvent(error=failure, source=source))
    assert watched.value("failures_total", stage=stage, recoverable="true") == 1


async def test_the_record_of_a_turn_without_an_answer_names_the_cause(
    caplog: pytest.LogCaptureFixture,
) -> None:
    watched = Watched()
    watched.user("listening", "speaking")
    watched.user("speaking", "listening")
    watched.latency.heard("committed")
    watched.latency.begin_generation()
    origin = RuntimeError("all tokens went into thinking about pistachios")
    origin.add_note("all 256 tokens went into thinking")
    fault = APIConnectionError("the graph failed")
    fault.__cause__ = origin
    failure = llm.LLMError(timestamp=0.0, label="", error=fault, recoverable=True)
    watched.session.emit("error", ErrorEvent(error=failure, source=ScriptLLM("hello")))
    watched.agent("thinking", "speaking")
    watched.observer.close()
    ((_, record),) = watched.telemetry.records
    assert record.failure == "all 256 tokens went into thinking"
    assert json.loads(record.to_json())["failure"] == "all 256 tokens went into thinking"
    assert "pistachios" not in str([vars(line) for line in caplog.records])


def test_the_words_of_an_error_without_a_note_are_not_told() -> None:
    fault = APIConnectionError("said: my number is 1234")
    fault.__cause__ = ValueError("my number is 1234")
    assert cause_of(fault) == "ValueError"


async def test_the_state_of_the_voice_is_an_attribute() -> None:
    watched = Watched()
    watched.observer.voice_changed(False)
    await asyncio.sleep(0)
    assert watched.told.attributes == {VOICE_ATTRIBUTE: "text-only"}
    watched.observer.voice_changed(True)
    await asyncio.sleep(0)
    assert watched.told.attributes == {VOICE_ATTRIBUTE: "speaking"}


async def test_a_client_that_is_gone_costs_nothing() -> None:
    watched = Watched()
    watched.told.gone = True
    watched.turn()
    await asyncio.sleep(0)
    watched.agent("speaking", "listening")
    assert len(watched.telemetry.records) == 1
