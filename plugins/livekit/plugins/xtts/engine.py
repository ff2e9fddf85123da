"""The one owner of the model: it keeps the process running and passes sentences through it."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from livekit.agents import APIConnectionError, APIError, APITimeoutError
from livekit.agents.utils import shortuuid

from .log import logger
from .process import ModelProcess
from .restart import RestartDelay
from .xtts_process.frames import Header

MODEL_FILES = ("config.json", "model.pth", "vocab.json")

MAX_RESTART_WAIT_S = 1.0
"""A request waits so long for a restart that is due; rather than longer, it fails at once."""


@dataclass(frozen=True)
class EngineConfig:
    """What makes one engine differ from another."""

    python: str
    model_dir: Path
    model_factory: str | None
    device: str
    use_deepspeed: bool
    load_timeout_s: float
    hang_timeout_s: float


@dataclass(eq=False)
class _Job:
    """One sentence, as the worker sees it."""

    process: ModelProcess
    loop: asyncio.AbstractEventLoop
    id: str = field(default_factory=shortuuid)
    messages: asyncio.Queue[tuple[Header, bytes]] = field(default_factory=asyncio.Queue)
    finished: bool = False
    """Nothing more will come for it."""
    watchdog: asyncio.TimerHandle | None = None

    def deliver(self, header: Header, payload: bytes = b"") -> None:
        """Hands a message over to the job's loop, from any thread."""
        # A loop that was closed has no one left in it who waits.
        with contextlib.suppress(RuntimeError):
            self.loop.call_soon_threadsafe(self.messages.put_nowait, (header, payload))


