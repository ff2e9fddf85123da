"""The pipeline without a server: a WAV is the microphone, a WAV is the loudspeaker."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import av.error
import numpy as np
import numpy.typing as npt
from livekit.agents import ConversationItemAddedEvent, UserInputTranscribedEvent, llm
from livekit.agents.voice import io

from agent_worker.caller.wav import write_wav
from agent_worker.engines.build import EngineError, Engines, build_engines
from agent_worker.engines.choice import BUNDLED_LIMITS
from agent_worker.engines.chosen import Choices
from agent_worker.engines.found import choose_engines
from agent_worker.engines.language_model import read_prompt_ahead
from agent_worker.engines.warm_engines import kept_warm
from agent_worker.processes.house_model import HouseModelError, house_model_beside
from agent_worker.session import build_call
from agent_worker.settings import Settings
from agent_worker.steady_time import steady_time
from livekit import rtc

logger = logging.getLogger(__name__)

SAMPLE_RATE = 24_000
"""Hertz inside: of the microphone, the loudspeaker and the written WAV."""

_FRAME_S = 0.02
_FRAME = int(SAMPLE_RATE * _FRAME_S)
_QUIET_S = 2.0
_LONGEST_S = 3600
_ANSWER_TIMEOUT_S = 60.0
_GREETING_TIMEOUT_S = 30.0

Pcm = npt.NDArray[np.int16]


class TalkError(Exception):
    """The WAV can't be used, or no engine is there. The message says what to do."""


def read_audio(path: Path) -> Pcm:
    """Reads a sound file: any rate, any number of channels, any format that PyAV knows.

    Returns:
        Mono int16 at `SAMPLE_RATE`.

    Raises:
        TalkError: no such file, no sound in it, or longer than an hour.
    """
    parts: list[Pcm] = []
    seconds = 0.0
    resampler = av.AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE)
    try:
        with av.open(str(path)) as container:
            if not container.streams.audio:
                raise TalkError(f"{path} holds no audio")
            for frame in container.decode(audio=0):
                for resampled in resampler.resample(frame):
                    part = resampled.to_ndarray().reshape(-1).astype(np.int16)
                    parts.append(part)
                    seconds += len(part) / SAMPLE_RATE
                if seconds > _LONGEST_S:
                    raise TalkError(f"{path} is longer than an hour")
            for resampled in resampler.resample(None):
                parts.append(resampled.to_ndarray().reshape(-1).astype(np.int16))
    except FileNotFoundError:
        raise TalkError(f"{path}: no such file") from None
    except (av.error.FFmpegError, ValueError, OSError) as e:
        raise TalkError(f"{path} is no sound file that can be read ({e})") from e
    samples = np.concatenate(parts) if parts else np.zeros(0, np.int16)
    if not len(samples):
        raise TalkError(f"{path} holds no sound")
    return samples


class Microphone(io.AudioInput):
    """Samples as a microphone: in real time, with silence before and after them.

    Args:
        samples: spoken once `speak` is called.
    """

    def __init__(self, samples: Pcm) -> None:
        super().__init__(label="wav")
        self._samples = samples
        self._sent = 0
        self._position: int | None = None
        self._started_at: float | None = None
        self.finished = asyncio.Event()

    def speak(self) -> float:
        """Begins with the samples; gives the seconds of silence before them."""
        self._position = 0
        return self._sent / SAMPLE_RATE

    async def __anext__(self) -> rtc.AudioFrame:
        if self._started_at is None:
            self._started_at = time.monotonic()
        due = self._started_at + self._sent / SAMPLE_RATE
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        self._sent += _FRAME
        frame = self._samples[:0]
        if self._position is not None:
            frame = self._samples[self._position : self._position + _FRAME]
            self._position += _FRAME
            if self._position >= len(self._samples):
                self.finished.set()
        frame = np.pad(frame, (0, _FRAME - len(frame)))
        return rtc.AudioFrame(frame.tobytes(), SAMPLE_RATE, 1, _FRAME)


