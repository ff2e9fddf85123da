"""Tokens become phrases: early, whole, never within a number, and with no character lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_worker.streaming_buffer import SentenceStreamBuffer
from tests.fake_clock import Clock


def frozen(**options: object) -> SentenceStreamBuffer:
    return SentenceStreamBuffer(clock=Clock(100.0), **options)  # type: ignore[arg-type]


def phrases(text: str, **options: object) -> list[str]:
    buffer = frozen(**options)
    return buffer.push(text) + buffer.flush()


def sentences(text: str) -> list[str]:
    """Phrases without the early first one and with nothing merged."""
    return [
        phrase.strip()
        for phrase in phrases(text, first_fragment_length=None, min_sentence_length=0)
        if phrase.strip()
    ]


PIECES = st.sampled_from(
    [
        *["Hello there", "Sure", "I can help you with that", "Dr", "e.g", "U.S", "3.14", "1,000"],
        *["10:30", "v1.2.3", "https://example.com/a?b=c.d", "joe@mail.example", "(really", ")"],
        *[
            '"',
            "“",
            "”",
            "'",
            "’s",
            "你好",
            "今天天气很好",
            "说",
            "「",
            "」",
            "नमस्ते",
            "مرحبا",
            "am 3",
        ],
        *[".", "!", "?", "...", "…", ",", ";", ":", "—", " - ", "。", "！", "，", "؟", "۔", "।"],
        *[
            " ",
            " ",
            " ",
            "\n",
            "\n\n",
            "  ",
            "\t",
            "The",
            "the",
            "1. ",
            "- ",
            "x" * 90,
            "word " * 30,
        ],
    ]
)
TEXTS = st.one_of(st.lists(PIECES, max_size=60).map("".join), st.text(max_size=300))


@given(TEXTS, st.lists(st.integers(1, 12), min_size=1, max_size=30), st.sampled_from([None, 3]))
def test_phrases_are_the_text_and_do_not_depend_on_how_it_was_split(
    text: str, sizes: list[int], opening_length: int | None
) -> None:
    buffer = frozen(opening_length=opening_length)
    whole = buffer.push(text) + buffer.flush()
    streamed: list[str] = []
    start = turn = 0
    while start < len(text):
        size = sizes[turn % len(sizes)]
        streamed += buffer.push(text[start : start + size])
        start += size
        turn += 1
    streamed += buffer.flush()
    assert "".join(whole) == text
    assert streamed == whole
    assert all(streamed)


@given(TEXTS, st.lists(st.tuples(st.integers(1, 12), st.floats(0, 0.5)), min_size=1, max_size=30))
def test_timed_cuts_lose_and_repeat_nothing(text: str, steps: list[tuple[int, float]]) -> None:
    clock = Clock(100.0)
    buffer = SentenceStreamBuffer(clock=clock, opening_length=3)
    out: list[str] = []
    start = turn = 0
    while start < len(text):
        size, wait_s = steps[turn % len(steps)]
        out += buffer.push(text[start : start + size])
        clock.now_s += wait_s
        out += buffer.poll()
        start += size
        turn += 1
    out += buffer.flush()
    assert "".join(out) == text


@given(TEXTS)
def test_no_phrase_outgrows_the_hard_limit(text: str) -> None:
    assert all(len(phrase) <= 4 * 200 + 2 for phrase in phrases(text))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "The first sentence is here. The second one asks? The third one shouts! Done",
            [
                "The first sentence is here.",
                "The second one asks?",
                "The third one shouts!",
                "Done",
            ],
        ),
        ("Dr. Smith met Mr. Jones. They talked.", ["Dr. Smith met Mr. Jones.", "They talked."]),
        ("Pi is 3.14. It goes on.", ["Pi is 3.14.", "It goes on."]),
        ("Version 1.2.3 is out. U.S. GDP rose.", ["Version 1.2.3 is out.", "U.S. GDP rose."]),
        ("He lives in the U.S. He likes it.", ["He lives in the U.S.", "He likes it."]),
        ("Come at 5 p.m. on Monday. Bye.", ["Come at 5 p.m. on Monday.", "Bye."]),
        ("Come at 5 p.m. The door is open.", ["Come at 5 p.m.", "The door is open."]),
        ("Fruit, e.g. apples. And i.e. that.", ["Fruit, e.g. apples.", "And i.e. that."]),
        ("No. 5 is alive. No. I can't.", ["No. 5 is alive.", "No.", "I can't."]),
        ("Take 2. That is enough.", ["Take 2.", "That is enough."]),
        ("1. Wash it. 2. Dry it.", ["1. Wash it.", "2. Dry it."]),
        ("See https://a.b.com/x.y?z=1. Then go.", ["See https://a.b.com/x.y?z=1.", "Then go."]),
        ("Write to joe.doe@mail.example. Thanks.", ["Write to joe.doe@mail.example.", "Thanks."]),
        ('She said "Go. Now!" and left. Good.', ['She said "Go. Now!" and left.', "Good."]),
        ('"Really?" she asked. Yes.', ['"Really?" she asked.', "Yes."]),
        ('He said "Go." Then he left.', ['He said "Go."', "Then he left."]),
        (
            "We left (it was late. Very late.) at ten. Bye.",
            ["We left (it was late. Very late.) at ten.", "Bye."],
        ),
        (
            "It's the dogs' bowl. He said 'Go. Now' to us. Ok.",
            ["It's the dogs' bowl.", "He said 'Go. Now' to us.", "Ok."],
        ),
        (
            "Am 3. Mai ist die 4. Prüfung. Viel Glück!",
            ["Am 3. Mai ist die 4. Prüfung.", "Viel Glück!"],
        ),
        ("Das ist z.B. gut. Ja, d.h. sehr gut.", ["Das ist z.B. gut.", "Ja, d.h. sehr gut."]),
        ("Une idée, Mme. Dupont ? Oui !", ["Une idée, Mme. Dupont ?", "Oui !"]),
        ("Well... OK. Wait… what?", ["Well...", "OK.", "Wait…", "what?"]),
        ("Title\n\nThe body\n\n", ["Title", "The body"]),
        (
            "你好。今天天气怎么样？我很好！走吧；好",
            ["你好。", "今天天气怎么样？", "我很好！", "走吧；", "好"],
        ),
        ("他说：“你好。我来了。”然后走了。", ["他说：“你好。我来了。”", "然后走了。"]),
        ('他说:"你好。我来了。"然后走了。', ['他说:"你好。我来了。"', "然后走了。"]),
        (
            "「はい。そうです。」と言った。終わり。",
            ["「はい。そうです。」", "と言った。", "終わり。"],
        ),
        ("价格是3.14元。你好!我是助手.再见", ["价格是3.14元。", "你好!", "我是助手.", "再见"]),
        ("كيف حالك؟ أنا بخير۔ شكرا", ["كيف حالك؟", "أنا بخير۔", "شكرا"]),
        ("मैं ठीक हूँ। आप कैसे हैं?", ["मैं ठीक हूँ।", "आप कैसे हैं?"]),
    ],
)
def test_sentences_end_where_a_reader_would_end_them(text: str, expected: list[str]) -> None:
    assert sentences(text) == expected


def test_short_sentences_are_merged_with_the_next() -> None:
    text = "This is the first sentence of all. Sure. Yes. I can do that for you now. Bye."
    assert phrases(text) == [
        "This is the first sentence of all. ",
        "Sure. Yes. I can do that for you now. ",
        "Bye.",
    ]


def test_a_cjk_sentence_of_seven_characters_is_long_enough() -> None:
    assert phrases("今天的天气非常好。今天天气很好。好。我们去公园吧。") == [
        "今天的天气非常好。",
        "今天天气很好。",
        "好。我们去公园吧。",
    ]


def test_the_first_fragment_leaves_at_a_clause() -> None:
    buffer = frozen()
    assert buffer.push("Yes, of course, ") == ["Yes, of course, "]
    assert buffer.push("I can help, if you want, with that. ") == [
        "I can help, if you want, with that. "
    ]


def test_the_first_cjk_fragment_leaves_at_five_characters_and_at_once() -> None:
    buffer = frozen()
    assert buffer.push("好的，没") == []
    assert buffer.push("问题，") == ["好的，没问题，"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Sure, here is what I found. Done", ["Sure, ", "here is what I found. ", "Done"]),
        ("No. That is not so, I think.", ["No. ", "That is not so, ", "I think."]),
        ("OK, yes, sure, I can do that.", ["OK, ", "yes, sure, ", "I can do that."]),
        ("好的，我来帮你。", ["好的，", "我来帮你。"]),
        ("The weather is fine, and warm.", ["The weather is fine, ", "and warm."]),
        ("1, 2, 3", ["1, 2, 3"]),
    ],
)
def test_an_opening_leaves_before_the_first_fragment(text: str, expected: list[str]) -> None:
    assert phrases(text, opening_length=3) == expected


def test_after_an_opening_the_delay_of_the_first_fragment_begins_anew() -> None:
    clock = Clock(100.0)
    buffer = SentenceStreamBuffer(clock=clock, opening_length=3)
    buffer.push("Su")
    clock.now_s += 0.29
    assert buffer.push("re, here ") == ["Sure, "]
    clock.now_s += 0.29
    assert buffer.push("is what ") == [], "the opening is still heard"
    clock.now_s += 0.02
    assert buffer.poll() == ["here is what "]


def test_a_terminator_and_a_space_are_enough() -> None:
    buffer = frozen()
    assert buffer.push("It is now ten.") == []
    assert buffer.push(" ") == ["It is now ten. "]
    assert buffer.push("That is rather late.\n") == ["That is rather late.\n"]


def test_a_full_stop_after_a_digit_waits_for_what_follows() -> None:
    clock = Clock(100.0)
    buffer = SentenceStreamBuffer(clock=clock)
    assert buffer.push("The value of pi is 3.") == []
    clock.now_s += 0.31
    assert buffer.poll() == ["The value of pi is "], "the number itself is not cut"
    clock.now_s += 5
    assert buffer.poll() == []
    assert buffer.push("14 or so. ") + buffer.flush() == ["3.14 or so. "]


def test_a_slow_reply_starts_at_a_word_after_the_delay() -> None:
    clock = Clock(100.0)
    buffer = SentenceStreamBuffer(clock=clock)
    assert buffer.deadline is None
    buffer.push("  ")
    assert buffer.deadline is None
    buffer.push("The weather to")
    assert buffer.deadline == pytest.approx(100.3)
    assert buffer.poll() == []
    clock.now_s = 100.3
    assert buffer.poll() == ["  The weather "]
    clock.now_s += 10
    assert buffer.push("day is really very ") == [], "only the first phrase is cut by time"
    assert buffer.flush() == ["today is really very "]


def test_a_slow_cjk_reply_starts_between_characters() -> None:
    clock = Clock(100.0)
    buffer = SentenceStreamBuffer(clock=clock)
    assert buffer.push("今天我想") == []
    clock.now_s += 0.3
    assert "".join(buffer.poll()) == "今天我"


def test_a_finished_sentence_leaves_when_the_model_stalls() -> None:
    clock = Clock(100.0)
    buffer = SentenceStreamBuffer(clock=clock)
    assert buffer.push("Just a moment. Okay.") == ["Just a moment. "]
    assert buffer.deadline == pytest.approx(100.3)
    clock.now_s = 100.3
    assert buffer.poll() == ["Okay."]
    assert buffer.deadline is None


def test_an_unfinished_sentence_is_held_however_long_the_model_stalls() -> None:
    clock = Clock(100.0)
    buffer = SentenceStreamBuffer(clock=clock)
    assert buffer.push("Just a moment. I am just") == ["Just a moment. "]
    clock.now_s += 60
    assert buffer.poll() == []
    assert buffer.deadline is None


def test_a_long_sentence_is_cut_at_a_clause_then_at_a_word() -> None:
    clause = "and this goes on for quite a while without ever coming to any end"
    out = phrases("Here we go. " + f"{clause}, " * 6)
    assert len(out) > 2
    assert all(len(phrase) <= 202 for phrase in out)
    assert all(phrase.endswith(", ") for phrase in out[1:])
    assert all(len(phrase) <= 202 and phrase.endswith(" ") for phrase in phrases("word " * 200))


def test_a_new_reply_begins_after_flush() -> None:
    buffer = frozen()
    assert buffer.push("Hello there, ") == ["Hello there, "]
    assert buffer.flush() == []
    assert buffer.push("Hello again, ") == ["Hello again, "]
    buffer.push("this will never be said")
    buffer.reset()
    assert buffer.flush() == []


def test_limits_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(ValueError, match="min_sentence_length"):
        SentenceStreamBuffer(min_sentence_length=300, max_sentence_length=200)


async def scripted(*tokens: str) -> AsyncIterator[str]:
    for token in tokens:
        yield token


async def test_a_stream_yields_the_phrases_of_its_tokens() -> None:
    buffer = SentenceStreamBuffer(min_sentence_length=20)
    tokens = ["Hel", "lo there.", " I ", "can help you", " with that.", " Bye", "."]
    out = [phrase async for phrase in buffer.stream_with_sentences(scripted(*tokens))]
    assert out == ["Hello there. ", "I can help you with that. ", "Bye."]


async def test_a_stalled_stream_lets_go_of_the_first_words() -> None:
    more = asyncio.Event()

    async def stalling() -> AsyncIterator[str]:
        yield "Let me think about "
        await more.wait()
        yield "it."

    buffer = SentenceStreamBuffer(first_fragment_delay_s=0.02)
    stream = buffer.stream_with_sentences(stalling())
    assert await anext(stream) == "Let me think about "
    more.set()
    assert await anext(stream) == "it."
    assert [phrase async for phrase in stream] == []


async def test_a_closed_stream_leaves_no_task_and_closes_nothing_twice() -> None:
    closed = asyncio.Event()

    async def endless() -> AsyncIterator[str]:
        try:
            yield "The first sentence of many. "
            await asyncio.Event().wait()
        finally:
            closed.set()

    before = asyncio.all_tasks()
    stream = SentenceStreamBuffer().stream_with_sentences(endless())
    assert await anext(stream) == "The first sentence of many. "
    waiting = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert closed.is_set()
    assert asyncio.all_tasks() == before


async def test_an_error_of_the_source_comes_through() -> None:
    async def failing() -> AsyncIterator[str]:
        yield "Hello there, "
        raise ConnectionError("gone")

    out: list[str] = []
    with pytest.raises(ConnectionError, match="gone"):
        async for phrase in SentenceStreamBuffer().stream_with_sentences(failing()):
            out.append(phrase)
    assert out == ["Hello there, "]
