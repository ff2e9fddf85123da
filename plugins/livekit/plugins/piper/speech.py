"""One piece of text on its way through the engine, step by step.

Each window is a job of its own for the engine's threads. So rooms that speak at once take turns
window by window, and a cancelled utterance stops at the next one.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Iterator

from livekit.agents import APIConnectionError, APITimeoutError

from local_tts.delivery import Chunk, SpokenWord
from local_tts.text import cut_at_last, encodable
from local_tts.word_alignment import WordSpan, align_words, evenly, words_within

from .durations import phoneme_starts
from .engine import Engine, Sentence, SpeechOptions, VoiceError

MAX_PIECE_CHARS = 300
"""The encoder's time grows with the length, and no audio comes before it is done."""

_LAST_BREAK = re.compile(r".*(?:[.!?。！？;；,，]\s+|[。！？；，]|\s)", re.DOTALL)


def split_long(text: str) -> list[str]:
    """Cuts `text` at clause ends or spaces into pieces which, joined, are `text`."""
    return cut_at_last(text, MAX_PIECE_CHARS, _LAST_BREAK)


def speakable(text: str) -> str:
    """Replaces what the phonemizer's C interface refuses: lone surrogates and zero bytes."""
    return encodable(text.replace("\0", " "))


async def speak(
    engine: Engine, text: str, options: SpeechOptions, *, sample_rate: int, timeout_s: float
) -> AsyncGenerator[Chunk, None]:
    """Yields the audio of `text` as it is made, and its words when their times are known.

    Raises:
        APITimeoutError: A step took longer than `timeout_s` seconds.
        APIConnectionError: The engine failed; not retryable if the voice itself is at fault.
    """
    loop = asyncio.get_running_loop()
    steps = render(engine, text, options, sample_rate)
    while True:
        try:
            async with asyncio.timeout(timeout_s):
                chunk = await loop.run_in_executor(engine.threads, next, steps, None)
        except TimeoutError as e:
            raise APITimeoutError(f"Piper gave no audio for {timeout_s} s") from e
        except (VoiceError, ImportError) as e:
            raise APIConnectionError(str(e), retryable=False) from e
        except Exception as e:
            raise APIConnectionError("Piper failed", retryable=True) from e
        if chunk is None:
            return
        yield chunk


def render(engine: Engine, text: str, options: SpeechOptions, sample_rate: int) -> Iterator[Chunk]:
    """Does the work of `speak`, without a loop; each `next` is one step of it."""
    engine.load(options.speaker)
    sentences = engine.phonemize(speakable(text))
    spans: list[WordSpan] = []
    first_phoneme, samples = 0, 0
    for sentence in sentences:
        utterance = engine.begin(sentence, options)
        began, starts = samples, None
        if utterance.frames is not None:
            starts = phoneme_starts(sentence.phonemes, engine.id_count, utterance.frames)
        for index, part in enumerate(utterance.parts):
            pcm = engine.to_pcm(part(), options)
            samples += len(pcm) // 2
            yield Chunk(pcm)
            # Words come after the sound that they are in: it should not wait for them.
            if starts is not None and index == 0:
                at = [began + start * utterance.hop for start in starts]
            elif starts is None and index == len(utterance.parts) - 1:
                at = evenly(began, samples, len(sentence.phonemes))
            else:
                continue
            spans = spans or _align(engine, text, sentences)
            yield Chunk(b"", words_within(spans, first_phoneme, at, sample_rate))
        first_phoneme += len(sentence.phonemes)
    if not sentences:
        yield Chunk(b"", (SpokenWord(text, 0.0, 0.0),))


def _align(engine: Engine, text: str, sentences: list[Sentence]) -> list[WordSpan]:
    return align_words(
        text,
        [sentence.phonemes for sentence in sentences],
        lambda word: engine.spoken_alone(speakable(word)),
    )
