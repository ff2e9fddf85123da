"""Characters: their profiles, who speaks next, who said what."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langgraph.checkpoint.memory import InMemorySaver

from flows.graphs import persona
from flows.model import ModelOptions, chat_model
from flows.persona_profiles import Character, ProfileError, default_profiles, load_profiles
from flows.who_speaks import lines_in, next_speakers
from graph_speech.events import Speaker, Speech, VoiceEvent
from graph_speech.runner import GraphSpeech
from graph_speech.turn import TurnRequest
from graph_speech.wire import to_wire
from tests.fake_openai_server import FakeOpenAIServer, Reply

MIRA = Character(name="Mira", description="An engineer.", voice="f3")
LEO = Character(name="Leo", description="A navigator.", voice="m3", speaker="nav")
XIAO = Character(name="小美", description="一位厨师。")
CAST = (MIRA, LEO, XIAO)


@pytest.mark.parametrize(
    ("said", "last", "speakers"),
    [
        ("hello there", None, ["Mira"]),
        ("and then?", "Leo", ["Leo"]),
        ("Leo, what do you think?", "Mira", ["Leo"]),
        ("leo and mira, do you agree?", None, ["Leo", "Mira"]),
        ("cleopatra was a queen", "Mira", ["Mira"]),
        ("what do all of you think", "Leo", ["Mira", "Leo", "小美"]),
        ("what does the other one say", "Leo", ["小美"]),
        ("what does the other one say", "小美", ["Mira"]),
        ("请小美说", "Mira", ["小美"]),
        ("hello", "somebody who left", ["Mira"]),
    ],
)
def test_who_speaks_next(said: str, last: str | None, speakers: list[str]) -> None:
    assert [character.name for character in next_speakers(said, CAST, last)] == speakers


def test_a_heard_answer_is_split_into_the_lines_of_its_speakers() -> None:
    said = [("Mira", "It is the valve."), ("Leo", "I doubt it. We drift.")]
    assert lines_in("It is the valve. I doubt it.", said) == [
        ("Mira", "It is the valve."),
        ("Leo", "I doubt it."),
    ]
    assert lines_in("It is the", said) == [("Mira", "It is the")]
    assert lines_in("Welcome aboard.", said) == [(None, "Welcome aboard.")]
    assert lines_in("", said) == []


class Stage:
    """Talks with the characters as the voice side does: history without names."""

    def __init__(self, upstream: FakeOpenAIServer, graph: Any) -> None:
        self.upstream = upstream
        self._graph = graph
        self.history: list[Any] = []
        self.speakers: list[dict[str, Any]] = []

    async def say(self, text: str, **context: Any) -> str:
        self.history.append(HumanMessage(text))
        events: list[VoiceEvent] = []
        speech = GraphSpeech(
            self._graph, thread_id="t", speakable_nodes=persona.SPEAKABLE_NODES, is_new=True
        )
        turn = TurnRequest("turn", self.history, configurable={"context": context})
        await speech.run(turn, events.append)
        self.speakers = [to_wire(e) or {} for e in events if isinstance(e, Speaker)]
        answer = "".join(event.text for event in events if isinstance(event, Speech))
        self.history.append(AIMessage(answer))
        return answer

    def prompt(self, request: int = -1) -> list[tuple[str, str]]:
        messages = self.upstream.requests[request].messages
        return [(message["role"], message["content"]) for message in messages]


@contextlib.asynccontextmanager
async def stage(*replies: Reply) -> AsyncIterator[Stage]:
    async with FakeOpenAIServer(*replies) as upstream:
        model = chat_model(ModelOptions(upstream.base_url, upstream.model))
        graph = persona.build(model=model, characters=(MIRA, LEO), checkpointer=InMemorySaver())
        yield Stage(upstream, graph)
        await model.aclose()


async def test_a_character_answers_as_itself_and_names_its_voice() -> None:
    async with stage(Reply("Aye.")) as scene:
        assert await scene.say("Leo, where are we?") == "Aye."
        assert scene.speakers == [{"type": "speaker", "name": "Leo", "tag": "nav", "voice": "m3"}]
        role, prompt = scene.prompt()[0]
        assert role == "system"
        assert "You are Leo. A navigator." in prompt
        assert "besides you: Mira" in prompt


async def test_several_characters_answer_one_after_the_other() -> None:
    async with stage(Reply("Tea first."), Reply("No.")) as scene:
        assert await scene.say("what do both of you say") == "Tea first.\n\nNo."
        assert [speaker["name"] for speaker in scene.speakers] == ["Mira", "Leo"]
        assert scene.prompt()[-1] == ("user", "Mira: Tea first.")


async def test_each_character_sees_its_own_lines_and_those_of_others_as_heard() -> None:
    async with stage(Reply("Tea first."), Reply("No, we drift."), Reply("Never.")) as scene:
        await scene.say("what do both of you say")
        scene.history[-1] = AIMessage("Tea first. No, we")
        await scene.say("Leo, go on")
        assert scene.prompt()[1:] == [
            ("user", "what do both of you say"),
            ("user", "Mira: Tea first."),
            ("assistant", "No, we"),
            ("user", "Leo, go on"),
        ]
        await scene.say("really?")
        assert scene.speakers[0]["name"] == "Leo"


async def test_callers_are_told_apart_once_there_are_two() -> None:
    async with stage() as scene:
        await scene.say("hello", speaker="Anna")
        assert scene.prompt()[-1] == ("user", "hello")
        await scene.say("hi", speaker="Ben")
        assert scene.prompt()[-1] == ("user", "Ben: hi")


def test_profiles_are_read_from_toml(tmp_path: Path) -> None:
    path = tmp_path / "cast.toml"
    path.write_text(
        '[[character]]\nname = "Ada"\ndescription = "Counts."\nvoice = "en-gb"\nspeaker = "A"\n',
        encoding="utf-8",
    )
    assert load_profiles(path) == (
        Character(name="Ada", description="Counts.", voice="en-gb", speaker="A"),
    )
    assert len(default_profiles()) >= 2


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[[character", "not valid TOML"),
        ('[[character]]\nname = "A"\n', "description"),
        ("", "character"),
        ('[[character]]\nname = "A"\ndescription = "x"\nvioce = "v"\n', "vioce"),
        ('[[character]]\nname = "A"\ndescription = "x"\n' * 2, "same name"),
    ],
)
def test_a_profile_that_is_not_right_is_one_line_of_advice(
    tmp_path: Path, content: str, said: str
) -> None:
    path = tmp_path / "cast.toml"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ProfileError, match=said) as fault:
        load_profiles(path)
    assert "\n" not in str(fault.value)
    with pytest.raises(ProfileError, match="can't be read"):
        load_profiles(tmp_path / "nowhere.toml")
