"""Models are in memory before the first call, and stay there between calls."""

from __future__ import annotations

import asyncio
import gc
from pathlib import Path

import pytest
from livekit.agents import JobExecutorType
from livekit.agents.job import JobProcess

from agent_worker.engines.choice import choose
from agent_worker.engines.chosen import Choices
from agent_worker.engines.found import choose_engines
from agent_worker.engines.inventory import Found
from agent_worker.engines.voices.registry import voice_engine
from agent_worker.engines.warm_engines import WarmEngines
from agent_worker.settings import Settings, load_settings
from agent_worker.worker import build_server
from livekit.plugins import piper
from tests import tiny_piper
from tests.voices_at_hand import ESPEAK

VOICE = "en_US-tiny-low"


@pytest.fixture
async def voiced(tmp_path: Path) -> tuple[Settings, Choices]:
    settings = load_settings(
        stt="bundled",
        llm="offline",
        cache_dir=tmp_path,
        tts_voice=VOICE,
        llm_discovery=False,
        end_of_turn_model="off",
    )
    settings.voices_dir().mkdir(parents=True)
    tiny_piper.build(settings.voices_dir() / f"{VOICE}.onnx")
    return settings, await choose_engines(settings)


def next_calls_voice(settings: Settings, choices: Choices) -> piper.TTS:
    gc.collect()
    voice = voice_engine("piper").build(settings, choices.tts)
    assert isinstance(voice, piper.TTS)
    return voice


async def test_a_call_finds_the_voice_loaded_until_the_process_lets_go_of_it(
    voiced: tuple[Settings, Choices],
) -> None:
    warm = WarmEngines(*voiced)
    warm.load()
    warm.load()
    await warm.until_voice_is_loaded()
    assert not next_calls_voice(*voiced).loading
    await warm.aclose()
    await warm.aclose()
    del warm
    assert next_calls_voice(*voiced).loading, "nothing holds it any more"


async def test_the_voice_of_a_worker_is_still_there_when_its_next_call_comes(
    voiced: tuple[Settings, Choices],
) -> None:
    server = build_server(*voiced)
    assert server.setup_fnc is not None
    thread = JobProcess(executor_type=JobExecutorType.THREAD, user_arguments=None, http_proxy=None)
    server.setup_fnc(thread)
    # of one call; it waits behind the load that the worker has begun
    await asyncio.to_thread(next_calls_voice(*voiced)._engine.load)
    assert not next_calls_voice(*voiced).loading


async def test_a_voice_that_has_no_model_is_not_waited_for() -> None:
    settings = load_settings(stt="bundled", llm="offline", tts="espeak")
    warm = WarmEngines(settings, choose(settings, Found(voices=ESPEAK)))
    await warm.until_voice_is_loaded()
    warm.load()
    await warm.until_voice_is_loaded()
    await warm.aclose()
