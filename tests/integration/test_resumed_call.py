"""A person who goes on after a pause in which the agent broke in: a whole call on real weights."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from agent_worker.caller.client import SAMPLE_RATE, Pcm, SimulatedCaller
from agent_worker.commands.livekit_server import RunningServer
from agent_worker.commands.worker_process import run_worker
from bench.hearing_clips import sound
from bench.hearing_score import edits, spoken_words
from bench.real_parts import Recording, piper_joe, prompts, whisper_base
from bench.turn_set import trimmed
from tests import real
from tests.fake_openai_server import FakeOpenAIServer, Reply
from tests.integration.test_call import TIMEOUT_S
from tests.speech import resample, to_pcm16

pytestmark = pytest.mark.timeout(180)

AGENT = "resumed"
LONG = (
    "That is a long story, and it goes on for a while, so that nobody hears all of it at once. " * 3
)
FIRST, REST = "cannot-complete-as-dialed", "agent-newlocation"


def recording(name: str) -> Recording:
    return next(r for r in prompts("en") if r.name == name)


def spoken(recording: Recording) -> Pcm:
    """A recording from its first to its last sound, at the caller's rate."""
    samples = resample(sound(recording.path), 16000, SAMPLE_RATE)
    return trimmed(np.frombuffer(to_pcm16(samples), np.int16))


async def test_both_halves_are_one_turn_and_no_word_is_lost_under_the_agents_voice(
    livekit_server: RunningServer, tmp_path: Path
) -> None:
    first, rest = recording(FIRST), recording(REST)
    async with FakeOpenAIServer(default=Reply(LONG)) as model:
        settings = real.worker_settings(
            livekit_server,
            agent_name=AGENT,
            stt="faster-whisper",
            stt_model=str(whisper_base()),
            llm="assistant",
            llm_url=model.base_url,
            llm_model=model.model,
            tts="piper",
            tts_voice=str(piper_joe()),
        )
        async with (
            run_worker(settings, log_file=tmp_path / "worker.log"),
            SimulatedCaller(livekit_server.url, real.token(livekit_server, agent=AGENT)) as caller,
        ):
            await caller.audible_after(0.0, timeout_s=TIMEOUT_S)
            await caller.wait_for_agent_state("listening", timeout_s=TIMEOUT_S)
            await caller.silent(for_s=0.7, timeout_s=TIMEOUT_S)
            half = await caller.speak(spoken(first))
            await caller.audible_after(half.ended_at, timeout_s=TIMEOUT_S)
            since = time.time()
            whole = await caller.speak(spoken(rest))
            await caller.audible_after(whole.ended_at, timeout_s=TIMEOUT_S)
            await caller.wait_for_answer(since, timeout_s=TIMEOUT_S)
        asked = [m["content"] for m in model.requests[-1].messages if m["role"] == "user"]
    said = spoken_words(f"{first.text} {rest.text}", "en")
    assert len(asked) == 1, asked
    assert edits(said, spoken_words(asked[0], "en")) <= 2, asked
