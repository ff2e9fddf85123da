"""The everyday tools: exact sums, honest lookups, numbers as they are said."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flows.rules.numbers import parse_english, parse_mandarin, say_english, say_mandarin
from flows.rules.phrasing import duration_words
from flows.tools.arithmetic import ArithmeticRefusedError, arithmetic_tools, decimal_text, evaluate
from flows.tools.lookups import LookupEndpoints, lookup_tools
from graph_speech.think_filter import ThinkFilter

# A loaded machine is not a fault of the code.
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.mark.parametrize(
    ("expression", "result"),
    [
        ("2 + 3", "5"),
        ("0.1 + 0.2", "0.3"),
        ("10 / 4", "2.5"),
        ("1 / 3", "0.3333"),
        ("2 * (3 + 4) - -1", "15"),
        ("2 ^ 10", "1024"),
        ("7 % 4", "3"),
        ("6 ÷ 2 × 3 − 1", "8"),
        ("-1 / 100000", "0"),
        ("1e3 + 1", "1001"),
    ],
)
def test_sums_are_exact(expression: str, result: str) -> None:
    assert decimal_text(evaluate(expression)) == result


@pytest.mark.parametrize(
    "expression",
    [
        "",
        "1 / 0",
        "5 % 0",
        "0 ** -1",
        "9 ** 9 ** 9",
        "2 ** 0.5",
        "1" * 150,
        "1 +" * 100,
        "(" * 190,
        "__import__('os')",
        "a.b",
        "True + 1",
        "'a' * 3",
        "[1]",
        "1 if 2 else 3",
        "1_0j",
        "1e999",
    ],
)
def test_what_is_no_sum_is_refused_in_a_sentence(expression: str) -> None:
    with pytest.raises(ArithmeticRefusedError, match=r"\.$"):
        evaluate(expression)


@unhurried
@given(st.text(alphabet="0123456789.+-*/%^() eE", max_size=40))
def test_no_expression_breaks_the_parser(expression: str) -> None:
    with contextlib.suppress(ArithmeticRefusedError):
        decimal_text(evaluate(expression))


async def test_the_tool_tells_a_fault_instead_of_raising_it() -> None:
    (calculate,) = arithmetic_tools()
    answer = json.loads(await calculate.ainvoke({"expression": "1 / 0"}))
    assert answer == {"error": "I can't divide by zero."}


@unhurried
@given(st.integers(0, 999_999_999))
def test_a_number_said_in_english_is_understood_again(number: int) -> None:
    said = say_english(str(number))
    assert parse_english(said) == number


@unhurried
@given(st.integers(0, 99_999_999))
def test_a_number_said_in_mandarin_is_understood_again(number: int) -> None:
    assert parse_mandarin(say_mandarin(str(number))) == number


@pytest.mark.parametrize(
    ("digits", "english", "mandarin"),
    [
        ("0", "zero", "零"),
        ("12", "twelve", "十二"),
        ("-3.5", "minus three point five", "负三点五"),
        ("115", "one hundred and fifteen", "一百一十五"),
        ("1005", "one thousand five", "一千零五"),
        ("20010", "twenty thousand ten", "二万零一十"),
    ],
)
def test_numbers_as_they_are_said(digits: str, english: str, mandarin: str) -> None:
    assert say_english(digits) == english
    assert say_mandarin(digits) == mandarin


@pytest.mark.parametrize("text", ["", "alice", "two alice", "point", "three point twelve"])
def test_what_is_no_number_is_none(text: str) -> None:
    assert parse_english(text) is None


def test_durations_are_said_with_their_units() -> None:
    assert duration_words(3700) == "one hour one minute and forty seconds"
    assert duration_words(60) == "one minute"


@contextlib.asynccontextmanager
async def endpoint(
    answer: bytes, status: bytes = b"200 OK"
) -> AsyncIterator[tuple[str, list[str]]]:
    """An HTTP endpoint with one answer; gives its URL and the request lines it gets."""
    asked: list[str] = []

    async def reply(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        asked.append(head.decode().splitlines()[0])
        length = str(len(answer)).encode()
        writer.write(b"HTTP/1.1 " + status + b"\r\nContent-Length: " + length + b"\r\n")
        writer.write(b"Connection: close\r\n\r\n" + answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(reply, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/?q={{query}}", asked


async def look_up(endpoints: LookupEndpoints | None, tool: int = 0, query: str = "x") -> Any:
    tools = lookup_tools(endpoints)
    (field,) = tools[tool].args
    return json.loads(await tools[tool].ainvoke({field: query}))


async def test_a_lookup_without_an_endpoint_says_so() -> None:
    for place, service in enumerate(("weather", "stock", "search")):
        answer = await look_up(None, place)
        assert answer == {"error": "not configured", "service": service}


@pytest.mark.parametrize(
    ("body", "answer"),
    [
        ('{"summary": "Rain, 8 °C.", "raw": 1}'.encode(), "Rain, 8 °C."),
        (b'{"answer": "Yes."}', "Yes."),
        (b'{"temp": 8}', '{"temp": 8}'),
        (b" plain words \n", "plain words"),
    ],
)
async def test_a_lookup_takes_the_part_that_can_be_spoken(body: bytes, answer: str) -> None:
    async with endpoint(body) as (url, asked):
        found = await look_up(LookupEndpoints(weather=url), query="São Paulo & more")
    assert found == {"service": "weather", "answer": answer}
    assert asked == ["GET /?q=S%C3%A3o%20Paulo%20%26%20more HTTP/1.1"]


async def test_a_lookup_that_fails_or_hangs_is_told_as_such() -> None:
    async with endpoint(b"", b"500 Oops") as (url, _):
        assert (await look_up(LookupEndpoints(search=url), 2))["error"] == "not reachable"
    gone = LookupEndpoints(stock="http://127.0.0.1:1/{query}", timeout_s=5)
    assert (await look_up(gone, 1))["error"] == "not reachable"
    silent = await asyncio.start_server(_never_answer, "127.0.0.1", 0)
    async with silent:
        port = silent.sockets[0].getsockname()[1]
        slow = LookupEndpoints(stock=f"http://127.0.0.1:{port}/{{query}}", timeout_s=0.1)
        assert (await look_up(slow, 1))["error"] == "not reachable"


async def _never_answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()
    writer.close()


LEAKS = [
    ("<think>secret</think>Hello.", "Hello."),
    ("secret?</think>Hello.", "secret?Hello."),
    ("</think>\n\nHello.", "Hello."),
    ("A <tool_call>{}</tool_call>b", "A b"),
    ("1 < 2 and <b> stays", "1 < 2 and <b> stays"),
    ("never closed <think>so it goes", "never closed "),
    ("ends with <thi", "ends with <thi"),
    ("<think><tool_call>x</think>y", "y"),
]


@unhurried
@given(st.sampled_from(LEAKS), st.lists(st.integers(1, 6), max_size=40))
def test_no_split_lets_a_thought_through(leak: tuple[str, str], sizes: list[int]) -> None:
    text, expected = leak
    spoken = ThinkFilter()
    heard, place = "", 0
    for size in sizes:
        heard += spoken.push(text[place : place + size])
        place += size
    heard += spoken.push(text[place:]) + spoken.finish()
    assert heard == expected