class Engine:
    """Starts the process when it is needed, again when it failed, and ends it in `aclose`.

    Safe to use from several loops: the process does one sentence at a time, for whoever comes.
    """

    def __init__(
        self, config: EngineConfig, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.config = config
        self._clock = clock
        self._lock = threading.RLock()
        self._process: ModelProcess | None = None
        self._ready = False
        self._started_at = 0.0
        self._failure: APIError | None = None
        self._waiters: list[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = []
        self._jobs: dict[str, _Job] = {}
        self._to_prepare: Header | None = None
        self._delay = RestartDelay(clock)
        self._closed = False

    @property
    def pid(self) -> int | None:
        """Of the process, while there is one."""
        return self._process.pid if self._process else None

    def start(self, voice: Header | None = None) -> None:
        """Starts the process, if it does not run; it loads the model and then gets to know a voice.

        Needs no event loop.

        Raises:
            APIError: It cannot be started, or not yet.
        """
        with self._lock:
            if voice is not None and self._ready:
                self._prepare(voice)
            elif voice is not None:
                self._to_prepare = voice
            if self._process is None:
                self._start()

    async def speak(self, message: Header, *, timeout_s: float) -> AsyncGenerator[bytes, None]:
        """Speaks one sentence.

        Closing the generator stops the model before its next token.

        Args:
            message: `text`, `language`, `voice` and `settings`, as the process wants them.
            timeout_s: Seconds to the first audio, and from any audio to the next.

        Yields:
            16-bit mono samples at 24 kHz, at most 4 KB at a time.

        Raises:
            APITimeoutError: No audio came in time; also while the model is still being loaded.
            APIConnectionError: The process cannot be started, or ended.
            APIError: The model failed.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        job: _Job | None = None
        try:
            async with asyncio.timeout_at(deadline):
                process = await self._ready_process()
            job = _Job(process, loop)
            with self._lock:
                self._jobs[job.id] = job
            if not process.send({"type": "synthesize", "id": job.id, **message}):
                raise APIConnectionError("the XTTS process is gone")
            while True:
                async with asyncio.timeout_at(deadline):
                    header, payload = await job.messages.get()
                if header["type"] == "done":
                    return
                if header["type"] == "audio":
                    yield payload
                    deadline = loop.time() + timeout_s
                elif header["type"] != "started":
                    raise _failure_of(header)
        except TimeoutError as error:
            self._kill_if_never_loaded()
            waited = "audio" if self._ready else "model; it is still being loaded"
            raise APITimeoutError(f"XTTS gave no {waited} for {timeout_s:g} s") from error
        finally:
            if job is not None:
                self._leave(job)

    async def aclose(self) -> None:
        """Ends the process. Safe to call twice."""
        with self._lock:
            self._closed = True
            process = self._process
        if process is not None:
            await asyncio.to_thread(process.close)

    async def _ready_process(self) -> ModelProcess:
        loop = asyncio.get_running_loop()
        while True:
            with self._lock:
                wait = 0.0 if self._process else self._delay.remaining_s()
                if not 0.0 < wait <= MAX_RESTART_WAIT_S:
                    self.start()
                    if self._process is not None and self._ready:
                        return self._process
                    waiter = loop.create_future()
                    self._waiters.append((loop, waiter))
                    wait = 0.0
            if wait:
                await asyncio.sleep(wait)
            else:
                await waiter

    def _start(self) -> None:
        if self._closed:
            raise APIConnectionError("the TTS is closed", retryable=False)
        if wait := self._delay.remaining_s():
            if self._failure is not None and not self._failure.retryable:
                raise self._failure
            raise APIConnectionError(f"XTTS failed; it is started again in {wait:.1f} s")
        config = self.config
        if config.model_factory is None:
            missing = [name for name in MODEL_FILES if not (config.model_dir / name).is_file()]
            if missing:
                raise APIConnectionError(
                    f"XTTS model not found in {config.model_dir} (no {', '.join(missing)}); run "
                    "`livekit.plugins.xtts.download_model(accept_license=True)` or give its folder "
                    "as `model_dir`",
                    retryable=False,
                )
        try:
            self._process = ModelProcess(
                config.python, on_message=self._on_message, on_exit=self._on_exit
            )
        except OSError as error:
            raise APIConnectionError(
                f"Python for XTTS at {config.python} cannot be started: {error.strerror}",
                retryable=False,
            ) from error
        self._ready = False
        self._failure = None
        self._started_at = self._clock()
        self._process.send(
            {
                "type": "load",
                "model_dir": str(config.model_dir),
                "model_factory": config.model_factory,
                "device": config.device,
                "use_deepspeed": config.use_deepspeed,
            }
        )

    def _prepare(self, voice: Header) -> None:
        if self._process is not None:
            self._process.send({"type": "prepare", "id": shortuuid("prepare_"), "voice": voice})

    def _on_message(self, process: ModelProcess, header: Header, payload: bytes) -> None:
        """In the process's thread."""
        with self._lock:
            match header["type"]:
                case "ready":
                    self._ready = True
                    if self._to_prepare is not None:
                        self._prepare(self._to_prepare)
                        self._to_prepare = None
                    self._wake(None)
                case "failed":
                    self._failure = APIConnectionError(
                        f"XTTS cannot be loaded: {header['message']}",
                        retryable=bool(header["retryable"]),
                    )
                    self._wake(self._failure)
                case kind:
                    self._pass_on(kind, header, payload)

    def _pass_on(self, kind: str, header: Header, payload: bytes) -> None:
        job = self._jobs.get(header["id"])
        if job is None:
            if kind == "error":
                logger.warning("XTTS could not prepare the voice: %s", header["message"])
            return
        if kind in ("done", "cancelled", "error"):
            del self._jobs[job.id]
            job.finished = True
            if job.watchdog is not None:
                with contextlib.suppress(RuntimeError):
                    job.loop.call_soon_threadsafe(job.watchdog.cancel)
            if kind == "done":
                self._delay.succeeded()
        if job.watchdog is None:
            job.deliver(header, payload)

    def _on_exit(self, process: ModelProcess, why: str) -> None:
        """In the process's thread."""
        with self._lock:
            self._process, self._ready = None, False
            jobs, self._jobs = list(self._jobs.values()), {}
            if not self._closed:
                self._delay.failed()
                logger.warning("%s", why)
            self._wake(APIConnectionError(why))
            for job in jobs:
                job.finished = True
                job.deliver({"type": "exit", "message": why})

    def _wake(self, error: APIError | None) -> None:
        waiters, self._waiters = self._waiters, []
        for loop, waiter in waiters:
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(_settle, waiter, error)

    def _leave(self, job: _Job) -> None:
        """Nobody listens to the job any more: stop it, and the process if it does not obey."""
        with self._lock:
            if job.finished:
                return
            job.watchdog = job.loop.call_later(
                self.config.hang_timeout_s, self._kill_if_unanswered, job
            )
        job.process.send({"type": "cancel", "id": job.id})

    def _kill_if_unanswered(self, job: _Job) -> None:
        if not job.finished:
            logger.warning("the XTTS process does not stop when told to, and is killed")
            job.process.kill()

    def _kill_if_never_loaded(self) -> None:
        with self._lock:
            late = self._clock() - self._started_at > self.config.load_timeout_s
            if self._process is not None and not self._ready and late:
                self._process.kill()


def _settle(waiter: asyncio.Future[None], error: APIError | None) -> None:
    if waiter.done():
        return
    if error is None:
        waiter.set_result(None)
    else:
        waiter.set_exception(error)


def _failure_of(header: Header) -> APIError:
    message: Any = header.get("message", "the XTTS process stopped")
    if header["type"] == "error":
        return APIError(f"XTTS failed: {message}", retryable=bool(header["retryable"]))
    return APIConnectionError(str(message))
