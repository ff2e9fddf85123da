"""Who is the caller, and are they in the room? Around a room and a session without a network."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from livekit.agents import AgentSession, SpeechCreatedEvent, llm

from agent_worker.call import presence
from agent_worker.call.inactivity import InactivityPolicy
from agent_worker.call.lifetime import Lifetime
from agent_worker.call.presence import Presence
from agent_worker.call.push_to_talk import PushToTalk
from agent_worker.hearing.turn_taking import TurnTaking
from livekit import rtc

Reason = rtc.DisconnectReason
PERSON = rtc.ParticipantKind.PARTICIPANT_KIND_STANDARD
AGENT = rtc.ParticipantKind.PARTICIPANT_KIND_AGENT


@dataclass
class Person:
    """A participant, as far as it matters here."""

    identity: str
    kind: int = PERSON
    disconnect_reason: int = Reason.CLIENT_INITIATED


class FakeRoomIO:
    """Links the first person, and the same name again, as LiveKit's does."""

    def __init__(self, room: FakeRoom) -> None:
        self._room = room
        self._identity: str | None = None
        self.linked_participant: Person | None = None
        room.on("participant_connected", self._on_connected)
        room.on("participant_disconnected", self._on_disconnected)

    def set_participant(self, identity: str) -> None:
        self._identity = identity
        self.linked_participant = self._room.remote_participants.get(identity)

    def _on_connected(self, person: Person) -> None:
        if self.linked_participant is None and self._identity in (None, person.identity):
            self.set_participant(person.identity)

    def _on_disconnected(self, person: Person) -> None:
        if self._identity == person.identity:
            self.linked_participant = None


class FakeRoom(rtc.EventEmitter[str]):
    def __init__(self) -> None:
        super().__init__()
        self.remote_participants: dict[str, Person] = {}

    def joins(self, person: Person) -> None:
        self.remote_participants[person.identity] = person
        self.emit("participant_connected", person)

    def leaves(self, identity: str, reason: int = Reason.CLIENT_INITIATED) -> None:
        person = self.remote_participants.pop(identity)
        person.disconnect_reason = reason
        self.emit("participant_disconnected", person)


class FakeSession(rtc.EventEmitter[str]):
    """Remembers what it was told."""

    def __init__(self, room: FakeRoom) -> None:
        super().__init__()
        self.room_io = FakeRoomIO(room)
        self.history = llm.ChatContext.empty()
        self.agent_state = "listening"
        self.interruptions = 0
        self.said: list[str] = []
        self.is_shut_down = asyncio.Event()

    def interrupt(self, *, force: bool) -> None:
        assert force, "also what the caller may not interrupt"
        self.interruptions += 1

    def say(self, text: str) -> None:
        self.said.append(text)

    def shutdown(self, *, drain: bool = True) -> None:
        self.is_shut_down.set()


class FakeSpeech:
    interrupted = False

    def interrupt(self, *, force: bool) -> None:
        self.interrupted = force


class FakeTurns:
    def __init__(self) -> None:
        self.forgotten: list[str] = []

    def forget_turn(self) -> None:
        self.forgotten.append("turn")

    def listen(self, on: bool) -> None:
        self.forgotten.append("" if on else "key")


@dataclass
class Scene:
    """A call of which Ann is the caller."""

    room: FakeRoom
    session: FakeSession
    turns: FakeTurns
    presence: Presence
    changes: list[bool]
    draining: list[bool] = field(default_factory=lambda: [False])

    async def ends(self) -> bool:
        """Whether the call ends without anybody's waiting."""
        try:
            async with asyncio.timeout(2):
                await self.session.is_shut_down.wait()
        except TimeoutError:
            return False
        return True

    def goes_on(self) -> bool:
        return not self.session.is_shut_down.is_set()


def _scene(*, push_to_talk: bool = False) -> tuple[Scene, Lifetime]:
    room = FakeRoom()
    session, turns = FakeSession(room), FakeTurns()
    clock = asyncio.get_running_loop().time
    lifetime = Lifetime(InactivityPolicy(clock=clock), goodbye="")
    lifetime.attach(cast(AgentSession[Any], session))
    changes: list[bool] = []
    draining = [False]
    presence = Presence(
        cast(rtc.Room, room),
        cast(AgentSession[Any], session),
        turns=cast(TurnTaking, turns),
        lifetime=lifetime,
        draining=lambda: draining[0],
        on_change=changes.append,
        greeting="Hello.",
        key=PushToTalk(cast(TurnTaking, turns)) if push_to_talk else None,
    )
    room.joins(Person("ann"))
    session.history.add_message(role="assistant", content="Hello.")
    return Scene(room, session, turns, presence, changes, draining), lifetime


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    scene, lifetime = _scene()
    yield scene
    await scene.presence.aclose()
    await lifetime.aclose()


