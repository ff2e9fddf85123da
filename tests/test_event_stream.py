"""Server-sent events, put together from whatever pieces the network makes of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bounded_http.event_stream import Event, EventReader, EventTooLongError

STREAM = (
    'data: {"text": "naïve 你好\u2028"}\r\n\r\n'
    ": a ping\n\n"
    "event: error\rdata:first\rdata: second\r\r"
    "id: 7\nretry: 10\ndata: last\n\n"
).encode()
EVENTS = [
    Event("", '{"text": "naïve 你好\u2028"}'),
    Event("error", "first\nsecond"),
    Event("", "last"),
]


@given(st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_events_do_not_depend_on_where_their_bytes_are_cut(cuts: list[int]) -> None:
    reader = EventReader(most_bytes=100)
    ends = [*sorted(cuts), len(STREAM)]
    pieces = [STREAM[begin:end] for begin, end in zip([0, *ends], ends, strict=False)]
    assert [event for piece in pieces for event in reader.feed(piece)] == EVENTS
    assert reader.finish() == []


def test_an_event_that_its_server_did_not_end_comes_only_when_it_is_asked_for() -> None:
    reader = EventReader(most_bytes=100)
    assert reader.feed(b"data: whole\n\ndata: half") == [Event("", "whole")]
    assert reader.finish() == [Event("", "half")]
    assert reader.finish() == []


def test_a_line_without_an_end_is_not_kept() -> None:
    reader = EventReader(most_bytes=1000)
    with pytest.raises(EventTooLongError, match="1000"):
        for _ in range(100):
            reader.feed(b"data: and so on, and so on")


def test_an_event_of_lines_without_an_end_is_not_kept_either() -> None:
    reader = EventReader(most_bytes=1000)
    with pytest.raises(EventTooLongError):
        for _ in range(100):
            reader.feed(b"data: and so on, and so on\n")


def test_any_number_of_short_events_may_come_at_once() -> None:
    reader = EventReader(most_bytes=100)
    assert len(reader.feed(b"data: short\n\n" * 1000)) == 1000
