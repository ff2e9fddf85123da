"""Each stage can fail alone: the call goes on, and the caller is told."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from agent_worker.caller.client import CallerError, SimulatedCaller
from agent_worker.commands.demo_conversation import render
from agent_worker.commands.livekit_server import RunningServer
from agent_worker.commands.worker_process import run_worker
from tests import real
from tests.fake_openai_server import FakeOpenAIServer, Reply
from tests.integration.test_call import TIMEOUT_S, ask, greeted

pytestmark = pytest.mark.timeout(180)

NOBODY = "http://127.0.0.1:9/v1"
"""The discard port: nothing answers."""


@asynccontextmanager
async def call(
    server: RunningServer, folder: Path, **overrides: object
) -> AsyncIterator[SimulatedCaller]:
    """A call with a worker of its own, with these settings."""
    name = f"agent-{folder.name}"
    settings = real.worker_settings(server, agent_name=name, **overrides)
    async with (
        run_worker(settings, log_file=folder / "worker.log"),
        SimulatedCaller(server.url, real.token(server, agent=name)) as caller,
    ):
        yield caller


async def test_without_any_voice_the_answer_comes_in_writing(
    livekit_server: RunningServer, tmp_path: Path
) -> None:
    async with call(
        livekit_server, tmp_path, tts="speech-api", tts_url=NOBODY, tts_fallback=False
    ) as caller:
        await caller.wait_for_agent_state("listening", timeout_s=TIMEOUT_S)
        assert await caller.wait_for_answer(0.0, timeout_s=TIMEOUT_S) == (
            "Hello. How can I help you?"
        )
        assert caller.agent_attribute("agent.voice") == "text-only"
        with pytest.raises(CallerError, match="no voice"):
            await caller.audible_after(0.0, timeout_s=0.1)


async def test_another_voice_takes_over(livekit_server: RunningServer, tmp_path: Path) -> None:
    async with call(livekit_server, tmp_path, tts="speech-api", tts_url=NOBODY) as caller:
        assert await greeted(caller) == "Hello. How can I help you?"


async def test_the_bundled_model_takes_over_from_a_model_that_can_not_be_loaded(
    livekit_server: RunningServer, tmp_path: Path
) -> None:
    async with call(
        livekit_server, tmp_path, stt="auto", stt_model=_broken_model(tmp_path)
    ) as caller:
        await greeted(caller)
        assert "five" in (await ask(caller, "what is two plus three")).lower()


async def test_a_model_answers_and_when_it_fails_the_agent_says_so_and_the_call_goes_on(
    livekit_server: RunningServer, tmp_path: Path
) -> None:
    async with FakeOpenAIServer(default=Reply(status=400)) as model:
        model.enqueue(Reply("The weather is fine today, thank you for asking."))
        async with call(
            livekit_server, tmp_path, llm="assistant", llm_url=model.base_url, llm_model=model.model
        ) as caller:
            await greeted(caller)
            assert "fine today" in await ask(caller, "what is the weather like today")
            apology = await ask(caller, "tell me a joke")
            assert apology
            assert "fine today" not in apology
            model.enqueue(Reply("Here I am again, and well."))
            assert "again" in await ask(caller, "hello")


async def test_a_silent_call_ends_with_a_goodbye(
    livekit_server: RunningServer, tmp_path: Path
) -> None:
    async with call(
        livekit_server, tmp_path, session_timeout_s=3, goodbye="Goodbye then."
    ) as caller:
        await greeted(caller)
        since = time.time()
        await caller.wait_for_agent_to_leave(timeout_s=TIMEOUT_S)
        assert caller.answered(since) == "Goodbye then."


async def test_a_model_that_hangs_is_bridged_and_apologised_for_and_the_call_goes_on(
    livekit_server: RunningServer, tmp_path: Path
) -> None:
    async with (
        FakeOpenAIServer(default=Reply("Late, but here.", hang_after=0)) as model,
        call(
            livekit_server,
            tmp_path,
            llm="assistant",
            llm_url=model.base_url,
            llm_model=model.model,
            first_word_timeout_s=4,
        ) as caller,
    ):
        await greeted(caller)
        since = time.time()
        await caller.speak(await render("what is the weather like today"))
        await _answered(caller, "trouble answering", since)
        answered = caller.answered(since)
        assert "moment, please" in answered.split("trouble")[0] or "second" in answered
        model.enqueue(Reply("Here I am again, and well."))
        assert "again" in await ask(caller, "hello")


async def test_a_recogniser_that_breaks_is_said_and_shown_and_typing_still_works(
    livekit_server: RunningServer, tmp_path: Path
) -> None:
    broken = _broken_model(tmp_path)
    async with call(
        livekit_server, tmp_path, stt="faster-whisper", stt_model=broken, stt_fallback=False
    ) as caller:
        await _answered(caller, "can't hear you", 0.0)
        assert caller.agent_attribute("agent.hearing") == "lost"
        since = await caller.write("what is two plus three")
        await _answered(caller, "five", since)


def _broken_model(folder: Path) -> str:
    broken = folder / "broken"
    broken.mkdir()
    (broken / "model.bin").write_bytes(b"no model")
    return str(broken)


async def _answered(caller: SimulatedCaller, words: str, since: float) -> None:
    async with asyncio.timeout(TIMEOUT_S):
        while words not in caller.answered(since).lower():
            await asyncio.sleep(0.05)
