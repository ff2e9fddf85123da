"""A caller who pauses for effect, and goes on: is it the same turn? Decided on its own clock."""

from __future__ import annotations

from livekit.agents import llm

from agent_worker.hearing.joined_turns import first_half, joined, whole, without
from agent_worker.hearing.resumed_turn import ResumedTurn


def taken_at_2() -> ResumedTurn:
    """A caller spoke from 0 to 1.5 s, and their turn was taken."""
    turn = ResumedTurn()
    turn.caller_spoke(0.0)
    turn.caller_fell_silent(1.5)
    turn.taken()
    return turn


def test_who_goes_on_before_the_answer_is_heard_resumes_the_turn() -> None:
    turn = taken_at_2()
    turn.caller_spoke(2.4)
    assert turn.resumes


def test_who_goes_on_in_the_answers_first_second_resumes_the_turn() -> None:
    turn = taken_at_2()
    turn.agent_spoke(2.2)
    turn.caller_spoke(3.1)
    assert turn.resumes


def test_who_has_heard_more_of_the_answer_says_something_new() -> None:
    turn = taken_at_2()
    turn.agent_spoke(2.2)
    turn.agent_spoke(3.0)
    turn.caller_spoke(3.3)
    assert not turn.resumes, "the first sound of the answer counts, not the latest"


def test_a_long_silence_ends_a_turn_even_where_the_answer_is_slow() -> None:
    turn = taken_at_2()
    turn.caller_spoke(6.0)
    assert not turn.resumes


def test_the_first_turn_of_a_call_goes_on_with_nothing() -> None:
    turn = ResumedTurn()
    turn.agent_spoke(0.0)
    turn.caller_spoke(0.5)
    assert not turn.resumes


def test_a_pause_in_the_rest_does_not_make_it_something_new() -> None:
    turn = taken_at_2()
    turn.agent_spoke(2.2)
    turn.caller_spoke(2.5)
    turn.caller_fell_silent(3.0)
    turn.caller_spoke(4.0)
    assert turn.resumes


def test_the_decision_stands_until_the_next_voice() -> None:
    turn = taken_at_2()
    turn.caller_spoke(2.4)
    turn.caller_fell_silent(3.0)
    turn.taken()
    assert turn.resumes, "the model is asked after the turn was taken"
    turn.agent_spoke(3.5)
    turn.caller_spoke(9.0)
    assert not turn.resumes


def test_a_turn_may_be_broken_into_twice() -> None:
    turn = taken_at_2()
    turn.caller_spoke(2.4)
    turn.caller_fell_silent(3.0)
    turn.taken()
    turn.agent_spoke(3.5)
    turn.caller_spoke(3.9)
    assert turn.resumes


def test_a_mhm_in_the_first_second_leaves_a_later_interruption_alone() -> None:
    turn = taken_at_2()
    turn.agent_spoke(2.2)
    turn.caller_spoke(2.6)
    turn.dropped()
    assert not turn.resumes
    turn.caller_fell_silent(2.9)
    turn.caller_spoke(5.0)
    assert not turn.resumes


def test_who_left_and_is_back_says_something_new() -> None:
    turn = taken_at_2()
    turn.agent_spoke(2.2)
    turn.forgotten()
    turn.caller_spoke(2.6)
    assert not turn.resumes


def said(*turns: tuple[llm.ChatRole, str, bool]) -> llm.ChatContext:
    context = llm.ChatContext()
    for role, text, interrupted in turns:
        context.add_message(role=role, content=text, interrupted=interrupted)
    return context


def texts(context: llm.ChatContext) -> list[tuple[str, str]]:
    return [(m.role, m.text_content or "") for m in context.messages()]


def test_both_halves_are_one_message_and_the_broken_answer_is_gone() -> None:
    context = said(
        ("system", "Be brief.", False),
        ("user", "And so, my fellow Americans:", False),
        ("assistant", "Yes, I", True),
        ("user", "ask not what your country can do for you.", False),
    )
    assert texts(joined(context)) == [
        ("system", "Be brief."),
        (
            "user",
            "And so, my fellow Americans: ask not what your country can do for you.",
        ),
    ]
    assert len(context.items) == 4, "the conversation itself is left as it is"


def test_two_messages_with_no_sound_in_between_are_one() -> None:
    context = said(("user", "one", False), ("user", "two", False))
    assert texts(joined(context)) == [("user", "one two")]


def test_an_answer_that_was_said_to_its_end_stands() -> None:
    context = said(
        ("user", "what time is it", False), ("assistant", "Ten.", False), ("user", "thanks", False)
    )
    assert joined(context) is context


def test_a_turn_for_which_a_tool_was_called_stands() -> None:
    context = said(("user", "set a timer", False))
    context.items.append(llm.FunctionCall(call_id="1", name="set_timer", arguments="{}"))
    assert first_half(context) is None


def test_a_tools_result_stays_behind_the_whole_turn() -> None:
    context = said(("user", "set a timer", False), ("user", "for ten minutes", False))
    context.items.append(llm.FunctionCall(call_id="1", name="set_timer", arguments="{}"))
    after = joined(context)
    assert texts(after) == [("user", "set a timer for ten minutes")]
    assert after.items[-1].type == "function_call"


def test_nobody_has_said_anything_yet() -> None:
    empty = llm.ChatContext()
    assert first_half(empty) is None
    assert joined(empty) is empty


def test_the_turn_before_stays_where_the_rest_is_taken_out() -> None:
    context = said(
        ("user", "hello", False),
        ("assistant", "Hello.", False),
        ("user", "remember", False),
        ("assistant", "Sur", True),
    )
    half = first_half(context)
    assert half is not None and half.text == "remember"
    assert texts(without(context, half)) == [("user", "hello"), ("assistant", "Hello.")]


def test_halves_meet_in_one_space() -> None:
    assert whole("remember ", " my name") == "remember my name"
    assert whole("", "my name") == "my name"
