"""Every order of messages that the WebSocket protocol can get, without a socket."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_worker.gateway.protocol import (
    MAX_ERRORS,
    MAX_TEXT_BYTES,
    Action,
    Answer,
    AudioFormat,
    Close,
    Connection,
    EndOfAudio,
    Hear,
    Resume,
    Send,
    Silence,
    Start,
)
from agent_worker.gateway.reply import Reply

FRAME = bytes(640)


def start(**audio: Any) -> str:
    return json.dumps({"type": "session_start", "session_id": "s", "lang": "en", "audio": audio})


def active() -> Connection:
    connection = Connection(clock=lambda: 0.0)
    assert [type(action) for action in connection.receive_text(start())] == [Start]
    connection.opened(AudioFormat())
    return connection


def code(actions: list[Action]) -> str:
    (send,) = actions
    assert isinstance(send, Send) and send.message["type"] == "error"
    assert send.message["message"] and isinstance(send.message["recoverable"], bool)
    return str(send.message["code"])


def chunk(seq: object) -> str:
    return json.dumps({"type": "audio_chunk", "seq": seq, "timestamp_ms": 1.5})


def test_audio_flows_with_and_without_its_announcement() -> None:
    connection = active()
    assert connection.receive_audio(FRAME) == [Hear(FRAME)]
    assert connection.receive_text(chunk(0)) == []
    assert connection.receive_audio(FRAME) == [Hear(FRAME)]
    assert connection.receive_text('{"type": "audio_end"}') == [EndOfAudio()]
    assert connection.receive_text('{"type": "interrupt"}') == [Silence()]


def test_what_is_written_is_taken_as_it_is_but_neither_nothing_nor_a_book() -> None:
    connection = active()
    assert connection.receive_text('{"type": "text", "text": "现在几点?"}') == [Answer("现在几点?")]
    for text in ("", "  ", "a" * 8001, 7, None):
        message = json.dumps({"type": "text", "text": text})
        assert code(connection.receive_text(message)) == "bad_message"


def test_frames_that_come_late_or_twice_are_not_heard() -> None:
    connection = active()
    for seq in (4, 5):
        connection.receive_text(chunk(seq))
        connection.receive_audio(FRAME)
    for seq in (5, 3):
        assert connection.receive_text(chunk(seq)) == []
        assert code(connection.receive_audio(FRAME)) == "old_audio"


def test_nothing_works_before_a_session() -> None:
    connection = Connection()
    assert code(connection.receive_audio(FRAME)) == "no_session"
    for text in (chunk(0), '{"type": "audio_end"}', '{"type": "interrupt"}'):
        assert code(connection.receive_text(text)) == "no_session"


def test_a_refused_session_may_be_asked_for_again() -> None:
    connection = Connection()
    connection.receive_text(start())
    assert code(connection.receive_text(start())) == "session_exists"
    connection.refused()
    resume = '{"type": "session_resume", "session_id": "s", "last_seq": 3}'
    (action,) = connection.receive_text(resume)
    assert isinstance(action, Resume) and action.request.last_seq == 3


@pytest.mark.parametrize(
    "audio", [{"sample_rate": 96000}, {"channels": 2}, {"format": "mp3"}, {"sample_rate": 0}]
)
def test_other_audio_is_refused(audio: dict[str, Any]) -> None:
    assert code(Connection().receive_text(start(**audio))) == "unsupported_audio"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "bad_json"),
        ("{", "bad_json"),
        ("[" * 10_000, "bad_json"),
        ("[]", "bad_message"),
        ("null", "bad_message"),
        ("NaN", "bad_message"),
        ("{}", "bad_message"),
        ('{"type": "shutdown"}', "bad_message"),
        ('{"type": ["session_start"]}', "bad_message"),
        ('{"type": "session_start", "session_id": ""}', "bad_message"),
        ('{"type": "session_start", "session_id": "../etc"}', "bad_message"),
        ('{"type": "session_start", "session_id": 7}', "bad_message"),
        ('{"type": "session_start", "session_id": "s", "lang": "e n"}', "bad_message"),
        ('{"type": "session_resume", "session_id": "s", "last_seq": -2}', "bad_message"),
        ('{"type": "session_resume", "session_id": "s", "last_seq": true}', "bad_message"),
        ('{"type": "audio_chunk", "seq": 1e99}', "bad_message"),
        ('{"type": "audio_chunk", "seq": 1, "timestamp_ms": NaN}', "bad_message"),
        ('{"type": "audio_chunk", "seq": 1, "timestamp_ms": Infinity}', "bad_message"),
        ("x" * (MAX_TEXT_BYTES + 1), "too_large"),
    ],
)
def test_bad_messages_are_named(text: str, expected: str) -> None:
    assert code(Connection().receive_text(text)) == expected


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"type": "shutdown"}', "there is no type 'shutdown'; there are 'session_start', "),
        ("{}", "a message is a JSON object with a type"),
    ],
)
def test_a_message_of_no_type_that_there_is_gets_a_sentence_for_people(
    text: str, told: str
) -> None:
    (action,) = Connection().receive_text(text)
    assert isinstance(action, Send) and action.message["message"].startswith(told)


@pytest.mark.parametrize("data", [b"", b"x", bytes(32_002), bytes(641)])
def test_bad_frames_are_named(data: bytes) -> None:
    assert code(active().receive_audio(data)) == "bad_audio"


def test_at_most_thirty_seconds_run_ahead_of_the_clock() -> None:
    now = 0.0
    connection = Connection(clock=lambda: now)
    connection.receive_text(start())
    connection.opened(AudioFormat())
    for _ in range(30 * 50):
        assert connection.receive_audio(FRAME) == [Hear(FRAME)]
    assert code(connection.receive_audio(FRAME)) == "audio_overflow"
    now = 0.02
    assert connection.receive_audio(FRAME) == [Hear(FRAME)]
    now = 10_000.0
    taken = sum(connection.receive_audio(FRAME) == [Hear(FRAME)] for _ in range(40 * 50))
    assert taken == 30 * 50


def test_too_many_errors_end_the_connection_for_good() -> None:
    connection = active()
    for _ in range(MAX_ERRORS - 1):
        assert code(connection.receive_text("{")) == "bad_json"
    last = connection.receive_text("{")
    assert isinstance(last[0], Send) and last[0].message["recoverable"] is False
    assert isinstance(last[1], Close)
    assert connection.receive_text(start()) == [] and connection.receive_audio(FRAME) == []


messages = st.one_of(
    st.text(max_size=40),
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
        max_leaves=6,
    ).map(json.dumps),
    st.fixed_dictionaries(
        {
            "type": st.sampled_from(
                [
                    *["session_start", "session_resume", "audio_chunk", "audio_end"],
                    *["interrupt", "tts_interrupt", "reset"],
                ]
            )
        },
        optional={
            "session_id": st.text(max_size=5) | st.integers(),
            "last_seq": st.integers() | st.floats(),
            "seq": st.integers() | st.none(),
            "audio": st.dictionaries(st.sampled_from(["sample_rate", "channels"]), st.integers()),
            "output_sample_rate": st.integers() | st.none(),
        },
    ).map(json.dumps),
)


@given(st.lists(messages | st.binary(max_size=700), max_size=30), st.booleans())
def test_no_sequence_of_messages_brings_it_down(sequence: list[str | bytes], open_it: bool) -> None:
    connection = Connection(clock=lambda: 0.0)
    for message in sequence:
        if isinstance(message, bytes):
            actions = connection.receive_audio(message)
            assert len(actions) == 1
        else:
            actions = connection.receive_text(message)
        for action in actions:
            if isinstance(action, Start | Resume):
                connection.opened(AudioFormat()) if open_it else connection.refused()
            if isinstance(action, Hear):
                assert connection.active and len(action.data) % 2 == 0


def kinds(messages: list[Send]) -> list[str]:
    return [message.message["type"] for message in messages]


def test_an_answer_has_one_beginning_and_one_end() -> None:
    reply = Reply(AudioFormat())
    assert kinds(reply.ended()) == []
    assert reply.token("Good ")[0].message["is_first"] is True
    assert reply.token("day.")[0].message["is_first"] is False
    assert kinds(reply.audio()) == ["audio_stream_start", "tts_audio"]
    assert kinds(reply.audio()) == ["tts_audio"]
    assert kinds(reply.audio_stopped(interrupted=False)) == ["audio_stream_stop"]
    assert kinds(reply.audio_stopped(interrupted=False)) == []
    assert kinds(reply.ended()) == ["response_end"] and kinds(reply.ended()) == []
    assert reply.token("Again.")[0].message["is_first"] is True
    assert reply.audio()[-1].message["seq"] == 2


def test_an_interrupted_answer_says_so_once() -> None:
    reply = Reply(AudioFormat())
    reply.audio()
    assert reply.audio_stopped(interrupted=True)[0].message["interrupted"] is True
    assert reply.ended()[0].message["interrupted"] is True
    reply.token("Next.")
    assert reply.ended()[0].message["interrupted"] is False
