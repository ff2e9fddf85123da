"""What the voices share, where it is not seen through one of them."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections.abc import AsyncGenerator

import numpy as np
import pytest
from livekit.agents import NOT_GIVEN, APIConnectOptions, APIError, NotGivenOr, tokenize
from livekit.agents.tokenize.tokenizer import SentenceStream

from livekit.plugins import espeak, kokoro, piper, speech_api, xtts
from local_tts.delivery import Chunk
from local_tts.open_streams import OpenStreams
from local_tts.options import checked_numbers, sentences_unless
from local_tts.pieces import Pieces, speak_in_pieces
from local_tts.streams import OneAfterTheOther
from local_tts.threads import WorkThreads
from local_tts.voice_tts import VoiceTTS
from tests.fake_speech_server import FakeSpeechServer, frames_of, speech_for
from tests.tts_probe import WholePushes, pcm

ONCE = APIConnectOptions(max_retry=0, retry_interval=0.01, timeout=10)
TWICE_MORE = APIConnectOptions(max_retry=2, retry_interval=0.01, timeout=10)
TORN = "Hello \ud83d there, my friend."
"""A token can end in the middle of an emoji."""


class Written:
    """What somebody pushes to a stream."""

    def __init__(self, *pushes: object, endless: bool = False) -> None:
        self._pushes = list(pushes)
        self._endless = endless

    def __aiter__(self) -> Written:
        return self

    async def __anext__(self) -> object:
        if self._pushes:
            return self._pushes.pop(0)
        if self._endless:
            await asyncio.Event().wait()
        raise StopAsyncIteration


class FailsToCut(WholePushes):
    """A tokenizer that takes one push and no more."""

    def stream(self, *, language: str | None = None) -> SentenceStream:
        cutting = super().stream(language=language)
        push = cutting.push_text

        def push_once(text: str) -> None:
            cutting.push_text = fail  # type: ignore[method-assign]
            push(text)

        def fail(text: str) -> None:
            raise RuntimeError("no more")

        cutting.push_text = push_once  # type: ignore[method-assign]
        return cutting


async def test_pieces_are_spoken_while_the_next_ones_are_written() -> None:
    spoken: list[str] = []

    async def speak(pieces: Pieces) -> None:
        async for piece in pieces:
            spoken.append(piece)

    task = asyncio.create_task(
        speak_in_pieces(Written("One. ", "Two.", endless=True), WholePushes(), speak)
    )
    while len(spoken) < 2:
        await asyncio.sleep(0)
    assert not task.done()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert spoken == ["One. ", "Two."]
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_tokenizer_that_fails_ends_the_speech_instead_of_leaving_it_waiting() -> None:
    async def speak(pieces: Pieces) -> None:
        async for _ in pieces:
            pass

    with pytest.raises(RuntimeError, match="no more"):
        await speak_in_pieces(Written("One. ", "Two.", endless=True), FailsToCut(), speak)
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_speech_that_fails_ends_the_cutting() -> None:
    async def speak(pieces: Pieces) -> None:
        await anext(pieces)
        raise RuntimeError("hoarse")

    with pytest.raises(RuntimeError, match="hoarse"):
        await speak_in_pieces(Written("One. ", endless=True), WholePushes(), speak)
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.mark.parametrize("how", ["synthesize", "stream"])
async def test_half_an_emoji_is_spoken_around_and_the_turn_ends(how: str) -> None:
    async with (
        FakeSpeechServer().serve() as server,
        speech_api.TTS(base_url=server.url, model="kokoro", voice="v") as voice,
    ):
        if how == "synthesize":
            frames = await frames_of(voice.synthesize(TORN, conn_options=ONCE))
        else:
            stream = voice.stream(conn_options=ONCE)
            stream.push_text(TORN)
            stream.end_input()
            frames = await frames_of(stream)
        assert server.texts == ["Hello ? there, my friend."]
        assert b"".join(bytes(f.data) for f in frames) == speech_for("Hello ? there, my friend.")


def test_numbers_that_were_not_given_are_left_out_and_the_others_checked() -> None:
    limits = {"speed": (0.5, 2.0), "pitch": (0.0, 100.0)}
    some: dict[str, NotGivenOr[float]] = {"speed": 2.0, "pitch": NOT_GIVEN}
    assert checked_numbers(some, limits) == {"speed": 2.0}
    for wrong in (2.1, 0.4, float("nan"), float("inf")):
        with pytest.raises(ValueError, match=r"speed must be between 0\.5 and 2\.0"):
            checked_numbers({"speed": wrong}, limits)


def test_a_tokenizer_that_was_given_is_taken() -> None:
    own = WholePushes()
    assert sentences_unless(own, min_sentence_len=6, stream_context_len=3) is own
    default = sentences_unless(NOT_GIVEN, min_sentence_len=6, stream_context_len=3)
    assert isinstance(default, tokenize.blingfire.SentenceTokenizer)


async def test_streams_are_known_as_long_as_somebody_holds_them() -> None:
    async with speech_api.TTS(base_url="http://127.0.0.1:9", model="m") as voice:
        known = OpenStreams()
        held = known.added(voice.stream(conn_options=ONCE))
        let_go = known.added(voice.stream(conn_options=ONCE))
        await let_go.aclose()
        forgotten = weakref.ref(let_go)
        del let_go
        gc.collect()
        assert forgotten() is None
        await known.aclose()
        await known.aclose()
        assert held._task.done()


def test_threads_say_what_waits_for_them() -> None:
    begun, release = threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        release.wait(30)

    with WorkThreads(1, "test") as threads:
        busy = threads.submit(work)
        later = threads.submit(int)
        assert begun.wait(30)
        assert threads.waiting == 1
        release.set()
        busy.result(30)
        later.result(30)
        assert threads.waiting == 0


@pytest.mark.parametrize(
    "voice",
    [espeak.TTS, kokoro.TTS, piper.TTS, speech_api.TTS, speech_api.HiggsTTS, xtts.TTS],
    ids=lambda voice: f"{voice.__module__}.{voice.__name__}",
)
def test_every_voice_is_handed_over_in_the_same_way(voice: type[VoiceTTS]) -> None:
    assert issubclass(voice, VoiceTTS)
    assert (voice.stream, voice.synthesize) == (VoiceTTS.stream, VoiceTTS.synthesize)


class Scripted(OneAfterTheOther):
    """Speaks each text as the next word of its script says; without one it speaks well."""

    name, sample_rate = "scripted", 8000

    def __init__(self, script: dict[str, str]) -> None:
        self.script = {text: ways.split() for text, ways in script.items()}
        self.asked: list[str] = []

    def clean(self, text: str) -> str:
        return text

    def split_long(self, text: str) -> list[str]:
        return [text]

    async def speak(self, text: str, *, timeout_s: float) -> AsyncGenerator[Chunk, None]:
        self.asked.append(text)
        way, *self.script[text] = self.script.get(text) or ["well"]
        if way in ("well", "breaks_off"):
            yield Chunk(b"\1\0" * 400)
        if way != "well":
            raise APIError(way, retryable=way != "refuses")


class ScriptedTTS(VoiceTTS):
    """A voice of the base, with what it speaks with."""

    def __init__(self, delivery: Scripted) -> None:
        super().__init__(sample_rate=8000, tokenizer=WholePushes(), tells_words=False)
        self.scripted = delivery

    def _delivery(self) -> Scripted:
        return self.scripted


@pytest.mark.parametrize(
    ("script", "asked", "ends_well"),
    [
        ({"two": "fails"}, "one two two", True),
        ({"two": "fails fails"}, "one two two two", True),
        ({"two": "fails fails fails"}, "one two two two", False),
        # it would be heard twice
        ({"two": "breaks_off"}, "one two", False),
        ({"two": "refuses"}, "one two", False),
    ],
)
async def test_a_later_piece_is_made_again_as_long_as_nothing_was_heard_of_it(
    script: dict[str, str], asked: str, ends_well: bool
) -> None:
    delivery = Scripted(script)
    async with ScriptedTTS(delivery).stream(conn_options=TWICE_MORE) as stream:
        stream.push_text("one")
        stream.push_text("two")
        stream.end_input()
        if ends_well:
            heard = pcm([event async for event in stream])
            assert np.count_nonzero(heard) == 800
        else:
            with pytest.raises(APIError):
                _ = [event async for event in stream]
    assert " ".join(delivery.asked) == asked


async def test_of_a_first_piece_livekit_knows_each_failure() -> None:
    delivery = Scripted({"one": "fails fails"})
    voice = ScriptedTTS(delivery)
    told: list[object] = []
    voice.on("error", told.append)
    async with voice.synthesize("one", conn_options=TWICE_MORE) as stream:
        assert [event async for event in stream]
    assert delivery.asked == ["one"] * 3
    assert len(told) == 2
