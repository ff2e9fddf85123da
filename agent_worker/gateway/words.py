"""The words of an answer: as the model writes them, and as the voice comes to them."""

from __future__ import annotations

from collections.abc import Callable
from weakref import WeakSet

from livekit.agents import llm
from livekit.agents.types import FlushSentinel
from livekit.agents.voice import SpeechHandle, io

from agent_worker.livekit_private import speech_of_this_task

Said = llm.ChatChunk | str | FlushSentinel


class WordsTap:
    """Takes the model's words at once, before the session has them.

    What is written on speculation, while the caller may go on, is kept until the answer stands:
    an answer that is thrown away was never said.

    Args:
        written: takes each piece of an answer that stands.
    """

    def __init__(self, written: Callable[[str], None]) -> None:
        self._written = written
        self._newest: _Words | None = None
        self._tapped: WeakSet[SpeechHandle] = WeakSet()

    def release(self) -> None:
        """The answer may have come to stand: hands on what was kept of it."""
        if self._newest is not None:
            self._newest.release()

    def say(self, text: str) -> None:
        """The text is on its way to the voice: seen already, but where no model has written it."""
        speech = speech_of_this_task()
        if speech is not None and speech in self._tapped:
            self.release()
        else:
            self._written(text)

    def begins(self) -> Callable[[Said], None]:
        """A model begins to write, in this task. Returns what takes each piece of it."""
        speech = speech_of_this_task()
        if speech is None:
            # whether it will be said can't be known: `say` tells its words
            return lambda piece: None
        words = self._newest = _Words(speech, self._written)
        self._tapped.add(speech)
        return words.add


class _Words:
    """The words of one generation."""

    def __init__(self, speech: SpeechHandle, written: Callable[[str], None]) -> None:
        self._speech = speech
        self._written = written
        self._kept: list[str] = []

    def add(self, piece: Said) -> None:
        match piece:
            case str():
                self._kept.append(piece)
            case llm.ChatChunk(delta=llm.ChoiceDelta(content=str(text))):
                self._kept.append(text)
        self.release()

    def release(self) -> None:
        if not self._speech.scheduled:
            return
        kept, self._kept = self._kept, []
        if self._speech.interrupted:
            return
        for text in kept:
            if text:
                self._written(text)


class SayingTap(io.TextOutput):
    """Sees each text that goes to the voice, and hands it on."""

    def __init__(self, seen: Callable[[str], None], next_in_chain: io.TextOutput) -> None:
        super().__init__(label="websocket", next_in_chain=next_in_chain)
        self._seen = seen
        self._next = next_in_chain

    async def capture_text(self, text: str) -> None:
        if text:
            self._seen(text)
        await self._next.capture_text(text)

    def flush(self) -> None:
        self._next.flush()


class SpokenWords(io.TextOutput):
    """Takes the words in time with the voice."""

    def __init__(self, heard: Callable[[str], None]) -> None:
        super().__init__(label="websocket", next_in_chain=None)
        self._heard = heard
        self._space = ""

    async def capture_text(self, text: str) -> None:
        if not text.strip():
            # White space comes by itself, and is nothing to tell of.
            self._space += text
            return
        space, self._space = self._space, ""
        self._heard(space + text)

    def flush(self) -> None:
        """The stretch is over; white space at its end is no word."""
        self._space = ""
