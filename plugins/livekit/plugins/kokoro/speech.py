"""One piece of text on its way through the engine, phrase by phrase.

Each phrase is a job of its own for the engine's threads. So rooms that speak at once take turns,
and a cancelled utterance stops in the middle of a phrase.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Iterator

from livekit.agents import APIConnectionError, APITimeoutError

from local_tts.delivery import Chunk, SpokenWord
from local_tts.text import cut_at_last
from local_tts.word_alignment import WordSpan, align_words, evenly, words_within

from .engine import SAMPLE_RATE, Engine, SpeechOptions, VoiceError
from .graph import Stop
from .phonemes import PhonemizerError

MAX_PIECE_CHARS = 600
"""The words of a piece are aligned before its first sound."""

_LAST_BREAK = re.compile(r".*(?:[.!?。！？;；,，]\s+|\s)", re.DOTALL)


def split_long(text: str) -> list[str]:
    """Cuts `text` at clause ends or spaces into pieces which, joined, are `text`."""
    return cut_at_last(text, MAX_PIECE_CHARS, _LAST_BREAK)


async def speak(
    engine: Engine, text: str, options: SpeechOptions, *, timeout_s: float
) -> AsyncGenerator[Chunk, None]:
    """Yields the audio of `text` phrase by phrase, with its words.

    Closing the generator stops the engine.

    Raises:
        APITimeoutError: A phrase took longer than `timeout_s` seconds.
        APIConnectionError: The engine failed; not retryable if the files are at fault.
    """
    loop = asyncio.get_running_loop()
    stop = Stop()
    steps = render(engine, text, options, stop)
    try:
        while True:
            try:
                async with asyncio.timeout(timeout_s):
                    chunk = await loop.run_in_executor(engine.threads, next, steps, None)
            except TimeoutError as e:
                raise APITimeoutError(f"Kokoro gave no audio for {timeout_s} s") from e
            except (VoiceError, PhonemizerError, ImportError) as e:
                raise APIConnectionError(str(e), retryable=False) from e
            except Exception as e:
                raise APIConnectionError("Kokoro failed", retryable=True) from e
            if chunk is None:
                return
            yield chunk
    finally:
        stop.set()


def render(engine: Engine, text: str, options: SpeechOptions, stop: Stop) -> Iterator[Chunk]:
    """Does the work of `speak`, without a loop; each `next` is one phrase."""
    engine.load()
    phrases = engine.phrases(text, options.language)
    spans: list[WordSpan] = []
    first_phoneme, samples = 0, 0
    for phrase in phrases:
        if stop.is_set:
            return
        rendered = engine.render(phrase, options, stop)
        pcm = engine.to_pcm(rendered.samples, options)
        began, samples = samples, samples + len(pcm) // 2
        at = (
            evenly(began, samples, len(phrase))
            if rendered.starts is None
            else [began + start for start in rendered.starts]
        )
        spans = spans or align_words(
            text, phrases, lambda word: engine.spoken_alone(word, options.language)
        )
        yield Chunk(pcm, words_within(spans, first_phoneme, at, SAMPLE_RATE))
        first_phoneme += len(phrase)
    if not phrases:
        yield Chunk(b"", (SpokenWord(text, 0.0, 0.0),))
