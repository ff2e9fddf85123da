"""What of a model's text is spoken, however the tokens cut it."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from livekit.plugins.langgraph import ThinkFilter


def filtered(pieces: list[str], *, starts_thinking: bool = False) -> str:
    the_filter = ThinkFilter(starts_thinking=starts_thinking)
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
    # harmony, with its control tokens and without
    "<|channel|>analysis<|message|>They ask.<|end|><|start|>assistant<|channel|>final<|message|>"
    "It is noon.<|return|>": "It is noon.",
    "<|channel|>analysis<|message|>2 < 3.<|channel|>final<|message|>It is noon.": "It is noon.",
    "<|channel|>analysis<|message|>We never": "",
    "<|channel|>commentary to=functions.clock <|constrain|>json<|message|>{}<|call|>": "",
    "<|start|>assistant<|channel|>commentary<|message|>Let me see.<|end|>Noon.": "Noon.",
    "analysisThey want 2+2.assistantfinalFour.": "Four.",
    "analysis the user adds; the assistant answers.assistantfinalFour.": "Four.",
    "analysisHm.assistantcommentary to=functions.clock json{}assistantfinalNoon.": "Noon.",
    "assistantfinalFour.": "Four.",
    "analysisThey want to know": "",
    "analysis of the figures takes a while.": "analysis of the figures takes a while.",
    "The assistant finally answers.": "The assistant finally answers.",
    # other families
    "<|im_start|>assistant\nHello.<|im_end|>": "Hello.",
    "<|start_header_id|>assistant<|end_header_id|>\n\nHello.": "Hello.",
    "[THINK]They greet.[/THINK]Hello.": "Hello.",
    '[TOOL_CALLS] [{"name": "clock", "arguments": {"zone": "[UTC]"}}]': "",
    '[TOOL_CALLS]clock{"zone": "UTC"} It is noon.': "It is noon.",
    '[TOOL_CALLS]clock[CALL_ID]abc12[ARGS]{"zone": "UTC"}It is noon.': "It is noon.",
    "[TOOL_CALLS] It is noon.": "It is noon.",
    '<|python_tag|>clock(zone="UTC")': "",
    '<|python_tag|>clock(zone="UTC")<|eom_id|>It is noon.': "It is noon.",
    '<|python_tag|>clock(zone="UTC")\nIt is noon.': "It is noon.",
    "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>clock\n```json\n{}\n```"
    "<｜tool▁call▁end｜><｜tool▁calls▁end｜>Noon.": "Noon.",
    "<tool_call>clock\n<arg_key>zone</arg_key>\n<arg_value>UTC</arg_value>\n</tool_call>Noon.": (
        "Noon."
    ),
    "[clock(zone='UTC'), clock(zone='CET')]Noon.": "Noon.",
    "[laughs] Hello. [2] and [see below].": "[laughs] Hello. [2] and [see below].",
    # calls that stand alone on a line
    "end_conversation()": "",
    "Goodbye.\nend_conversation()": "Goodbye.\n",
    'get_weather(place="Paris (France)")': "",
    "get_weather(place='It\\'s far')\nIt rains.": "It rains.",
    "<think>I end it.</think>\n\nend_conversation()": "",
    'get_weather(place="Par': "",
    "end_conversation() ends a call.": "end_conversation() ends a call.",
    "Say get_weather(x) aloud.": "Say get_weather(x) aloud.",
    "item(s) are here": "item(s) are here",
    "Well (as I said) yes": "Well (as I said) yes",
    "hello (again)": "hello (again)",
    # code is for the page; a call in a fence is for nobody
    "Here:\n```python\nd = {}\nprint(d)\n```\nDone.": (
        "Here:\n```python\nd = {}\nprint(d)\n```\nDone."
    ),
    "Here: ```python\n<think>\n```Done.": "Here: \n```python\n<think>\n```\nDone.",
    '```json\n{"a": 1}\n```\nDone.': '```json\n{"a": 1}\n```\nDone.',
    '```json\n{"name": "clock", "arguments": {}}\n```\nDone.': "Done.",
    "```tool_code\nprint(clock())\n```\nDone.": "Done.",
    "```\nls -l\n```": "```\nls -l\n```",
    "```html\n<b>x</b>": "```html\n<b>x</b>",
    "Type ```ls``` now.": "Type ```ls``` now.",
    "``": "``",
}


@pytest.mark.parametrize(("text", "spoken"), SPOKEN.items())
def test_only_what_is_meant_for_the_ear_is_spoken_however_it_is_cut(text: str, spoken: str) -> None:
    rng = random.Random(text)
    assert filtered([text]).strip() == spoken.strip()
    assert filtered(list(text)).strip() == spoken.strip()
    for _ in range(200):
        assert filtered(cut(text, rng)) == filtered([text])


@given(st.text(alphabet='abc_ .,!?\n<>/{}[]()"`|', max_size=60), st.integers())
def test_the_cut_never_changes_what_is_spoken(text: str, seed: int) -> None:
    assert filtered(cut(text, random.Random(seed))) == filtered([text])


PARTS = [
    *("<|channel|>", "analysis", "final", "<|message|>", "<|end|>", "<|start|>assistant", "Noon."),
    *("assistantfinal", "assistantcommentary to=functions.f json", "commentary to=", "```", "````"),
    *("```json\n", "\n```", "```\n", "python\n", '{"name": "f", "arguments": {}}', "{}", "\n"),
    *(
        "f_g(",
        ")",
        "f(x)",
        "'",
        '"',
        "\\",
        " ",
        "[TOOL_CALLS]",
        "[ARGS]",
        "[",
        "]",
        "<|python_tag|>",
    ),
    *(
        "<think>",
        "</think>",
        "<tool_call>",
        "</tool_call>",
        "<function=f>",
        "</function>",
        "a",
        "A",
    ),
]


@given(st.lists(st.sampled_from(PARTS), max_size=9), st.integers())
@settings(max_examples=1500)
def test_the_cut_of_what_looks_like_markup_never_changes_what_is_spoken(
    parts: list[str], seed: int
) -> None:
    text = "".join(parts)
    whole = filtered([text])
    assert filtered(list(text)) == whole
    assert filtered(cut(text, random.Random(seed))) == whole


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
