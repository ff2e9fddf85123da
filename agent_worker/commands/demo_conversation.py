"""The demo's conversation: a caller made of code, what was heard and said, and its figures."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import math
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from livekit.agents import tts

from agent_worker.caller.client import SAMPLE_RATE, Pcm, SimulatedCaller, Spoken
from agent_worker.engines.build import caller_voice
from agent_worker.engines.chosen import Choices
from agent_worker.settings import Settings
from agent_worker.telemetry.latency import summary
from agent_worker.telemetry.waterfall import STAGES, stages_text, waterfall_svg, waterfall_text
from livekit import rtc

from .livekit_server import RunningServer
from .worker_process import RunError, room_token

Say = Callable[[str], None]

BARGE_IN = "tell me a story"
"""The turn whose answer is long enough to be interrupted."""
INTERRUPTION = "stop"
CONVERSATION = (
    "hello",
    "what time is it",
    "what is two plus three",
    "remember that my name is alice",
    BARGE_IN,
    "what is my name",
    "goodbye",
)
_SPEAK_OVER_AFTER_S = 1.5
_ANSWER_TIMEOUT_S = 30.0
_QUIET_S = 0.7
_ON_ITS_WAY_S = 0.03
"""Less than any audio takes from the worker to the caller, through the server and two buffers."""


@dataclasses.dataclass(frozen=True)
class Turn:
    """One exchange. Milliseconds count from the last voiced sample that the caller sent."""

    said: str
    heard: str
    answered: str
    waterfall_ms: dict[str, float]
    end_to_end_ms: float


@dataclasses.dataclass(frozen=True)
class BargeIn:
    """The caller spoke over the agent; milliseconds from their first voiced sample."""

    silent_after_ms: float
    answered_before: str
    """As much of the answer as had been spoken."""


@dataclasses.dataclass(frozen=True)
class Result:
    """A conversation and its figures, as ``--json`` prints it."""

    engines: dict[str, str]
    turns: list[Turn]
    barge_in: BargeIn
    folder: str

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            "engines": self.engines,
            "turns": [dataclasses.asdict(turn) for turn in self.turns],
            "barge_in": dataclasses.asdict(self.barge_in),
            "end_to_end_ms": summary([turn.end_to_end_ms for turn in self.turns]),
            "folder": self.folder,
        }


async def converse(
    settings: Settings, server: RunningServer, choices: Choices, folder: Path, say: Say
) -> Result:
    """Holds the demo's conversation and measures it; what came of it is left in `folder`.

    Raises:
        RunError, CallerError: a turn was not answered, with what to do.
    """
    say("Rendering the caller's lines …")
    lines = {text: await render(text) for text in (*CONVERSATION, INTERRUPTION)}
    room = f"demo-{uuid.uuid4().hex[:8]}"
    token = room_token(server, room=room, identity="caller", agent_name=settings.agent_name)
    turns: list[Turn] = []
    async with SimulatedCaller(server.url, token) as caller:
        await caller.wait_for_agent_state("listening", timeout_s=_ANSWER_TIMEOUT_S)
        if settings.greeting:
            await caller.audible_after(0.0, timeout_s=_ANSWER_TIMEOUT_S)
            say(f"\n   agent: {await caller.wait_for_answer(0.0, timeout_s=_ANSWER_TIMEOUT_S)}")
        barge_in: BargeIn | None = None
        for text in CONVERSATION:
            await _wait_for_quiet(caller)
            if text == BARGE_IN:
                turn, barge_in, next_turn = await _interrupt(caller, text, lines, say)
                turns += [turn, next_turn]
            else:
                turns.append(await _exchange(caller, text, lines[text], say))
        await _wait_for_quiet(caller)
        caller.save_recordings(folder / "caller.wav", folder / "agent.wav")
    if barge_in is None:
        raise RunError("the conversation holds no barge-in")
    engines = {"stt": choices.stt.name, "llm": choices.llm.name, "tts": choices.tts.name}
    result = Result(engines, turns, barge_in, str(folder))
    _save(result, folder)
    say("\n" + waterfall_text([(t.said, t.waterfall_ms) for t in turns]))
    say(
        f"barge-in: silent {barge_in.silent_after_ms:.0f} ms after the caller's first sound"
        f"\nfolder: {folder} (recordings, transcript, timings, waterfall.svg)"
    )
    return result


async def render(text: str, *, language: str = "en-us") -> Pcm:
    """A line in the caller's voice: mono int16 at the caller's sample rate."""
    async with caller_voice(language) as voice:
        return await said_by(voice, text)


async def said_by(voice: tts.TTS[Any], text: str) -> Pcm:
    """A line in any voice: mono int16 at the caller's sample rate."""
    resampler: rtc.AudioResampler | None = None
    parts: list[bytes] = []
    async with voice.synthesize(text) as stream:
        async for event in stream:
            frame = event.frame
            resampler = resampler or rtc.AudioResampler(frame.sample_rate, SAMPLE_RATE)
            parts += [bytes(f.data) for f in resampler.push(frame)]
    if resampler is not None:
        parts += [bytes(f.data) for f in resampler.flush()]
    return np.frombuffer(b"".join(parts), np.int16)


