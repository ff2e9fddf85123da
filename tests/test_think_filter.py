"""What of a model's text is spoken, however the tokens cut it."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livekit.plugins.langgraph import ThinkFilter


def filtered(pieces: list[str], **options: bool) -> str:
    the_filter = ThinkFilter(**options)
    said = [the_filter.push(piece) for piece in pieces]
    return "".join([*said, the_filter.finish()])


def cut(text: str, rng: random.Random) -> list[str]:
    pieces = []
    while text:
        length = rng.choice((1, 1, 2, 3, 5, 8, 40))
        pieces.append(text[:length])
        text = text[length:]
    return pieces


SPOKEN = {
    "Hello there.": "Hello there.",
    "<think>They greet me.</think>\n\nHello there.": "Hello there.",
    "\n\n<think>\n\n</think>\n\nHello.": "Hello.",
    "<THINK>x</Think>Hello.": "Hello.",
    "<thinking>x < y</thinking>Hello.": "Hello.",
    "Hello <think>hm, </b> </thin</think> there.": "Hello there.",
    "</think>\n\nHello.": "Hello.",
    "Hello.</think>": "Hello.",
    "Hello. <think>I wonder": "Hello. ",
    'Sure.<tool_call>\n{"name": "clock", "arguments": {}}\n</tool_call>': "Sure.",
    '<tool_call>{"name": "clock"}</tool_call>It is noon.': "It is noon.",
    '<tool_call>{"name": "clock"': "",
    "</tool_call>It is noon.": "It is noon.",
    "<function=clock>\n<parameter=zone>\nUTC\n</parameter>\n</function>Noon.": "Noon.",
    '{"route": "crm"}': "",
    '{"a": "a \\" } brace", "b": [1, {"c": 2}]} Done.': "Done.",
    'Sure. {"name": "clock", "arguments": {}} It is noon.': "Sure. It is noon.",
    '[{"name": "clock"}]': "",
    '["erp", "crm"]': "",
    '{"cut": "off': "",
    "```json\n{}\n```\nDone.": "\nDone.",
    "Goodbye.<|im_end|>": "Goodbye.",
    "<|endoftext|>Goodbye.": "Goodbye.",
    "2 < 3, and a<b. [1] says {so}. I <3 you": "2 < 3, and a<b. [1] says {so}. I <3 you",
    "The tag <thorough> is fine": "The tag <thorough> is fine",
    "It ends in <": "It ends in <",
    "It ends in </thin": "It ends in </thin",
    "A `word` in ticks": "A `word` in ticks",
    "": "",
    "   ": "",
}


@pytest.mark.parametrize(("text", "spoken"), SPOKEN.items())
def test_only_what_is_meant_for_the_ear_is_spoken_however_it_is_cut(text: str, spoken: str) -> None:
    rng = random.Random(text)
    assert filtered([text]).strip() == spoken.strip()
    assert filtered(list(text)).strip() == spoken.strip()
    for _ in range(200):
        assert filtered(cut(text, rng)) == filtered([text])


@given(st.text(alphabet='abc .,!?\n<>/{}[]"`|', max_size=60), st.integers())
def test_the_cut_never_changes_what_is_spoken(text: str, seed: int) -> None:
    assert filtered(cut(text, random.Random(seed))) == filtered([text])


@given(st.text(alphabet=st.characters(exclude_characters="<{[`"), max_size=80))
def test_text_without_markup_is_spoken_as_it_is(text: str) -> None:
    assert filtered(list(text)) == text.lstrip()


@given(st.lists(st.sampled_from(["<think>", "</think>", "<tool_call>", "secret", "</tool_call>"])))
def test_no_tag_is_ever_spoken(parts: list[str]) -> None:
    spoken = filtered(cut("".join(parts), random.Random(len(parts))))
    assert "<" not in spoken


def test_plain_text_is_passed_on_without_delay() -> None:
    the_filter = ThinkFilter()
    assert [the_filter.push(piece) for piece in ("Hello", " there", ".")] == [
        "Hello",
        " there",
        ".",
    ]


def test_an_undecided_tag_is_held_back_only_until_it_is_decided() -> None:
    the_filter = ThinkFilter()
    assert the_filter.push("a <") == "a "
    assert the_filter.push("t") == ""
    assert the_filter.push("o>") == "<to>"


def test_a_closer_without_opener_tells_that_the_model_starts_inside_its_thinking() -> None:
    the_filter = ThinkFilter()
    the_filter.push("I should greet.</think>Hello.")
    assert the_filter.opener_was_missing


def test_a_message_that_starts_inside_the_thinking_is_held_until_the_closer() -> None:
    assert filtered(["I should", " greet.</th", "ink>\n\nHello."], starts_thinking=True) == "Hello."


def test_a_message_without_thinking_is_not_lost_when_thinking_was_expected() -> None:
    assert filtered(["Hello", " there."], starts_thinking=True) == "Hello there."