class Loudspeaker(io.AudioOutput):
    """Plays into memory, at the speed of sound: what is cut off is not in the recording."""

    def __init__(self) -> None:
        super().__init__(
            label="wav",
            capabilities=io.AudioOutputCapabilities(pause=True),
            sample_rate=SAMPLE_RATE,
        )
        self._opened_at = time.monotonic()
        self._played: list[tuple[float, Pcm]] = []
        self._segment: list[Pcm] = []
        self._played_s = 0.0
        self._running_since: float | None = None
        self._paused = False
        self._complete = False
        self._deaf = False
        self._ending: asyncio.Task[None] | None = None

    async def capture_frame(self, frame: rtc.AudioFrame) -> None:
        """Takes audio faster than it plays."""
        await super().capture_frame(frame)
        if self._deaf:
            return
        if not self._segment:
            self._played_s = 0.0
            self._complete = False
            self._running_since = None if self._paused else time.monotonic()
            self.on_playback_started(created_at=steady_time())
        self._segment.append(np.frombuffer(frame.data, np.int16).copy())

    def flush(self) -> None:
        """The segment is complete; it ends when it has been played."""
        super().flush()
        self._deaf = False
        if self._segment:
            self._complete = True
            self._end_when_played()

    def clear_buffer(self) -> None:
        """Stops at once: what has not been played is dropped."""
        if self._segment:
            # after a cut the rest may still be pushed until it is flushed: as a stretch of its
            # own it would be heard, and end once more than stretches began
            self._deaf = not self._complete
            self._keep_played()
            self._end(interrupted=True)

    def pause(self) -> None:
        """Holds the voice where it is."""
        super().pause()
        self._paused = True
        self._keep_played()

    def resume(self) -> None:
        """Goes on where it was held."""
        super().resume()
        self._paused = False
        if self._segment and self._running_since is None:
            self._running_since = time.monotonic()
            self._end_when_played()

    def _keep_played(self) -> None:
        """Moves what was played since the last start or resume to the recording."""
        if self._ending is not None:
            self._ending.cancel()
            self._ending = None
        if self._running_since is None:
            return
        audio = np.concatenate(self._segment)
        # Rounded: a position of whole samples, in seconds and back, must be the same samples.
        begin = round(self._played_s * SAMPLE_RATE)
        self._played_s += time.monotonic() - self._running_since
        run = audio[begin : int(self._played_s * SAMPLE_RATE)]
        self._played_s = (begin + len(run)) / SAMPLE_RATE
        self._played.append((self._running_since - self._opened_at, run))
        self._running_since = None

    def _end_when_played(self) -> None:
        if self._complete and self._running_since is not None and self._ending is None:
            length_s = sum(map(len, self._segment)) / SAMPLE_RATE
            remaining_s = length_s - self._played_s - (time.monotonic() - self._running_since)
            self._ending = asyncio.get_running_loop().create_task(self._end_after(remaining_s))

    async def _end_after(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        self._ending = None
        self._keep_played()
        self._end(interrupted=False)

    def _end(self, *, interrupted: bool) -> None:
        self._segment = []
        self.on_playback_finished(playback_position=self._played_s, interrupted=interrupted)

    @property
    def silent(self) -> bool:
        """Nothing is being played."""
        return not self._segment

    def recording(self) -> Pcm:
        """All that was played, each run at its time since the loudspeaker was opened."""
        length = max((int(at * SAMPLE_RATE) + len(s) for at, s in self._played), default=0)
        out = np.zeros(length, np.int16)
        for at, run in self._played:
            begin = int(at * SAMPLE_RATE)
            out[begin : begin + len(run)] = run
        return out


@dataclasses.dataclass(frozen=True)
class Line:
    """What was said in the call, in its order."""

    who: str
    """caller (as heard) or agent."""
    text: str
    interrupted: bool = False

    def __str__(self) -> str:
        label = "heard" if self.who == "caller" else "agent"
        return f" {label}: {self.text}{' ✂' if self.interrupted else ''}"


@dataclasses.dataclass(frozen=True)
class Talk:
    """A call that is over, as ``--json`` prints it."""

    engines: dict[str, str]
    lines: list[Line]
    began_s: float
    """Seconds from the recording's begin to the caller's first sample: the greeting."""
    output: str
    output_s: float

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return dataclasses.asdict(self)


def check_output(source: Path, target: Path) -> None:
    """Finds out before the call whether its recording can be written.

    Raises:
        TalkError: it would overwrite the caller's side, or its folder is not there.
    """
    if target.resolve() == source.resolve():
        raise TalkError(f"{target} is the input; name another file with -o")
    if target.is_dir() or not target.parent.is_dir():
        raise TalkError(f"{target} can't be written: name a file in a folder that is there")


async def talk(
    settings: Settings,
    source: Path,
    target: Path,
    *,
    say: Callable[[str], None],
    warn: Callable[[str], None] | None = None,
    caller_id: str | None = None,
) -> Talk:
    """Speaks a WAV to the agent and writes what it answers.

    Args:
        source: the caller's side; it begins when the greeting is over.
        target: gets the agent's side, from the call's begin.
        say: prints a line for people.
        warn: is told what will disappoint.
        caller_id: who speaks, as the agent's memory knows them; None = somebody unknown.

    Raises:
        TalkError: as above.
    """
    check_output(source, target)
    samples = read_audio(source)
    choices = await choose_engines(settings, until_ready=True, say=warn)
    if choices.problems:
        raise TalkError("\n".join(choices.problems))
    if warn is not None and choices.stt.detail == "bundled":
        warn(f"hearing: {BUNDLED_LIMITS}; {choices.stt.better}")
    try:
        async with house_model_beside(settings, choices) as running:
            await read_prompt_ahead(settings, running)
            async with kept_warm(settings, running):
                engines = build_engines(settings, running)
                return await _converse(
                    settings, running, engines, samples, target, say=say, caller_id=caller_id
                )
    except (EngineError, HouseModelError) as e:
        raise TalkError(str(e)) from e


async def _converse(
    settings: Settings,
    choices: Choices,
    engines: Engines,
    samples: Pcm,
    target: Path,
    *,
    say: Callable[[str], None],
    caller_id: str | None,
) -> Talk:
    call = build_call(settings, engines, caller_id=caller_id)
    microphone, loudspeaker = Microphone(samples), Loudspeaker()
    call.session.input.audio = microphone
    call.session.output.audio = loudspeaker
    quiet = _Quiet()
    lines: list[Line] = []
    greeted = asyncio.Event()

    def add(line: Line) -> None:
        lines.append(line)
        say(str(line))

    def on_heard(event: UserInputTranscribedEvent) -> None:
        quiet.disturb()
        if event.is_final and event.transcript:
            add(Line("caller", event.transcript))

    def on_item(event: ConversationItemAddedEvent) -> None:
        quiet.disturb()
        if isinstance(event.item, llm.ChatMessage) and event.item.role == "assistant":
            add(Line("agent", event.item.text_content or "", event.item.interrupted))
            greeted.set()

    def idle() -> bool:
        return call.session.agent_state == "listening" and loudspeaker.silent

    call.session.on("user_input_transcribed", on_heard)
    call.session.on("conversation_item_added", on_item)
    try:
        await call.start()
        if settings.greeting:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_GREETING_TIMEOUT_S):
                    await greeted.wait()
                    while not idle():
                        await asyncio.sleep(0.05)
        began_s = microphone.speak()
        await microphone.finished.wait()
        deadline = time.monotonic() + _ANSWER_TIMEOUT_S
        while quiet.for_s < _QUIET_S and time.monotonic() < deadline:
            if not idle():
                quiet.disturb()
            await asyncio.sleep(0.05)
    finally:
        await call.aclose()
    recording = loudspeaker.recording()
    try:
        write_wav(target, recording, SAMPLE_RATE)
    except OSError as e:
        raise TalkError(f"{target} can't be written: {e.strerror}") from e
    seconds = len(recording) / SAMPLE_RATE
    say(f"written: {target} ({seconds:.1f} s, the agent's side)")
    named = {"stt": choices.stt.name, "llm": choices.llm.name, "tts": choices.tts.name}
    return Talk(named, lines, round(began_s, 2), str(target), round(seconds, 2))


class _Quiet:
    """When something last happened."""

    def __init__(self) -> None:
        self._at = time.monotonic()

    def disturb(self) -> None:
        self._at = time.monotonic()

    @property
    def for_s(self) -> float:
        return time.monotonic() - self._at
