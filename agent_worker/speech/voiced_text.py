"""Text that knows whose voice is to speak it, on its way from the model to the engine.

Phrases are synthesised ahead of the playout, so the voice can't be a state of the engine that is
switched when a speaker begins: it goes with the words. A session without `tts_text_transforms`
passes strings through as they are, and to everything but the agent a `VoicedText` is a string like
any other.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable
from contextlib import aclosing

from livekit.agents import llm

_LONGEST_NAME = 64
_MOST_SPEAKERS = 32
SPEAKER_KEY = "speaker"
"""In a chunk's `extra`, who speaks from there on; see `livekit.plugins.langgraph.LLM`."""


class VoicedText(str):
    """Text for one voice.

    Attributes:
        voice: the name of the voice.
    """

    voice: str

    def __new__(cls, text: str, voice: str) -> VoicedText:
        """Makes it of plain text."""
        made = super().__new__(cls, text)
        made.voice = voice
        return made


def voice_of(text: str) -> str | None:
    """Whose voice is to speak it; None = the call's own."""
    return text.voice if isinstance(text, VoicedText) else None


def voiced(text: str, voice: str | None) -> str:
    """The same text for that voice."""
    return text if voice is None else VoicedText(text, voice)


class SpeakerMarks:
    """Hands the voice of whoever speaks on to all chunks of a reply that follow."""

    def __init__(self) -> None:
        self._voice: str | None = None
        self._length = 0
        self._names: deque[tuple[str, int]] = deque(maxlen=_MOST_SPEAKERS)

    def new_names(self) -> list[tuple[str, int]]:
        """Who has begun to speak since the last time: name, and characters of the reply before."""
        names = list(self._names)
        self._names.clear()
        return names

    def mark(self, chunk: llm.ChatChunk) -> None:
        """Marks the next chunk's words."""
        delta = chunk.delta
        if delta is None:
            return
        speaker = (delta.extra or {}).get(SPEAKER_KEY)
        if isinstance(speaker, dict):
            voice = speaker.get("voice")
            self._voice = voice if isinstance(voice, str) and voice else None
            name = speaker.get("name")
            if isinstance(name, str) and name:
                self._names.append((name[:_LONGEST_NAME], self._length))
        if delta.content:
            self._length += len(delta.content)
            # set after the chunk was made: its validation would make it a plain string again
            delta.content = voiced(delta.content, self._voice)


async def cut_by_voice(
    tokens: AsyncIterable[str],
    cut: Callable[[AsyncIterator[str]], AsyncGenerator[str, None]],
) -> AsyncGenerator[str, None]:
    """Cuts tokens into phrases, each of which has one voice.

    Args:
        tokens: of one reply.
        cut: makes phrases of the tokens of one voice.
    """
    runs = _Runs(tokens)
    while await runs.begin():
        voice = runs.voice
        async with aclosing(cut(runs.run())) as phrases:
            async for phrase in phrases:
                yield voiced(phrase, voice)


class _Runs:
    """Tokens, one after the other, as runs of the same voice."""

    def __init__(self, tokens: AsyncIterable[str]) -> None:
        self._tokens = aiter(tokens)
        self._next: str | None = None

    @property
    def voice(self) -> str | None:
        """Of the run that is to come."""
        return None if self._next is None else voice_of(self._next)

    async def begin(self) -> bool:
        """Waits for the next run; False when there is none."""
        if self._next is None:
            self._next = await anext(self._tokens, None)
        return self._next is not None

    async def run(self) -> AsyncGenerator[str, None]:
        """The tokens up to the next voice."""
        token, voice, self._next = self._next, self.voice, None
        if token is not None:
            yield token
        async for token in self._tokens:
            if voice_of(token) != voice:
                self._next = token
                return
            yield token
