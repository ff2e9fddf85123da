"""Clients of the text side, as someone writes them from the documents alone.

None of our code is in them: lines that begin with `data: `, tokens into a callback. What they see
where the documents are vague, they take as it comes.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_worker.streaming_buffer import SpeechBuffer, stream_with_sentences
from flows.flow import Flow
from flows.graphs import offline
from flows.memory import open_memory
from tests.flow_server import flow_server


class FlowClient:
    """The documents' SSE client."""

    def __init__(self, backend: str) -> None:
        self.backend = backend
        self.done = ""

    async def stream(self, flow_id: str, session_id: str, text: str) -> AsyncIterator[str]:
        url = f"{self.backend}/api/flows/{flow_id}/stream/{session_id}"
        async with (
            httpx.AsyncClient(timeout=30, trust_env=False) as client,
            client.stream("GET", url, params={"input": text}) as response,
        ):
            async for line in response.aiter_lines():
                if not line.startswith("data: "):
                    continue
                data = json.loads(line[6:])
                if data["type"] == "token":
                    yield data["content"]
                elif data["type"] == "done":
                    self.done = data["content"]
                    break


@pytest.fixture
async def backend() -> AsyncIterator[str]:
    async with open_memory() as memory:
        graph = offline.build(store=memory.store, checkpointer=memory.checkpointer)
        flow = Flow("main", offline.DESCRIPTION, graph, offline.SPEAKABLE_NODES)
        async with flow_server([flow], memory=memory) as url:
            yield url


async def test_the_flow_client_reads_tokens_until_a_done_that_holds_the_whole_answer(
    backend: str,
) -> None:
    client = FlowClient(backend)
    tokens = [token async for token in client.stream("main", "s1", "what is two plus three")]
    assert len(tokens) > 1
    assert client.done == "".join(tokens) == "Two plus three is five."


async def test_the_flow_client_has_one_conversation_in_a_session(backend: str) -> None:
    client = FlowClient(backend)
    async for _ in client.stream("main", "s1", "what is one plus one"):
        pass
    async for _ in client.stream("main", "s1", "say that again"):
        pass
    assert client.done == "One plus one is two."


async def test_what_a_client_says_has_either_of_two_names(backend: str) -> None:
    async with httpx.AsyncClient(base_url=backend, trust_env=False) as client:
        path = "/api/flows/main/stream/s1"
        answers = [
            (await client.get(path, params={name: "what is one plus one"})).text
            for name in ("input", "message")
        ]
    assert all('"content": "One plus one is two."}' in answer for answer in answers)


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("text=hi", "'text'"),
        ("input=hi&user_id=7", "'user_id'"),
        ("input=hi&Input=hi", "'Input'"),
        ("input=hi&message=ho", "'message'"),
        ("input=hi&input=ho", "'input'"),
        ("", "input"),
        ("input=+", "input"),
    ],
)
async def test_a_query_that_is_not_understood_is_refused_by_name(
    backend: str, query: str, named: str
) -> None:
    async with httpx.AsyncClient(base_url=backend, trust_env=False) as client:
        response = await client.get(f"/api/flows/main/stream/s1?{query}")
    assert response.status_code == 400
    assert named in response.json()["error"]["message"]


async def said(text: str, **options: Any) -> tuple[list[str], str]:
    """A client's `speak`, fed with a reply in tokens of a few letters."""
    spoken: list[str] = []

    async def tokens() -> AsyncIterator[str]:
        for start in range(0, len(text), 4):
            yield text[start : start + 4]

    async def speak(sentence: str) -> None:
        spoken.append(sentence)

    return spoken, await stream_with_sentences(tokens(), speak, **options)


async def test_each_sentence_is_spoken_and_the_whole_text_comes_back() -> None:
    text = "The weather is fine today. Dr. Smith walks 3.5 miles, as always. And you?"
    spoken, whole = await said(text)
    assert whole == text
    assert spoken == [
        "The weather is fine today.",
        "Dr. Smith walks 3.5 miles, as always.",
        "And you?",
    ]


async def test_short_sentences_are_merged_up_to_the_length_asked_for() -> None:
    text = "Yes. No. Maybe so. All of it."
    assert (await said(text, min_sentence_length=1))[0] == [
        "Yes.",
        "No.",
        "Maybe so.",
        "All of it.",
    ]
    assert (await said(text, min_sentence_length=500))[0] == [text]


async def test_a_sentence_is_spoken_before_the_next_one_is_written() -> None:
    heard = asyncio.Event()

    async def tokens() -> AsyncIterator[str]:
        yield "The first sentence is whole. "
        yield "The "
        # Without a voice by now, nothing more would ever be written.
        await heard.wait()
        yield "second one follows."

    async def speak(sentence: str) -> None:
        heard.set()

    async with asyncio.timeout(20):
        assert (await stream_with_sentences(tokens(), speak)).endswith("second one follows.")


async def test_a_voice_that_fails_ends_the_reply_and_its_tokens() -> None:
    closed = False

    async def tokens() -> AsyncIterator[str]:
        nonlocal closed
        try:
            while True:
                yield "A sentence that is long enough. "
                await asyncio.sleep(0)
        finally:
            closed = True

    async def speak(sentence: str) -> None:
        raise ConnectionError("no voice")

    source = tokens()
    with pytest.raises(ConnectionError, match="no voice"):
        await stream_with_sentences(source, speak)
    await source.aclose()  # type: ignore[attr-defined]
    assert closed


async def test_nothing_written_is_nothing_spoken() -> None:
    assert await said("") == ([], "")
    assert await said(" \n ") == ([], " \n ")


def test_the_speech_buffer_of_the_documents() -> None:
    buffer = SpeechBuffer()
    assert buffer.add("Hello") is None
    assert buffer.add(" world. ") == "Hello world. "
    assert buffer.add("How are") is None
    assert buffer.flush() == "How are"
    assert not buffer.flush()


def test_a_long_sentence_leaves_in_phrases_that_end_with_a_word() -> None:
    buffer = SpeechBuffer(min_chars=30)
    text = "If you walk along the river, you will find the old mill behind the third bridge"
    phrases = [phrase for word in text.split() if (phrase := buffer.add(word + " "))]
    assert phrases == [
        "If you walk along the river, ",
        "you will find the old mill behind ",
    ]
    assert buffer.flush() == "the third bridge "


def test_a_number_is_not_torn_apart() -> None:
    buffer = SpeechBuffer(min_chars=10)
    assert [buffer.add(token) for token in ["It", " is", " 3", ".", "5", " miles. "]] == [
        *[None] * 5,
        "It is 3.5 miles. ",
    ]


@given(st.lists(st.text(alphabet="ab .,!?\n1好。（)“", max_size=12)), st.integers(1, 40))
def test_the_speech_buffer_loses_nothing(tokens: list[str], min_chars: int) -> None:
    buffer = SpeechBuffer(min_chars=min_chars)
    phrases = [phrase for token in tokens if (phrase := buffer.add(token)) is not None]
    assert all(phrases)
    assert "".join(phrases) + buffer.flush() == "".join(tokens)
