"""What the turn benchmark measures with: toys that every machine has, or real weights."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from agent_worker.caller.client import Pcm
from agent_worker.commands.demo_conversation import render, said_by
from livekit.plugins import piper

from .part_process import module
from .real_parts import piper_joe, whisper_base
from .turn_model import FIRST_TOKEN_S, TOKENS_PER_SECOND

Say = Callable[[str], Awaitable[Pcm]]
"""The caller's voice: a text as sound."""


@dataclass(frozen=True)
class Parts:
    """Engines that both pipelines use, and the caller's voice."""

    settings: dict[str, Any]
    say: Say


@dataclass(frozen=True)
class Toys:
    """The bundled recogniser and a scripted model, which behave the same on every machine."""

    voice: Literal["espeak", "tiny-piper"] = "espeak"

    @property
    def models(self) -> dict[str, str]:
        """Their names, for the report."""
        return {
            "stt": "bundled Whisper",
            "llm": f"scripted, {FIRST_TOKEN_S * 1000:.0f} ms to the first token, "
            f"{TOKENS_PER_SECOND:.0f} tokens/s",
            "tts": self.voice,
        }

    @asynccontextmanager
    async def running(self, folder: Path) -> AsyncIterator[Parts]:
        """Starts what they need, with its logs in this folder."""
        voice = _tiny_voice(folder) if self.voice == "tiny-piper" else None
        log_file = folder / "model.log"
        async with module("bench.turn_model", os.environ, log_file, ready='"url"') as ready:
            model = json.loads(ready)
            yield Parts(
                {
                    "stt": "bundled",
                    "llm": "assistant",
                    "llm_url": model["url"],
                    "llm_model": model["model"],
                    "tts": "espeak" if voice is None else "piper",
                    "tts_voice": None if voice is None else str(voice),
                },
                render,
            )


@dataclass(frozen=True)
class Real:
    """Whisper base and a real Piper voice, which the caller has too, as people install them."""

    llm: Literal["offline", "smollm2"] = "offline"

    @property
    def models(self) -> dict[str, str]:
        """Their names, for the report."""
        return {
            "stt": "Whisper base, INT8",
            "llm": {
                "offline": "the offline flow, rules and tools",
                "smollm2": "SmolLM2 135M Instruct on llama.cpp's server, one thread",
            }[self.llm],
            "tts": "Piper en_US-joe-medium",
        }

    @asynccontextmanager
    async def running(self, folder: Path) -> AsyncIterator[Parts]:
        """Starts what they need, with its logs in this folder.

        Raises:
            PartMissingError: Weights are not there.
        """
        engines = {
            "stt": "faster-whisper",
            "stt_model": str(whisper_base()),
            "tts": "piper",
            "tts_voice": str(piper_joe()),
        }
        async with piper.TTS(model=piper_joe()) as voice:
            say = partial(said_by, voice)
            if self.llm == "offline":
                yield Parts({**engines, "llm": "offline"}, say)
                return
            async with module(
                "bench.llama_server",
                os.environ,
                folder / "model.log",
                ready='"url"',
                arguments=("--context", "8192"),
            ) as ready:
                url = json.loads(ready)["url"]
                yield Parts({**engines, "llm": "assistant", "llm_url": url}, say)


def _tiny_voice(folder: Path) -> Path:
    from tests.tiny_piper import build

    return build(folder / "tiny.onnx")