async def _wait_for_quiet(caller: SimulatedCaller) -> None:
    await caller.silent(for_s=_QUIET_S, timeout_s=2 * _ANSWER_TIMEOUT_S)
    await caller.wait_for_agent_state("listening", timeout_s=_ANSWER_TIMEOUT_S)


async def _exchange(caller: SimulatedCaller, text: str, pcm: Pcm, say: Say) -> Turn:
    since = time.time()
    say(f"\n  caller: {text}")
    spoken = await caller.speak(pcm)
    received_at = await caller.audible_after(spoken.ended_at, timeout_s=_ANSWER_TIMEOUT_S)
    await caller.silent(for_s=_QUIET_S, timeout_s=2 * _ANSWER_TIMEOUT_S)
    await caller.wait_for_answer(since, timeout_s=_ANSWER_TIMEOUT_S)
    return _turn(caller, text, since, spoken, received_at, say)


def _turn(
    caller: SimulatedCaller,
    text: str,
    since: float,
    spoken: Spoken,
    received_at: float,
    say: Say,
    *,
    until: float = math.inf,
) -> Turn:
    record = caller.latency_record(since) or {"at": {}}
    stages = {
        name: round((record["at"][key] - spoken.ended_at) * 1000, 1)
        for name, key in STAGES
        if key in record["at"]
    }
    end_to_end_ms = round((received_at - spoken.ended_at) * 1000, 1)
    turn = Turn(
        said=text,
        heard=caller.heard(since, until),
        answered=caller.answered(since, until),
        waterfall_ms={**stages, "first_audio_received": end_to_end_ms},
        end_to_end_ms=end_to_end_ms,
    )
    say(f"   heard: {turn.heard}\n   agent: {turn.answered}")
    say("          " + stages_text(turn.waterfall_ms))
    return turn


async def _interrupt(
    caller: SimulatedCaller, text: str, lines: dict[str, Pcm], say: Say
) -> tuple[Turn, BargeIn, Turn]:
    """A turn whose answer is cut short by the caller, and the turn that does it."""
    since = time.time()
    say(f"\n  caller: {text}")
    spoken = await caller.speak(lines[text])
    received_at = await caller.audible_after(spoken.ended_at, timeout_s=_ANSWER_TIMEOUT_S)
    await asyncio.sleep(max(0.0, received_at + _SPEAK_OVER_AFTER_S - time.time()))
    over_since = time.time()
    say(f"  caller: {INTERRUPTION} (over the agent)")
    over = await caller.speak(lines[INTERRUPTION])
    record = await caller.wait_for_latency_record(over.started_at, timeout_s=_ANSWER_TIMEOUT_S)
    # the next answer may follow within a fraction of a second: what is heard before it has left
    # the worker, and been on its way, is still the old one
    next_out = record["at"]["first_audio_out"] + _ON_ITS_WAY_S
    silent_at = caller.last_audible_before(next_out) or over.started_at
    answer_at = await caller.audible_after(next_out, timeout_s=_ANSWER_TIMEOUT_S)
    await caller.silent(for_s=_QUIET_S, timeout_s=2 * _ANSWER_TIMEOUT_S)
    turn = _turn(caller, text, since, spoken, received_at, lambda _: None, until=over_since)
    say(f"   heard: {turn.heard}\n   agent: {turn.answered} ✂")
    next_turn = _turn(caller, INTERRUPTION, over_since, over, answer_at, say)
    barge_in = BargeIn(round((silent_at - over.started_at) * 1000, 1), turn.answered)
    return turn, barge_in, next_turn


def _save(result: Result, folder: Path) -> None:
    timings = result.to_dict()
    transcript = [
        {"said": turn.said, "heard": turn.heard, "answered": turn.answered} for turn in result.turns
    ]
    _write(folder / "timings.json", json.dumps(timings, indent=2, ensure_ascii=False))
    _write(folder / "transcript.json", json.dumps(transcript, indent=2, ensure_ascii=False))
    rows = [(turn.said, turn.waterfall_ms) for turn in result.turns]
    _write(folder / "waterfall.svg", waterfall_svg(rows))


def _write(path: Path, text: str) -> None:
    path.write_text(text + "\n", encoding="utf-8")
