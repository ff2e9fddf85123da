"""Text for the eye becomes text for the ear, however it streams in."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_worker.speech.read_aloud import ReadAloud, domain_of, read_aloud
from agent_worker.speech.spoken_numbers import SpokenNumbers


def for_the_ear(text: str, **options: str) -> str:
    whole = ReadAloud(**options)
    return whole.push(text) + whole.flush()


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        ("This is **bold**, *this* too, and `code`.", "This is bold, this too, and code."),
        ("~~gone~~ but ~5 km", "gone but ~5 km"),
        ("snake_case, 2 * 3 and 2*3", "snake case, 2 * 3 and 2*3"),
        ("Hello 😀 there 👩‍👩‍👧!", "Hello  there !"),
        ("😀🎉", ""),
        ("# A title\nText", "A title.\nText"),
        ("- one\n- two,\n* [x] three\n", "one.\ntwo,\nthree.\n"),
        ("1. Wash\n2. Dry it.", "1. Wash.\n2. Dry it."),
        ("> quoted **words**\n", "quoted words\n"),
        ("See [the docs](https://x.org/a_(b)).", "See the docs."),
        ("![a cat](cat.png) here", "a cat here"),
        ("See https://www.example.com/a?b=c. Now.", "See example.com. Now."),
        ("(www.example.org)", "(example.org)"),
        ("看https://a.com/x，好的。", "看a.com，好的。"),
        ("Mail <mailto:joe@a.org> or <https://b.org/c>", "Mail joe@a.org or b.org"),
        ("As known[1] and[^2].", "As known and."),
        ("a < b, x<y && <b>bold</b><br>line", "a < b, x<y && bold line"),
        ("&lt;3 &amp; more", "<3 & more"),
        (r"\*not bold\*", "*not bold*"),
        ("a\n---\nb", "a\n\nb"),
        ("| Name | Age |\n|---|:-:|\n| **Ann** | 5 |\n", "Name, Age.\nAnn, 5.\n"),
        ("Before\n```python\nprint(1)\n```\nAfter", "Before\nThe code is in the text.\nAfter"),
        ("```\nnever closed", "The code is in the text.\n"),
        ("[not a link", "[not a link"),
        ("5 < 6", "5 < 6"),
        ("well-known, e.g. this!", "well-known, e.g. this!"),
        ("", ""),
    ],
)
def test_what_can_not_be_spoken_is_left_out(text: str, spoken: str) -> None:
    assert for_the_ear(text) == spoken


def test_the_mention_of_code_speaks_the_language() -> None:
    code = "```\nx\n```\n"
    assert for_the_ear(code, language="de-DE") == "Der Code steht im Text.\n"
    assert for_the_ear(code, language="xx") == for_the_ear(code)
    assert for_the_ear(code, code_mention="") == ""


def test_plain_words_are_not_held_back() -> None:
    filter_ = ReadAloud()
    assert filter_.push("Hello") == "Hello"
    assert filter_.push(" there,") == " there,"
    assert filter_.push(" ht") == " "
    assert filter_.push("aa") == "htaa"


PIECES = st.sampled_from(
    [
        *[
            "word",
            " ",
            "\n",
            "\n\n",
            "**",
            "*",
            "_",
            "`",
            "```",
            "~~",
            "#",
            "# ",
            "- ",
            "1. ",
            "> ",
        ],
        *["[", "](", ")", "!", "<", ">", "&amp;", "&", "http://a.b/c", "www.x.org", "ht", "tps://"],
        *[
            "|",
            "|---|",
            "😀",
            "\u200d",
            "\\",
            "你好",
            "。",
            ".",
            "3.14",
            "---\n",
            "</b>",
            "é",
            "[1]",
        ],
    ]
)


@given(
    st.one_of(st.lists(PIECES, max_size=40).map("".join), st.text(max_size=200)),
    st.lists(st.integers(1, 9), min_size=1, max_size=20),
)
def test_the_result_does_not_depend_on_how_the_text_was_split(text: str, sizes: list[int]) -> None:
    streamed, out, start, turn = ReadAloud(), "", 0, 0
    while start < len(text):
        out += streamed.push(text[start : start + sizes[turn % len(sizes)]])
        start += sizes[turn % len(sizes)]
        turn += 1
    assert out + streamed.flush() == for_the_ear(text)


@given(st.lists(st.sampled_from(["plain", "words", "and", "12", "3.5"]), max_size=20))
def test_plain_text_stays_as_it_is(words: list[str]) -> None:
    text = "Say " + " ".join(words) + "."
    assert for_the_ear(text) == text


async def test_a_stream_of_tokens_becomes_a_stream_of_speakable_text() -> None:
    async def tokens() -> AsyncIterator[str]:
        for token in ("**Yes", "**", " 😀", " see https://a.o", "rg/x now"):
            yield token

    assert "".join([text async for text in read_aloud(tokens())]) == "Yes  see a.org now"


def test_of_an_address_the_domain_is_said() -> None:
    assert domain_of("https://user@www.example.com:8080/path#x") == "example.com"


@pytest.mark.parametrize(
    ("language", "text", "spoken"),
    [
        ("en", "It costs $3.50.", "It costs three dollars fifty cents."),
        ("en", "$1,234 or 5 €", "one thousand, two hundred and thirty-four dollars or five euros"),
        ("en", "£0.01", "one penny"),
        ("en", "At 10:30, 9:05 and 12:00.", "At ten thirty, nine oh five and twelve o'clock."),
        ("en", "On 2026-03-05.", "On March fifth, twenty twenty-six."),
        ("en", "In 1990, the 3rd of 21.", "In nineteen ninety, the third of twenty-one."),
        ("en", "-5 °C and 50%", "minus five degrees Celsius and fifty percent"),
        ("en", "1 km, 2 km, 3.14", "one kilometre, two kilometres, three point one four"),
        ("en", "v1.2.3", "one point two point three"),
        ("en", "pages 5-10", "pages five to ten"),
        ("en", "code 0042", "code zero zero four two"),
        ("en", "x86, GPT-4 and http://a.org/22", "x86, GPT-4 and http://a.org/22"),
        ("en", "2026-99-99", "2026-99-99"),
        ("de", "3,50 € um 10:30", "drei Euro fünfzig Cent um zehn Uhr dreißig"),
        ("de", "1.000,5 kg", "eintausend Komma fünf Kilogramm"),
        ("fr", "20 % de 3,5 km", "vingt pour cent de trois virgule cinq kilomètres"),
        ("zh-CN", "3.14元，一共1005人", "三点一四元，一共一千零五人"),
        ("zh", "$20，50%，20km", "二十美元，百分之五十，二十公里"),
        ("zh", "2026-03-05，10:30，110000", "二零二六年三月五日，十点三十分，十一万"),
        ("zh", "10010和100200003", "一万零一十和一零零二零零零零三"),
        ("it", "5 di 7%", "cinque di sette%"),
        ("hi", "5 और 3.5", "5 और 3.5"),
        ("en", "No digits.", "No digits."),
    ],
)
def test_numbers_are_written_out(language: str, text: str, spoken: str) -> None:
    assert SpokenNumbers(language)(text) == spoken


@given(
    st.text(alphabet="0123456789.,:-%$€ kmGa年", max_size=40), st.sampled_from(["en", "de", "zh"])
)
def test_odd_numbers_never_fail(text: str, language: str) -> None:
    spoken = SpokenNumbers(language)(text)
    assert spoken.strip() or not text.strip()
