"""From phrases to audio: synthesised in order, ahead of the playout but not far."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import aclosing
from typing import Any

from livekit.agents import APIConnectionError, APIConnectOptions, APIError, tts
from livekit.agents.types import USERDATA_TIMED_TRANSCRIPT, TimedString

from livekit import rtc

from .voice_health import VoiceHealth
from .voiced_text import voice_of

_POLL_S = 0.05
_SILENT_FRAME_S = 0.1
_CHARACTERS_A_SECOND = 15.0
"""How fast English is read aloud, about 170 words a minute."""


class Lookahead:
    """Decides when the next phrase may be synthesised. No I/O, no clock.

    A phrase is ahead as long as its first sample has not been played.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._starts_s: list[float] = []
        self._end_s = 0.0

    @property
    def synthesised_s(self) -> float:
        """Seconds of audio so far."""
        return self._end_s

    def begin_phrase(self) -> None:
        """A phrase's synthesis begins."""
        self._starts_s.append(self._end_s)

    def add_audio(self, duration_s: float) -> None:
        """Audio of the current phrase came out."""
        self._end_s += duration_s

    def wait_s(self, played_s: float) -> float:
        """Seconds of playout to wait for before the next phrase; 0 = now.

        Args:
            played_s: seconds of this reply that have been played.
        """
        ahead = [start for start in self._starts_s if start >= played_s]
        # the phrase at exactly the playhead is the one that starts to play now
        if len(ahead) < self._limit or not self._starts_s:
            return 0.0
        return max(ahead[-self._limit] - played_s, _POLL_S)


async def synthesize_phrases(
    phrases: AsyncIterator[str],
    engine: tts.TTS[Any],
    *,
    conn_options: APIConnectOptions,
    ahead: int,
    played_s: Callable[[], float],
    voice: VoiceHealth | None = None,
    voices: Callable[[str], tts.TTS[Any]] | None = None,
) -> AsyncGenerator[rtc.AudioFrame, None]:
    """Speaks each phrase in a stream of its own, so that its borders in the audio are known.

    Args:
        phrases: text to be read aloud; a phrase without a letter or digit is passed over, since
            engines have nothing to say for it.
        engine: any TTS; one that does not stream is asked for the whole phrase.
        ahead: phrases synthesised ahead of the playout at most.
        played_s: seconds of this reply played so far.
        voice: is told of failures, and says whether to try.
        voices: gives the engine for a phrase that names its voice (see `voiced_text`), at the
            sample rate of `engine`.

    Yields:
        Audio frames; the word times that an engine attaches count from the reply's start. A phrase
        that could not be spoken comes as silence of about its length, so that its text still
        reaches the caller in step, is kept in history, and can be interrupted.
    """
    voice = voice or VoiceHealth()
    lookahead = Lookahead(ahead)
    words = _Words()
    async for phrase in phrases:
        if not any(character.isalnum() for character in phrase):
            continue
        while (wait_s := lookahead.wait_s(played_s())) > 0:
            await asyncio.sleep(min(wait_s, _POLL_S))
        lookahead.begin_phrase()
        offset_s = lookahead.synthesised_s
        words.begin_phrase(phrase, offset_s)
        try:
            if not voice.worth_trying:
                raise APIConnectionError("the voice failed a moment ago")
            name = voice_of(phrase)
            speaker = engine if name is None or voices is None else voices(name)
            async with aclosing(_speak(phrase, speaker, conn_options)) as frames:
                async for frame in frames:
                    lookahead.add_audio(frame.duration)
                    words.place(frame)
                    yield frame
            voice.worked()
        except APIError:
            if voice.worth_trying:
                voice.failed()
            spoken_s = lookahead.synthesised_s - offset_s
            for frame in _in_writing(phrase, engine.sample_rate, spoken_s):
                lookahead.add_audio(frame.duration)
                words.place(frame)
                yield frame


def _in_writing(phrase: str, sample_rate: int, spoken_s: float) -> Iterator[rtc.AudioFrame]:
    """Silence in the place of a phrase, with its text if none of it has been spoken."""
    seconds = max(len(phrase) / _CHARACTERS_A_SECOND - spoken_s, 0.0)
    for number in range(math.ceil(seconds / _SILENT_FRAME_S)):
        samples = int(sample_rate * _SILENT_FRAME_S)
        frame = rtc.AudioFrame(bytes(2 * samples), sample_rate, 1, samples)
        if number == 0 and spoken_s == 0:
            frame.userdata[USERDATA_TIMED_TRANSCRIPT] = [
                TimedString(str(phrase), start_time=0.0, end_time=seconds)
            ]
        yield frame


async def _speak(
    phrase: str, engine: tts.TTS[Any], conn_options: APIConnectOptions
) -> AsyncGenerator[rtc.AudioFrame, None]:
    if engine.capabilities.streaming:
        async with engine.stream(conn_options=conn_options) as stream:
            stream.push_text(phrase)
            stream.end_input()
            async for event in stream:
                yield event.frame
    else:
        async with engine.synthesize(phrase, conn_options=conn_options) as chunks:
            async for event in chunks:
                yield event.frame


class _Words:
    """The times of a reply's words, counted from its start, with the white space between phrases.

    Each phrase is a text of its own to the engine, which leaves out the space at its end: what was
    heard, and so the history, would read "Hello.How can I help you?".
    """

    def __init__(self) -> None:
        self._offset_s = 0.0
        self._between = ""
        self._after = ""
        self._last = ""

    def begin_phrase(self, phrase: str, offset_s: float) -> None:
        """The words that come next are this phrase's, which begins at `offset_s`."""
        self._offset_s = offset_s
        self._between = self._after + phrase[: len(phrase) - len(phrase.lstrip())]
        self._after = phrase[len(phrase.rstrip()) :]

    def place(self, frame: rtc.AudioFrame) -> None:
        """Puts the words of a frame, if it has any, in their place."""
        words = frame.userdata.get(USERDATA_TIMED_TRANSCRIPT)
        if words:
            frame.userdata[USERDATA_TIMED_TRANSCRIPT] = [self._placed(word) for word in words]

    def _placed(self, word: str) -> TimedString:
        text = str(word)
        if self._last and not self._last[-1].isspace() and not text[:1].isspace():
            text = self._between + text
        self._between, self._last = "", text
        return TimedString(
            text,
            start_time=self._later(getattr(word, "start_time", None)),
            end_time=self._later(getattr(word, "end_time", None)),
        )

    def _later(self, time_s: object) -> float:
        return self._offset_s + time_s if isinstance(time_s, float) else self._offset_s
