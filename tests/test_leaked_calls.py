"""Tool calls that a model wrote into its text, in the forms of its family."""

from __future__ import annotations

import pytest

from graph_speech.leaked_calls import LeakedCall, as_json, leaked_calls
from graph_speech.think_filter import ThinkFilter

TOOLS = {"get_weather": ("place", "day"), "end_conversation": ()}
PARIS = LeakedCall("get_weather", {"place": "Paris"})
END = LeakedCall("end_conversation", {})


def calls_in(text: str) -> tuple[list[LeakedCall], list[str]]:
    the_filter = ThinkFilter(tools=TOOLS)
    the_filter.push(text)
    the_filter.finish()
    return leaked_calls(the_filter.leaks, TOOLS)


@pytest.mark.parametrize(
    "text",
    [
        '<tool_call>\n{"name": "get_weather", "arguments": {"place": "Paris"}}\n</tool_call>',
        '<tool_call>{"name": "get_weather", "arguments": "{\\"place\\": \\"Paris\\"}"}</tool_call>',
        '<tool_call>{"name": "get_weather", "arguments": {"place": "Paris"',
        "<tool_call>\n<function=get_weather>\n<parameter=place>\nParis\n</parameter>\n</function>",
        "<function=get_weather><parameter=place>Paris</parameter></function>",
        '<function=get_weather>{"place": "Paris"}</function>',
        '<invoke name="get_weather"><parameter name="place">Paris</parameter></invoke>',
        "<tool_call>get_weather\n<arg_key>place</arg_key>\n<arg_value>Paris</arg_value></tool_call>",
        '[TOOL_CALLS] [{"name": "get_weather", "arguments": {"place": "Paris"}}]',
        '[TOOL_CALLS]get_weather{"place": "Paris"}',
        '[TOOL_CALLS]get_weather[CALL_ID]x1[ARGS]{"place": "Paris"}',
        '<|python_tag|>get_weather(place="Paris")',
        '<|python_tag|>{"name": "get_weather", "parameters": {"place": "Paris"}}<|eom_id|>',
        '{"name": "get_weather", "parameters": {"place": "Paris"}}',
        '{"type": "function", "function": {"name": "get_weather", "arguments": "{\\"place\\": '
        '\\"Paris\\"}"}}',
        '{"get_weather": {"place": "Paris"}}',
        'get_weather(place="Paris")',
        'get_weather("Paris")',
        "functions.get_weather(place='Paris');",
        "[get_weather(place='Paris')]",
        '```tool_code\nprint(get_weather(place="Paris"))\n```',
        '```json\n{"name": "get_weather", "arguments": {"place": "Paris"}}\n```',
        '```\nget_weather(place="Paris")\n```',
        '<|channel|>commentary to=functions.get_weather <|constrain|>json<|message|>{"place": '
        '"Paris"}<|call|>',
        'analysisHm.assistantcommentary to=functions.get_weather json{"place": "Paris"}',
        "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>get_weather\n```json\n"
        '{"place": "Paris"}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>',
        "<|tool_calls_section_begin|><|tool_call_begin|>functions.get_weather:0"
        '<|tool_call_argument_begin|>{"place": "Paris"}<|tool_call_end|><|tool_calls_section_end|>',
        "<tool_call>{'name': 'get_weather', 'arguments': {'place': 'Paris',}}</tool_call>",
    ],
)
def test_a_call_of_a_known_tool_is_understood_in_every_form(text: str) -> None:
    assert calls_in(text) == ([PARIS], [])


def test_several_calls_keep_their_order_and_come_once() -> None:
    text = (
        '<tool_call>{"name": "get_weather", "arguments": {"place": "Paris"}}</tool_call>'
        '<tool_call>{"name": "end_conversation", "arguments": {}}</tool_call>'
        '<tool_call>{"name": "end_conversation", "arguments": {}}</tool_call>'
    )
    assert calls_in(text) == ([PARIS, END], [])
    assert calls_in("end_conversation()") == ([END], [])
    assert calls_in("[get_weather(place='Paris'), end_conversation()]") == ([PARIS, END], [])


def test_a_call_of_a_tool_that_was_not_offered_is_named_but_not_made() -> None:
    assert calls_in('<tool_call>{"name": "hang_up", "arguments": {}}</tool_call>') == (
        [],
        ["hang_up"],
    )
    assert calls_in("hang_up()") == ([], ["hang_up"])


@pytest.mark.parametrize(
    "text",
    [
        '{"route": "crm"}',
        "<tool_call></tool_call>",
        "<tool_call>certainly!</tool_call>",
        '<think>get_weather(place="Paris")</think>Hello.',
        '```python\nget_weather(place="Paris")\n```',
    ],
)
def test_what_is_no_call_is_none(text: str) -> None:
    assert calls_in(text) == ([], [])


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a": 1,}', {"a": 1}),
        ("{'a': True}", {"a": True}),
        ('{"a": [1, "b', {"a": [1, "b"]}),
        ('{"a": "line\nbreak"}', {"a": "line\nbreak"}),
        ("nothing", None),
        ("", None),
    ],
)
def test_broken_json_is_read_as_it_was_meant(text: str, value: object) -> None:
    assert as_json(text) == value


@pytest.mark.parametrize("text", ["(" * 20_000, "[{" * 20_000, '{"a":' * 20_000, "x_y(" * 5_000])
def test_deeply_nested_text_breaks_nothing(text: str) -> None:
    calls, _ = leaked_calls([text], TOOLS)
    assert calls == []
