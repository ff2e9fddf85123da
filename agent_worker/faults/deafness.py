"""Whether the agent hears, and what it does when not: it says so, and tries again.

A recogniser that fails ends LiveKit's session's hearing for good, and one that hangs says nothing;
the agent would sit there friendly and deaf. Here its stream is opened anew, with the standby engine
where the own one hangs, and the caller is told what they have to do.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable
from contextlib import aclosing
from typing import Any, cast

from livekit.agents import AgentSession, UserStateChangedEvent, stt, utils

from livekit import rtc

from .words import FaultWords

logger = logging.getLogger(__name__)

_PAUSES_S = (0.1, 1.0, 2.0, 5.0)
"""Before the stream is opened again, after the first failure, the second, …"""
_SETTLED_S = 2.0
_VOICED_S = 2.0
"""Seconds of voice, less of which a recogniser may take for noise and say nothing about."""
_SIGN_WITHIN_S = 10.0
"""Seconds from the first of that voice to the recogniser's first sign of life, a slow one's too."""
_LOOK_EVERY_S = 0.25

Open = Callable[[AsyncIterable[rtc.AudioFrame], stt.STT[Any]], AsyncGenerator[stt.SpeechEvent]]


@dataclasses.dataclass(frozen=True)
class Reaction:
    """What to do about a recogniser that broke."""

    pause_s: float
    tell_deaf: bool = False
    standby: bool = False


class HearingPolicy:
    """Decides what a broken recogniser means. No I/O, no clock."""

    def __init__(self) -> None:
        self._failures = 0
        self._hung = False
        self._unproven = False
        self._asks = False
        self._deaf = False

    @property
    def deaf(self) -> bool:
        """Whether the caller was told that nothing is heard."""
        return self._deaf

    def broke(self, *, hung: bool, unheard: bool) -> Reaction:
        """The stream failed or hung.

        Args:
            hung: it gave no sign of life, though there was something to hear.
            unheard: the caller has said something that was not answered.
        """
        self._failures += 1
        self._hung = self._hung or hung
        self._unproven = self._unproven or hung or unheard
        self._asks = self._asks or unheard
        told, self._deaf = self._deaf, self._deaf or self._failures > 1
        return Reaction(
            pause_s=_PAUSES_S[min(self._failures, len(_PAUSES_S)) - 1],
            tell_deaf=self._deaf and not told,
            standby=self._hung,
        )

    def settled(self) -> bool:
        """A new stream has not failed for a while. Returns whether to ask what was said.

        Of a stream that broke over what the caller said this is no proof that the next one does
        not; but the caller has to speak for a proof to come, and is asked to, once.
        """
        if self._unproven and self._deaf:
            return False
        asks, self._asks = self._asks or self._deaf, False
        self._deaf = False
        if not self._unproven:
            self._failures = 0
        return asks

    def heard(self) -> None:
        """The recogniser gave a sign of life."""
        self._failures = 0
        self._hung = self._unproven = False
        self._deaf = self._asks = False


class Hearing:
    """Keeps one session hearing.

    Args:
        words: for the caller.
        standby: engine to use when the own one hangs; None = the own one again.
        on_change: told False when nothing is heard, True when something is again.
    """

    def __init__(
        self,
        words: FaultWords,
        *,
        standby: stt.STT[Any] | None = None,
        on_change: Callable[[bool], None] = lambda hears: None,
    ) -> None:
        self._words = words
        self._standby = standby
        self._on_change = on_change
        self._policy = HearingPolicy()
        self._session: AgentSession[Any] | None = None
        self._hears = True
        self._voiced_s = 0.0
        self._voice_since: float | None = None
        self._unheard_since: float | None = None
        self._opened_at = 0.0
        self._settled = False

    def attach(self, session: AgentSession[Any]) -> None:
        """Follows the voice of the caller, which is found without the recogniser."""
        self._session = session
        session.on("user_state_changed", self._on_user)

    async def recognize(
        self, audio: AsyncIterable[rtc.AudioFrame], engine: stt.STT[Any], open_stream: Open
    ) -> AsyncGenerator[stt.SpeechEvent, None]:
        """What the engine hears, over all its failures.

        Args:
            audio: the caller's voice.
            engine: hears it.
            open_stream: has an engine hear a voice, once.
        """
        source = _Source(audio)
        use = engine
        try:
            while True:
                self._begin()
                events = open_stream(source.follow(), cast("stt.STT[Any]", _Watched(use, self)))
                hung = False
                try:
                    async with aclosing(events):
                        async for event in _until(events, self._hangs, self._settles):
                            if event is None:
                                hung = True
                                break
                            yield event
                    if not hung:
                        return
                except Exception as e:
                    logger.warning("the recogniser failed", extra={"cause": type(e).__name__})
                reaction = self._policy.broke(hung=hung, unheard=self._unheard_since is not None)
                if hung:
                    logger.warning("the recogniser hangs; another stream is opened")
                self._tell(reaction)
                if reaction.standby and self._standby is not None:
                    use = self._standby
                await asyncio.sleep(reaction.pause_s)
        finally:
            await source.aclose()

    def alive(self) -> None:
        """The recogniser gave a sign."""
        self._count_anew()
        self._policy.heard()
        self._changed()

    def _begin(self) -> None:
        self._count_anew()
        self._opened_at = self._now()
        self._settled = False

    def _count_anew(self) -> None:
        self._voiced_s = 0.0
        if self._voice_since is not None:
            self._voice_since = self._now()
        self._unheard_since = self._voice_since

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    def _on_user(self, event: UserStateChangedEvent) -> None:
        now = self._now()
        if event.new_state == "speaking":
            self._voice_since = now
            if self._unheard_since is None:
                self._unheard_since = now
        elif self._voice_since is not None:
            self._voiced_s += now - self._voice_since
            self._voice_since = None

    def _hangs(self) -> bool:
        """Whether there was enough to hear for long enough, and nothing was heard."""
        if self._unheard_since is None:
            return False
        now = self._now()
        voiced_s = self._voiced_s
        if self._voice_since is not None:
            voiced_s += now - self._voice_since
        return voiced_s >= _VOICED_S and now - self._unheard_since >= _SIGN_WITHIN_S

    def _settles(self) -> None:
        if not self._settled and self._now() - self._opened_at >= _SETTLED_S:
            self._settled = True
            if self._policy.settled():
                self._say(self._words.hears_again)
            self._changed()

    def _tell(self, reaction: Reaction) -> None:
        self._changed()
        if reaction.tell_deaf:
            self._say(self._words.deaf)

    def _changed(self) -> None:
        hears = not self._policy.deaf
        if hears != self._hears:
            self._hears = hears
            self._on_change(hears)

    def _say(self, text: str) -> None:
        if self._session is None or not text:
            return
        try:
            self._session.say(text, add_to_chat_ctx=False)
        except RuntimeError:
            logger.debug("nothing can be said while the session closes")


class _Watched:
    """An engine whose streams tell of each event."""

    def __init__(self, engine: stt.STT[Any], hearing: Hearing) -> None:
        self._engine = engine
        self._hearing = hearing

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def stream(self, **options: Any) -> _WatchedStream:
        return _WatchedStream(self._engine.stream(**options), self._hearing)


class _WatchedStream:
    def __init__(self, stream: stt.RecognizeStream, hearing: Hearing) -> None:
        self._stream = stream
        self._hearing = hearing

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    async def __aenter__(self) -> _WatchedStream:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._stream.aclose()

    def __aiter__(self) -> _WatchedStream:
        return self

    async def __anext__(self) -> stt.SpeechEvent:
        event = await self._stream.__anext__()
        self._hearing.alive()
        return event


class _Source:
    """Audio that goes to whoever follows it last; frames that nobody follows are dropped."""

    def __init__(self, audio: AsyncIterable[rtc.AudioFrame]) -> None:
        self._audio = audio
        self._follower: asyncio.Queue[rtc.AudioFrame | None] | None = None
        self._ended = False
        self._pump: asyncio.Task[None] | None = None

    async def follow(self) -> AsyncIterator[rtc.AudioFrame]:
        queue: asyncio.Queue[rtc.AudioFrame | None] = asyncio.Queue()
        self._follower = queue
        if self._ended:
            return
        if self._pump is None:
            self._pump = asyncio.create_task(self._run(), name="hearing.source")
        while (frame := await queue.get()) is not None:
            yield frame

    async def aclose(self) -> None:
        if self._pump is not None:
            await utils.aio.cancel_and_wait(self._pump)

    async def _run(self) -> None:
        try:
            async for frame in self._audio:
                if self._follower is not None:
                    self._follower.put_nowait(frame)
        finally:
            self._ended = True
            if self._follower is not None:
                self._follower.put_nowait(None)


async def _until(
    events: AsyncIterator[stt.SpeechEvent], hangs: Callable[[], bool], look: Callable[[], None]
) -> AsyncGenerator[stt.SpeechEvent | None, None]:
    """The events; None, and no more, when they hang. Looks now and then."""
    while True:
        step = asyncio.ensure_future(anext(events, None))
        try:
            while not step.done():
                await asyncio.wait((step,), timeout=_LOOK_EVERY_S)
                look()
                if not step.done() and hangs():
                    yield None
                    return
            event = step.result()
        finally:
            await utils.aio.cancel_and_wait(step)
        if event is None:
            return
        yield event
