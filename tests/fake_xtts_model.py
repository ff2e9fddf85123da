"""A stand-in for coqui's `Xtts`, with its methods and its habits, for the process of the plugin.

It makes 10 ms of one level for each character; the level tells text and voice. Some words make it
misbehave: SLOW (a token each 10 ms, for minutes), ENDLESS (so too, in one chunk), STUCK (it stops
for nothing), CRASH, SEGFAULT, FAIL, MUTE, CUDA, CHATTER (it prints).
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

SAMPLE_RATE = 24000
TOKENS_OF_SLOW = 100_000

LOG_VARIABLE = "FAKE_XTTS_LOG"
"""A file in which every call is written down, if this is set."""


def level_of(text: str, voice: str) -> int:
    """The 16-bit level at which a text is spoken in a voice."""
    return zlib.crc32(f"{voice}/{text}".encode()) % 20000 + 1000


def speech_for(text: str, voice: str = "Claribel Dervla") -> bytes:
    """What the plugin plays for a text."""
    return np.full(SAMPLE_RATE // 100 * len(text), level_of(text, voice), "<i2").tobytes()


def recorded_voice(path: Path) -> str:
    """The voice that a recording is heard as."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def calls(log: Path) -> list[dict[str, Any]]:
    """What was written down so far."""
    if not log.exists():
        return []
    return [json.loads(line) for line in log.read_text().splitlines()]


class Tensor:
    """As much of a tensor as the plugin touches."""

    def __init__(self, samples: npt.NDArray[np.float32]) -> None:
        self._samples = samples

    def detach(self) -> Tensor:
        return self

    def float(self) -> Tensor:
        return self

    def cpu(self) -> Tensor:
        return self

    def numpy(self) -> npt.NDArray[np.float32]:
        return self._samples


class Inference:
    """The network that makes one token for each call, with torch's hook before it."""

    def __init__(self) -> None:
        self._hooks: list[Callable[..., None]] = []

    def register_forward_pre_hook(self, hook: Callable[..., None]) -> None:
        self._hooks.append(hook)

    def forward(self) -> None:
        for hook in self._hooks:
            hook(self, ())


class Gpt:
    def __init__(self) -> None:
        self.gpt_inference = Inference()


class Speakers:
    def __init__(self) -> None:
        self.speakers = {
            name: {"gpt_cond_latent": name, "speaker_embedding": name}
            for name in ("Claribel Dervla", "Ana Florence")
        }


class FakeXtts:
    """The methods of `TTS.tts.models.xtts.Xtts` that the plugin uses, with their signatures."""

    def __init__(self) -> None:
        self.gpt: Gpt | None = Gpt()
        self.speaker_manager = Speakers()

    def get_conditioning_latents(
        self,
        audio_path: str | list[str],
        max_ref_length: int = 30,
        gpt_cond_len: int = 6,
        gpt_cond_chunk_len: int = 6,
        librosa_trim_db: int | None = None,
        sound_norm_refs: bool = False,
        load_sr: int = 22050,
    ) -> tuple[Any, Any]:
        (path,) = [audio_path] if isinstance(audio_path, str) else audio_path
        _write_down(call="latents", path=path)
        voice = recorded_voice(Path(path))
        return voice, voice

    def inference_stream(
        self,
        text: str,
        language: str,
        gpt_cond_latent: Any,
        speaker_embedding: Any,
        stream_chunk_size: int = 20,
        overlap_wav_len: int = 1024,
        temperature: float = 0.75,
        length_penalty: float = 1.0,
        repetition_penalty: float = 10.0,
        top_k: int = 50,
        top_p: float = 0.85,
        do_sample: bool = True,
        speed: float = 1.0,
        enable_text_splitting: bool = False,
    ) -> Iterator[Tensor]:
        _write_down(call="speak", text=text, language=language, speed=speed, pid=os.getpid())
        _misbehave(text)
        if "MUTE" in text:
            return
        level = level_of(text, speaker_embedding) / 32767
        slow = "SLOW" in text or "ENDLESS" in text
        tokens = TOKENS_OF_SLOW if slow else len(text)
        ready = 0
        try:
            for token in range(tokens):
                if self.gpt is not None:
                    self.gpt.gpt_inference.forward()
                if slow:
                    time.sleep(0.01)
                ready += 1
                # One token is a chunk of its own, so that a test knows that it has begun.
                whole = ready == stream_chunk_size and "ENDLESS" not in text
                if whole or token in (0, tokens - 1):
                    size = SAMPLE_RATE // 100 * ready
                    yield Tensor(np.full(size, level, np.float32))
                    ready = 0
        finally:
            _write_down(call="left", text=text)


def _misbehave(text: str) -> None:
    if "CHATTER" in text:
        print("splitting the text:", text)
        sys.stdout.flush()
    if "CRASH" in text:
        raise SystemExit(7)
    if "SEGFAULT" in text:
        os.kill(os.getpid(), signal.SIGSEGV)
    if "STUCK" in text:
        time.sleep(3600)
    if "FAIL" in text:
        raise RuntimeError("the model is not well")
    if "CUDA" in text:
        raise RuntimeError("CUDA error: device-side assert triggered")


def _write_down(**call: Any) -> None:
    if log := os.environ.get(LOG_VARIABLE):
        with Path(log).open("a") as file:
            file.write(json.dumps(call) + "\n")


def build() -> FakeXtts:
    """The model of all tests that need no other."""
    _write_down(call="load", pid=os.getpid())
    return FakeXtts()


def build_without_hooks() -> FakeXtts:
    """A model that lets nobody in between its tokens."""
    model = FakeXtts()
    model.gpt = None
    return model


def build_never() -> FakeXtts:
    """A model that is loaded forever."""
    time.sleep(3600)
    raise AssertionError


def build_broken() -> FakeXtts:
    """A model that cannot be loaded, this time."""
    _write_down(call="load", pid=os.getpid())
    raise RuntimeError("out of memory")


def build_with_torch() -> FakeXtts:
    """A model that needs torch, of which a stand-in is on the path."""
    import torch

    _write_down(call="torch", file=torch.__file__)
    return FakeXtts()
