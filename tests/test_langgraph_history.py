"""LiveKit's conversation, as heard, as the prompt of a graph."""

from __future__ import annotations

import json

from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from livekit.agents import llm

from graph_speech.thread import CANCELLED_OUTPUT
from livekit.plugins.langgraph import heard
from livekit.plugins.langgraph.history import Aside, mark_asides


def test_roles_and_ids_are_livekits_own() -> None:
    context = llm.ChatContext()
    context.add_message(role="system", content="Be brief.", id="s")
    context.add_message(role="developer", content="Be kind.", id="d")
    context.add_message(role="user", content="Hi.", id="u")
    context.add_message(role="assistant", content="Hello.", id="a")
    messages = [message.to_langchain() for message in heard(context)]
    assert [(type(m), m.id, m.content) for m in messages] == [
        (SystemMessage, "s", "Be brief."),
        (SystemMessage, "d", "Be kind."),
        (HumanMessage, "u", "Hi."),
        (AIMessage, "a", "Hello."),
    ]


def test_an_interrupted_answer_is_in_the_prompt_as_far_as_it_was_heard() -> None:
    context = llm.ChatContext()
    context.add_message(role="assistant", content="The first of the", interrupted=True)
    context.add_message(role="user", content="Stop.")
    assert [message.content for message in heard(context)] == ["The first of the", "Stop."]


def test_the_context_is_not_changed() -> None:
    context = llm.ChatContext()
    context.add_message(role="assistant", content="Hm.", extra=mark_asides([Aside(0, "Hm.")]))
    context.items.append(llm.FunctionCall(call_id="c", name="f", arguments="{}"))
    before = context.to_dict()
    heard(context)
    assert context.to_dict() == before


def test_calls_of_one_completion_are_one_message_followed_by_their_outputs() -> None:
    context = llm.ChatContext()
    context.add_message(role="user", content="Time and weather?")
    context.add_message(role="assistant", content="Let me see.", id="item_1")
    for index, name in enumerate(("clock", "weather")):
        context.items.append(
            llm.FunctionCall(
                id=f"item_1/fnc_{index}", call_id=f"c{index}", name=name, arguments='{"x": 1}'
            )
        )
    for index, output in ((1, "sunny"), (0, "noon")):
        context.items.append(
            llm.FunctionCallOutput(call_id=f"c{index}", name="", output=output, is_error=index == 1)
        )
    _, answer, first, second = (message.to_langchain() for message in heard(context))
    assert isinstance(answer, AIMessage)
    assert answer.content == "Let me see."
    assert [(call["name"], call["args"]) for call in answer.tool_calls] == [
        ("clock", {"x": 1}),
        ("weather", {"x": 1}),
    ]
    assert isinstance(first, ToolMessage)
    assert isinstance(second, ToolMessage)
    assert (first.tool_call_id, first.content, first.status) == ("c0", "noon", "success")
    assert (second.tool_call_id, second.content, second.status) == ("c1", "sunny", "error")


def test_a_dangling_call_is_answered_as_cancelled_and_a_stray_output_left_out() -> None:
    context = llm.ChatContext()
    context.items.append(llm.FunctionCall(call_id="c", name="clock", arguments=""))
    context.items.append(
        llm.FunctionCallOutput(call_id="other", name="clock", output="noon", is_error=False)
    )
    call, output = heard(context)
    assert call.tool_calls[0]["id"] == "c"
    assert (output.role, output.tool_call_id, output.content) == ("tool", "c", CANCELLED_OUTPUT)


def test_garbled_arguments_do_not_break_later_turns() -> None:
    context = llm.ChatContext()
    context.items.append(llm.FunctionCall(call_id="c", name="clock", arguments="[1, 2"))
    call, _ = heard(context)
    assert isinstance(json.loads(call.tool_calls[0]["function"]["arguments"]), dict)


def test_empty_messages_are_left_out() -> None:
    context = llm.ChatContext()
    context.add_message(role="user", content="  ")
    context.add_message(role="assistant", content=[])
    assert heard(context) == []


def test_an_image_goes_along_with_its_text() -> None:
    context = llm.ChatContext()
    image = llm.ImageContent(image="https://example.com/cat.jpg")
    context.add_message(role="user", content=["What is it?", image])
    (message,) = heard(context)
    assert message.content == [
        {"type": "image_url", "image_url": {"url": "https://example.com/cat.jpg"}},
        {"type": "text", "text": "What is it?"},
    ]


def answer_with_aside(content: str, aside: Aside) -> list[str | list[dict[str, object]]]:
    context = llm.ChatContext()
    context.add_message(role="assistant", content=content, extra=mark_asides([aside]))
    return [message.content for message in heard(context)]


def test_a_filler_is_not_in_the_prompt() -> None:
    aside = Aside(13, "One moment, please.")
    said = "Let me look. One moment, please. It is noon."
    assert answer_with_aside(said, aside) == ["Let me look. It is noon."]


def test_a_filler_that_was_cut_off_is_not_in_the_prompt() -> None:
    aside = Aside(13, "One moment, please.")
    assert answer_with_aside("Let me look. One mom", aside) == ["Let me look."]
    assert answer_with_aside("Let me lo", aside) == ["Let me lo"]


def test_an_answer_that_was_only_an_aside_is_not_in_the_prompt() -> None:
    assert answer_with_aside("Sorry, try again.", Aside(0, "Sorry, try again.")) == []


def test_the_models_own_words_stay_when_they_equal_a_filler_elsewhere() -> None:
    aside = Aside(21, "One moment.")
    said = "One moment. I say so. One moment. Done."
    assert answer_with_aside(said, aside) == ["One moment. I say so. Done."]
