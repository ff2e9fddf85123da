"""The words of an answer: as the model writes them, and as the voice comes to them."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any
from weakref import WeakSet

from livekit.agents import Agent, ModelSettings, llm
from livekit.agents.types import FlushSentinel
from livekit.agents.voice import SpeechHandle, io
from livekit.agents.voice.agent_activity import _SpeechHandleContextVar

# `_SpeechHandleContextVar`: nothing else tells which answer a task writes. Without it, guesses that
# are thrown away would be told to the client; a test of ours fails when a new version lacks it.

Said = llm.ChatChunk | str | FlushSentinel


class WordsTap:
    """Sees the model's words on their way from an agent's `llm_node`, at once.

    What is written on speculation, while the caller may go on, is kept until the answer stands:
    an answer that is thrown away was never said.

    Args:
        agent: of one call; not started yet.
        written: takes each piece of an answer that stands.
    """

    def __init__(self, agent: Agent, written: Callable[[str], None]) -> None:
        self._node = agent.llm_node
        self._written = written
        self._newest: _Words | None = None
        self._tapped: WeakSet[SpeechHandle] = WeakSet()
        agent.llm_node = self._think  # type: ignore[method-assign]

    def release(self) -> None:
        """The answer may have come to stand: hands on what was kept of it."""
        if self._newest is not None:
            self._newest.release()

    def say(self, text: str) -> None:
        """The text is on its way to the voice: seen already, but where no model has written it."""
        speech = _SpeechHandleContextVar.get(None)
        if speech is not None and speech in self._tapped:
            self.release()
        else:
            self._written(text)

    async def _think(
        self, chat_ctx: llm.ChatContext, tools: list[llm.Tool], model_settings: ModelSettings
    ) -> AsyncGenerator[Said, None]:
        speech = _SpeechHandleContextVar.get(None)
        words = self._newest = _Words(speech, self._written)
        if speech is not None:
            self._tapped.add(speech)
        node: Any = self._node(chat_ctx, tools, model_settings)
        answer: Any = await node if inspect.isawaitable(node) else node
        if answer is None:
            return
        if isinstance(answer, str | llm.ChatChunk):
            words.add(answer)
            yield answer
            return
        async with aclosing(answer):
            async for piece in answer:
                words.add(piece)
                yield piece


class _Words:
    """The words of one generation."""

    def __init__(self, speech: SpeechHandle | None, written: Callable[[str], None]) -> None:
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
        speech = self._speech
        if speech is not None and not speech.scheduled:
            return
        kept, self._kept = self._kept, []
        if speech is not None and speech.interrupted:
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
