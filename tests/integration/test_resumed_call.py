"""A person who goes on after a pause in which the agent broke in: a whole call on real weights."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from agent_worker.commands.livekit_server import RunningServer
from agent_worker.commands.simulate import read_audio
from bench.hearing_score import edits, spoken_words
from bench.real_parts import piper_joe, prompt, whisper_base
from bench.turn_set import trimmed
from tests.fake_openai_server import FakeOpenAIServer, Reply
from tests.integration.test_call import TIMEOUT_S
from tests.integration.test_stages import call

pytestmark = pytest.mark.timeout(180)

LONG = (
    "That is a long story, and it goes on for a while, so that nobody hears all of it at once. " * 3
)


async def test_both_halves_are_one_turn_and_no_word_is_lost_under_the_agents_voice(
    livekit_server: RunningServer, tmp_path: Path
) -> None:
    first, rest = prompt("en", "cannot-complete-as-dialed"), prompt("en", "agent-newlocation")
    async with FakeOpenAIServer(default=Reply(LONG)) as model:
        async with call(
            livekit_server,
            tmp_path,
            stt="faster-whisper",
            stt_model=str(whisper_base()),
            llm="assistant",
            llm_url=model.base_url,
            llm_model=model.model,
            tts="piper",
            tts_voice=str(piper_joe()),
        ) as caller:
            await caller.audible_after(0.0, timeout_s=TIMEOUT_S)
            await caller.wait_for_agent_state("listening", timeout_s=TIMEOUT_S)
            await caller.silent(for_s=0.7, timeout_s=TIMEOUT_S)
            half = await caller.speak(trimmed(read_audio(first.path)))
            await caller.audible_after(half.ended_at, timeout_s=TIMEOUT_S)
            since = time.time()
            whole = await caller.speak(trimmed(read_audio(rest.path)))
            await caller.audible_after(whole.ended_at, timeout_s=TIMEOUT_S)
            await caller.wait_for_answer(since, timeout_s=TIMEOUT_S)
        asked = [m["content"] for m in model.requests[-1].messages if m["role"] == "user"]
    said = spoken_words(f"{first.text} {rest.text}", "en")
    assert len(asked) == 1, asked
    assert edits(said, spoken_words(asked[0], "en")) <= 2, asked
