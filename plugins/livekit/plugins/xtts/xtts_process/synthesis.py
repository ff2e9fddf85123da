"""One job after the other: text to samples, stopping when told to."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .frames import Header
from .model import XttsModel, own_voice, stop_between_tokens

CHUNK_BYTES = 4096
MAX_CACHED_VOICES = 16

# What the same text and voice would run into again.
_LASTING = (LookupError, TypeError, ValueError, AssertionError, FileNotFoundError)

Send = Callable[..., None]
"""Sends a message: a header, and a payload where there is one. Safe from any thread."""


class JobCancelledError(Exception):
    """The job was cancelled."""


@dataclass
class Job:
    """A `synthesize` or a `prepare` message."""

    message: Header
    cancelled: threading.Event = field(default_factory=threading.Event)
    running: bool = False

    @property
    def id(self) -> str:
        """Made by the worker."""
        return str(self.message["id"])


class Synthesis:
    """Does jobs in order. `add`, `cancel` and `end` come from another thread than `run`."""

    def __init__(self, model: XttsModel, send: Send) -> None:
        self._model = model
        self._send = send
        self._jobs: dict[str, Job] = {}
        self._lock = threading.Lock()
        self._waiting: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._current: Job | None = None
        self._voices: OrderedDict[str, tuple[Any, Any]] = OrderedDict()
        stop_between_tokens(model, self._check)

    def add(self, message: Header) -> None:
        """Puts a job at the end of the line."""
        job = Job(message)
        with self._lock:
            self._jobs[job.id] = job
        self._waiting.put(job)

    def cancel(self, job_id: str) -> None:
        """Stops a job, wherever it is. One that still waits is answered here and now."""
        with self._lock:
            job = self._jobs.get(job_id)
            if job is None:
                return
            job.cancelled.set()
            if job.running:
                return
            del self._jobs[job_id]
        self._send({"type": "cancelled", "id": job_id})

    def end(self) -> None:
        """Stops everything; `run` returns."""
        with self._lock:
            for job in self._jobs.values():
                job.cancelled.set()
        self._waiting.put(None)

    def run(self) -> None:
        """Works until `end`.

        Raises:
            RuntimeError: The GPU is in a state in which nothing works any more.
        """
        while (job := self._waiting.get()) is not None:
            with self._lock:
                if job.cancelled.is_set():
                    continue
                job.running = True
            self._current = job
            try:
                self._send(self._do(job))
            finally:
                self._current = None
                with self._lock:
                    self._jobs.pop(job.id, None)

    def _do(self, job: Job) -> Header:
        self._send({"type": "started", "id": job.id})
        try:
            voice = self._voice(job.message["voice"])
            if job.message["type"] == "synthesize":
                self._speak(job, voice)
        except JobCancelledError:
            return {"type": "cancelled", "id": job.id}
        except Exception as e:
            if "CUDA error" in str(e):
                raise RuntimeError("the GPU gave up; the process has to begin anew") from e
            return {
                "type": "error",
                "id": job.id,
                "message": f"{type(e).__name__}: {e}",
                "retryable": not isinstance(e, _LASTING),
            }
        return {"type": "done", "id": job.id}

    def _speak(self, job: Job, voice: tuple[Any, Any]) -> None:
        message = job.message
        chunks = self._model.inference_stream(
            message["text"], message["language"], *voice, **message.get("settings", {})
        )
        with contextlib.closing(_as_generator(chunks)) as running:
            for chunk in running:
                samples = to_pcm(chunk)
                for start in range(0, len(samples), CHUNK_BYTES):
                    self._check()
                    self._send(
                        {"type": "audio", "id": job.id}, samples[start : start + CHUNK_BYTES]
                    )
                self._check()

    def _check(self) -> None:
        if self._current is not None and self._current.cancelled.is_set():
            raise JobCancelledError

    def _voice(self, voice: Header) -> tuple[Any, Any]:
        if "speaker" in voice:
            return own_voice(self._model, voice["speaker"])
        key = voice["sha256"]
        if key not in self._voices:
            self._voices[key] = self._model.get_conditioning_latents(
                audio_path=[voice["path"]], max_ref_length=30, gpt_cond_len=30, gpt_cond_chunk_len=4
            )
            if len(self._voices) > MAX_CACHED_VOICES:
                self._voices.popitem(last=False)
        self._voices.move_to_end(key)
        return self._voices[key]


def to_pcm(chunk: Any) -> bytes:
    """16-bit samples of a tensor of floats, on whatever device it is."""
    if hasattr(chunk, "detach"):
        chunk = chunk.detach().float().cpu().numpy()
    samples = np.asarray(chunk, dtype=np.float32).reshape(-1)
    return np.clip(np.rint(samples * 32767.0), -32768, 32767).astype("<i2").tobytes()  # type: ignore[no-any-return]


def _as_generator(chunks: Iterator[Any]) -> Any:
    """A generator over anything iterable: closing it lets go of the model's work at once."""
    try:
        yield from chunks
    finally:
        if hasattr(chunks, "close"):
            chunks.close()
