"""One phrase on its way from the engine's thread to the event loop."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import AsyncGenerator

from livekit.agents import APIConnectionError, APITimeoutError

from local_tts.delivery import Chunk, SpokenWord
from local_tts.espeak_library import SAMPLE_RATE
from local_tts.text import cut_at_last

from .engine import Engine, SpeechOptions, WordEvent

MAX_PIECE_CHARS = 600
"""A room holds the library for one piece at most: about 40 s of speech, 40 ms of work."""

_LAST_BREAK = re.compile(r".*(?:[.!?。！？;；]\s*|\s)", re.DOTALL)


class WordClock:
    """Turns the library's word beginnings into words with a beginning and an end."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._open = WordEvent(0, 0)
        self._opened = False

    def begin(self, event: WordEvent) -> SpokenWord | None:
        """Takes the next beginning; returns the word that it ends, if it ends one.

        "$3.14" is several words to the library; here a word in ASCII ends at a space.
        """
        if not self._opened:
            self._opened = True
            self._open = WordEvent(0, event.sample)
            return None
        at = event.character
        if not self._open.character < at < len(self._text):
            return None
        around = self._text[at - 1 : at + 1]
        if around.isascii() and not around[0].isspace():
            return None
        word = self._close(at, event.sample)
        self._open = event
        return word

    def finish(self, samples: int) -> SpokenWord:
        """Returns the last word, which ends with the audio."""
        return self._close(len(self._text), samples)

    def _close(self, character: int, sample: int) -> SpokenWord:
        return SpokenWord(
            self._text[self._open.character : character],
            self._open.sample / SAMPLE_RATE,
            max(sample, self._open.sample) / SAMPLE_RATE,
        )


def split_long(text: str) -> list[str]:
    """Cuts `text` at sentence ends or spaces into pieces which, joined, are `text`."""
    return cut_at_last(text, MAX_PIECE_CHARS, _LAST_BREAK)


async def speak(
    engine: Engine, text: str, options: SpeechOptions, *, timeout_s: float
) -> AsyncGenerator[Chunk, None]:
    """Yields the audio of `text` as the engine makes it. Closing the generator stops the engine.

    Raises:
        APITimeoutError: Nothing came from the engine for `timeout_s` seconds.
        APIConnectionError: The engine failed.
    """
    loop = asyncio.get_running_loop()
    chunks: asyncio.Queue[Chunk | None] = asyncio.Queue()
    cancelled = threading.Event()
    clock = WordClock(text)
    samples = 0

    def hand_over(chunk: Chunk | None) -> None:
        try:
            loop.call_soon_threadsafe(chunks.put_nowait, chunk)
        except RuntimeError:  # the loop was closed under us: nobody listens any more
            cancelled.set()

    def on_audio(pcm: bytes, events: list[WordEvent]) -> bool:
        nonlocal samples
        samples += len(pcm) // 2
        words = tuple(word for event in events if (word := clock.begin(event)))
        if not cancelled.is_set() and (pcm or words):
            hand_over(Chunk(pcm, words))
        return not cancelled.is_set()

    def work() -> None:
        try:
            if not cancelled.is_set():
                engine.synthesize(text, options, on_audio)
                hand_over(Chunk(b"", (clock.finish(samples),)))
        finally:
            hand_over(None)

    job = loop.run_in_executor(engine.thread, work)
    try:
        while True:
            async with asyncio.timeout(timeout_s):
                chunk = await chunks.get()
            if chunk is None:
                break
            yield chunk
        await job
    except TimeoutError as e:
        raise APITimeoutError(f"espeak-ng gave no audio for {timeout_s} s") from e
    except Exception as e:
        raise APIConnectionError("espeak-ng failed", retryable=True) from e
    finally:
        cancelled.set()
        # The thread stops at its next callback; what it raises then concerns nobody.
        job.add_done_callback(lambda done: done.cancelled() or done.exception())