async def test_a_caller_who_leaves_is_waited_for_in_silence(scene: Scene) -> None:
    scene.room.leaves("ann")
    assert scene.session.interruptions == 1
    assert scene.turns.forgotten == ["turn"]
    late = FakeSpeech()
    scene.session.emit(
        "speech_created",
        SpeechCreatedEvent.model_construct(speech_handle=cast(Any, late)),
    )
    assert late.interrupted, "an answer that was still being thought about"
    await asyncio.sleep(0)
    assert scene.goes_on()


async def test_a_caller_who_is_back_is_neither_greeted_again_nor_silenced(scene: Scene) -> None:
    scene.room.leaves("ann", Reason.CONNECTION_TIMEOUT)
    scene.room.joins(Person("ann"))
    assert scene.changes == [False, True]
    assert scene.session.said == []
    speech = FakeSpeech()
    scene.session.emit(
        "speech_created",
        SpeechCreatedEvent.model_construct(speech_handle=cast(Any, speech)),
    )
    assert not speech.interrupted


async def test_a_caller_whom_the_greeting_never_reached_is_greeted_at_last(scene: Scene) -> None:
    scene.session.history = llm.ChatContext.empty()
    scene.room.leaves("ann")
    scene.room.joins(Person("ann"))
    assert scene.session.said == ["Hello."]


async def test_a_caller_by_another_name_takes_the_call_over(scene: Scene) -> None:
    scene.room.leaves("ann")
    scene.room.joins(Person("ann-2"))
    linked = scene.session.room_io.linked_participant
    assert linked is not None and linked.identity == "ann-2"
    assert scene.changes == [False, True]


async def test_a_caller_who_was_back_before_the_loss_was_noticed_takes_the_call_over(
    scene: Scene,
) -> None:
    scene.room.joins(Person("ann-2"))
    scene.room.leaves("ann", Reason.CONNECTION_TIMEOUT)
    linked = scene.session.room_io.linked_participant
    assert linked is not None and linked.identity == "ann-2"
    assert scene.turns.forgotten == ["turn"]


async def test_neither_a_listener_nor_another_agent_is_taken_for_the_caller(scene: Scene) -> None:
    scene.room.joins(Person("recorder", AGENT))
    scene.room.leaves("recorder")
    scene.room.joins(Person("listener"))
    scene.room.leaves("listener", Reason.PARTICIPANT_REMOVED)
    assert scene.session.interruptions == 0
    scene.room.leaves("ann")
    scene.room.joins(Person("recorder", AGENT))
    assert scene.session.room_io.linked_participant is None
    await asyncio.sleep(0)
    assert scene.goes_on()


@pytest.mark.parametrize("reason", [Reason.PARTICIPANT_REMOVED, Reason.USER_REJECTED])
async def test_nobody_waits_for_a_caller_who_was_sent_away_or_never_answered(
    scene: Scene, reason: int
) -> None:
    scene.room.leaves("ann", reason)
    assert await scene.ends()


async def test_a_worker_that_drains_waits_for_nobody(scene: Scene) -> None:
    scene.room.leaves("ann")
    scene.draining[0] = True
    assert await scene.ends()


async def test_a_worker_that_drains_lets_a_present_caller_talk_on(scene: Scene) -> None:
    scene.room.leaves("ann")
    scene.room.joins(Person("ann"))
    scene.draining[0] = True
    await asyncio.sleep(0.7)
    assert scene.goes_on()


async def test_who_stays_in_the_room_is_served_when_the_caller_does_not_come_back(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presence, "_LOOK_EVERY_S", 0.01)
    monkeypatch.setattr(presence, "_NEXT_AFTER_S", 0.03)
    monkeypatch.setattr(presence, "_SAME_PERSON_WITHIN_S", 0.0)
    scene.room.joins(Person("bob"))
    await asyncio.sleep(0.01)  # he has been there for long
    scene.room.leaves("ann", Reason.PARTICIPANT_REMOVED)
    assert scene.session.room_io.linked_participant is None
    async with asyncio.timeout(5):
        while scene.changes != [False, True]:
            await asyncio.sleep(0.01)
    linked = scene.session.room_io.linked_participant
    assert linked is not None and linked.identity == "bob"
    assert scene.goes_on()


async def test_others_in_the_room_are_told_from_the_caller(scene: Scene) -> None:
    assert not scene.presence.others
    scene.room.joins(Person("recorder", AGENT))
    assert not scene.presence.others
    scene.room.joins(Person("listener"))
    assert scene.presence.others


async def test_a_key_that_was_down_is_up_when_its_caller_left() -> None:
    scene, lifetime = _scene(push_to_talk=True)
    scene.room.leaves("ann")
    assert scene.turns.forgotten == ["key", "turn"]
    await scene.presence.aclose()
    await lifetime.aclose()
    assert scene.changes == [False, True], "an ended call counts no longer as one that waits"
