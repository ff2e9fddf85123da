"""Tokens in, phrases out: text that streams from a model, cut where a voice can pause."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable

from .speech.boundaries import Boundary, BoundaryScanner, Cut, is_wide
from .speech.speech_buffer import SpeechBuffer

__all__ = ["SentenceStreamBuffer", "SpeechBuffer", "stream_with_sentences"]

_CJK_WEIGHT = 3
"""A CJK character takes about as long to say as three letters of an alphabet."""
_HARD_LIMIT = 4
"""A text without any place to cut is cut after this many times the longest sentence."""


class SentenceStreamBuffer:
    """Gathers tokens and lets go of phrases that are worth speaking.

    The first phrase of a reply leaves early: at the end of a clause or sentence once
    `first_fragment_length` characters are there (CJK: `first_fragment_length_cjk`), or at a word
    boundary `first_fragment_delay_s` after the first character. Before it, a short clause that
    opens the reply ("Sure,", "No.") may leave on its own: `opening_length`. What follows leaves as
    whole sentences. A sentence shorter than `min_sentence_length` is merged with the next one, a
    paragraph always ends a phrase, and what is longer than `max_sentence_length` is cut at a
    clause, or at a word where there is none. A cut is never within a number, an abbreviation, an
    address, brackets or quotes, except where these outgrow `max_sentence_length`.

    The phrases joined are the text that went in. They do not depend on how the text was split
    into tokens; only `poll`, and the clock in `push`, make timed cuts.

    The object does no I/O and serves one reply after the other: `flush` ends a reply.
    """

    def __init__(
        self,
        min_sentence_length: int = 20,
        *,
        max_sentence_length: int = 200,
        first_fragment_length: int | None = 10,
        first_fragment_length_cjk: int = 5,
        first_fragment_delay_s: float = 0.3,
        opening_length: int | None = None,
        stall_delay_s: float = 0.3,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        Args:
            min_sentence_length: Characters; shorter sentences are merged with the next. A CJK
                character counts as three.
            max_sentence_length: Characters; longer sentences are cut.
            first_fragment_length: Characters of the early first phrase; None switches the early
                phrase off, so that the first one is a whole sentence too.
            first_fragment_length_cjk: The same, in CJK characters.
            first_fragment_delay_s: Seconds after which the first phrase leaves at a word boundary.
            opening_length: Characters (a CJK one counts as three) of a clause with which a reply
                may open before the first fragment, to be heard while that is still on its way;
                None: it waits to be part of it.
            stall_delay_s: Seconds without new text after which a finished sentence leaves,
                though it is short or nothing has followed its full stop yet.
            clock: Returns seconds; any origin.
        """
        if not 0 <= min_sentence_length <= max_sentence_length:
            raise ValueError("min_sentence_length must be between 0 and max_sentence_length")
        self._min_length = max(min_sentence_length, 1)
        self._max_length = max_sentence_length
        self._first_length = first_fragment_length
        self._first_length_cjk = first_fragment_length_cjk
        self._first_delay_s = first_fragment_delay_s
        self._opening_length = opening_length
        self._stall_delay_s = stall_delay_s
        self._clock = clock
        self._scanner = BoundaryScanner()
        self._opened = False
        self._first_sent = False
        self._began_at: float | None = None
        self._pushed_at: float | None = None
        self._stall_settled = False
        self._weight = 0
        self._last_clause: int | None = None
        self._last_word: int | None = None
        self._last_tight_word: int | None = None
        self._start_reply()

    def push(self, text: str) -> list[str]:
        """Takes the next piece of text and returns the phrases that it completed."""
        phrases: list[str] = []
        for char in text:
            self._feed(char, phrases)
        if text:
            now = self._clock()
            self._pushed_at = now
            if self._began_at is None and self._scanner.text.strip():
                self._began_at = now
        return phrases + self._cut_first_at_word()

    def poll(self) -> list[str]:
        """Returns the phrases that are due by the clock."""
        phrases = self._cut_first_at_word()
        if phrases or self._pushed_at is None:
            return phrases
        if self._clock() < self._pushed_at + self._stall_delay_s:
            return phrases
        self._stall_settled = True
        if self._scanner.ends_sentence():
            phrases.append(self._take(len(self._scanner.text)))
        return phrases

    def flush(self) -> list[str]:
        """Ends the reply: returns what is left, and begins anew."""
        phrases: list[str] = []
        for cut in self._scanner.finish():
            self._consider(cut, phrases)
        if self._scanner.text:
            phrases.append(self._take(len(self._scanner.text)))
        self._start_reply()
        return phrases

    def reset(self) -> None:
        """Drops what is held and begins a new reply."""
        self._start_reply()

    @property
    def deadline(self) -> float | None:
        """When `poll` has something to decide next, on the clock given; None: not by itself."""
        if not self._scanner.text.strip():
            return None
        if self._first_pending() and self._began_at is not None:
            due = self._began_at + self._first_delay_s
            if self._clock() < due:
                return due
        if self._pushed_at is None or self._stall_settled:
            return None
        return self._pushed_at + self._stall_delay_s

    async def stream_with_sentences(self, tokens: AsyncIterable[str]) -> AsyncGenerator[str, None]:
        """Yields the phrases of one reply while its tokens arrive.

        Each phrase keeps the white space that follows it. Phrases joined are the tokens joined.
        """
        self.reset()
        source = aiter(tokens)
        following: asyncio.Task[str] | None = None
        try:
            while True:
                if following is None:
                    following = asyncio.ensure_future(_next(source))
                due = self.deadline
                wait_s = None if due is None else max(0.0, due - self._clock())
                await asyncio.wait([following], timeout=wait_s)
                if not following.done():
                    for phrase in self.poll():
                        yield phrase
                    continue
                try:
                    token = following.result()
                except StopAsyncIteration:
                    break
                finally:
                    following = None
                for phrase in self.push(token):
                    yield phrase
            for phrase in self.flush():
                yield phrase
        finally:
            if following is not None:
                following.cancel()
                with contextlib.suppress(asyncio.CancelledError, StopAsyncIteration):
                    await following
            self.reset()

    def _start_reply(self) -> None:
        self._scanner.restart("\n")
        self._opened = False
        self._first_sent = False
        self._began_at = None
        self._pushed_at = None
        self._stall_settled = False
        self._forget_cuts()

    def _forget_cuts(self) -> None:
        self._weight = 0
        self._last_clause = None
        self._last_word = None
        self._last_tight_word = None

    def _first_pending(self) -> bool:
        return not self._first_sent and self._first_length is not None

    def _feed(self, char: str, phrases: list[str]) -> None:
        """Takes one character; what a cut leaves over is read again under the new conditions."""
        waiting = deque(char)
        self._stall_settled = False
        while waiting:
            head = waiting.popleft()
            self._weight += _CJK_WEIGHT if is_wide(head) else 1
            for cut in self._scanner.feed(head):
                rest = self._consider(cut, phrases)
                if rest is not None:
                    break
            else:
                rest = self._force(phrases) if self._weight > self._max_length else None
            waiting.extendleft(reversed(rest or ""))

    def _consider(self, cut: Cut, phrases: list[str]) -> str | None:
        """Cuts there if the phrase is good for it; returns the text behind the cut made."""
        text = self._scanner.text
        position = cut.position
        match cut.boundary:
            case Boundary.PARAGRAPH:
                good = any(char.isalnum() for char in text[:position])
            case Boundary.SENTENCE:
                good = self._long_enough(position)
            case Boundary.CLAUSE:
                good = self._first_pending() and self._long_enough(position)
            case _:
                good = False
        opens = not good and self._opens(cut)
        if good or opens:
            phrases.append(self._take(position, is_opening=opens))
            return text[position:]
        match cut.boundary:
            case Boundary.WORD:
                self._last_word = position
            case Boundary.TIGHT_WORD:
                self._last_tight_word = position
            case _:
                self._last_clause = position
        return None

    def _long_enough(self, position: int) -> bool:
        text = self._scanner.text[:position].strip()
        wide = sum(map(is_wide, text))
        others = len(text) - wide
        if self._first_pending() and self._first_length is not None:
            share = others / max(self._first_length, 1) + wide / max(self._first_length_cjk, 1)
            return share >= 1
        return others + wide * _CJK_WEIGHT >= self._min_length

    def _opens(self, cut: Cut) -> bool:
        """Whether the reply's first clause may go ahead of its first fragment."""
        if self._opening_length is None or self._opened or not self._first_pending():
            return False
        if cut.boundary not in (Boundary.SENTENCE, Boundary.CLAUSE):
            return False
        return self._weight_before(cut.position) >= self._opening_length

    def _force(self, phrases: list[str]) -> str | None:
        """Cuts a phrase that grew too long; returns the text behind the cut made."""
        text = self._scanner.text
        for position in (self._last_clause, self._last_word, self._last_tight_word):
            if position is not None and self._is_sentence_sized(position):
                phrases.append(self._take(position))
                return text[position:]
        if self._weight > self._max_length * _HARD_LIMIT:
            phrases.append(self._take(len(text)))
            return ""
        return None

    def _is_sentence_sized(self, position: int) -> bool:
        return self._weight_before(position) >= self._min_length

    def _weight_before(self, position: int) -> int:
        text = self._scanner.text[:position].strip()
        return len(text) + (_CJK_WEIGHT - 1) * sum(map(is_wide, text))

    def _cut_first_at_word(self) -> list[str]:
        if not self._first_pending() or self._began_at is None:
            return []
        if self._clock() < self._began_at + self._first_delay_s:
            return []
        position = max(self._last_word or 0, self._last_clause or 0)
        if not self._scanner.text[:position].strip():
            return []
        phrases: list[str] = []
        rest = self._scanner.text[position:]
        phrases.append(self._take(position))
        for char in rest:
            self._feed(char, phrases)
        return phrases

    def _take(self, position: int, *, is_opening: bool = False) -> str:
        phrase = self._scanner.text[:position]
        self._scanner.restart(phrase[-1:])
        self._forget_cuts()
        if any(char.isalnum() for char in phrase):
            self._opened = True
            self._first_sent = not is_opening
            # the delay of the first fragment runs while the opening is heard
            self._began_at = None
        return phrase


async def _next(source: AsyncIterator[str]) -> str:
    return await anext(source)


async def stream_with_sentences(
    tokens: AsyncIterable[str],
    speak: Callable[[str], Awaitable[object]],
    min_sentence_length: int = 20,
) -> str:
    """Has a reply spoken sentence by sentence while it is still being written.

    Args:
        tokens: The reply as it comes.
        speak: Is awaited for each sentence as soon as that is whole, one after the other; no
            token is read meanwhile.
        min_sentence_length: Characters; shorter sentences are merged with the next.

    Returns:
        The whole text, with the white space as it was written.
    """
    buffer = SentenceStreamBuffer(
        min_sentence_length,
        max_sentence_length=max(200, min_sentence_length),
        first_fragment_length=None,
    )
    written = ""
    async with contextlib.aclosing(buffer.stream_with_sentences(tokens)) as sentences:
        async for sentence in sentences:
            written += sentence
            if spoken := sentence.strip():
                await speak(spoken)
    return written
