"""LiveKit's local audio end-of-turn model, asked in the pauses of a caller.

The model ("v1-mini", in the package livekit-local-inference that livekit-agents brings) hears the
last 1.2 s of a caller and gives the probability that the turn is over. Its weights exist once in a
process and serve every room; they come with the package, so nothing is downloaded. Its licence
allows it together with LiveKit Agents only.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt
from livekit.agents import LanguageCode, inference

from livekit import rtc

logger = logging.getLogger(__name__)

Pcm = npt.NDArray[np.int16]

SAMPLE_RATE = 16_000
"""Hertz."""
WINDOW = 19_200
"""Samples that the model hears at most, 1.2 s."""
_ASKED_AFTER_S = 0.2
"""Seconds of silence before it is asked; it was trained on no less."""
_MOST_WAITING = 8
"""Questions queued at once; an answer that comes later than the next word is worth nothing."""


class EndOfTurnModel:
    """The model of this process. One object serves any number of rooms, from any thread."""

    def __init__(self, *, load: Callable[[], Any] | None = None) -> None:
        """
        Args:
            load: Returns an object with `predict(pcm) -> float`; None: LiveKit's model.
        """
        self._load = load or _native_model
        self._loading = threading.Lock()
        # never held while the model works: rooms take it in their event loops
        self._lock = threading.Lock()
        self._model: Any = None
        self._failed = False
        self._waiting = 0
        self._executor: ThreadPoolExecutor | None = None
        self._pid = 0

    @property
    def available(self) -> bool:
        """Whether it works here, as far as is known."""
        return not self._failed

    def prewarm(self) -> bool:
        """Loads the model; safe to call again. Returns whether it is there.

        Loading holds the interpreter for 0.3 s and longer, so it belongs before the first call.
        """
        with self._loading:
            if self._model is None and not self._failed:
                try:
                    self._model = self._load()
                except Exception as e:
                    # a wrong platform shows as ImportError, OSError or RuntimeError
                    self._failed = True
                    logger.warning(
                        "the audio end-of-turn model can't be used here; turns end without it",
                        extra={"cause": f"{type(e).__name__}: {e}"},
                    )
            return self._model is not None

    async def probability(self, pcm: Pcm) -> float | None:
        """The probability that a turn is over; None: the model is absent, or too busy.

        Args:
            pcm: The caller until now, mono at 16 kHz, with the silence under way; shape (n,). Only
                the last 1.2 s count.
        """
        if self._failed:
            return None
        future = self._submit(np.ascontiguousarray(pcm[-WINDOW:]))
        return None if future is None else await asyncio.wrap_future(future)

    def _submit(self, window: Pcm) -> Future[float | None] | None:
        with self._lock:
            if self._executor is None or self._pid != os.getpid():
                # threads do not survive a fork, the weights do
                self._pid = os.getpid()
                self._waiting = 0
                self._executor = ThreadPoolExecutor(1, thread_name_prefix="end_of_turn")
            if self._waiting >= _MOST_WAITING:
                return None
            self._waiting += 1
            future = self._executor.submit(self._predict, window)
        future.add_done_callback(self._answered)
        return future

    def _answered(self, _: Future[float | None]) -> None:
        with self._lock:
            self._waiting -= 1

    def _predict(self, window: Pcm) -> float | None:
        if not self.prewarm():
            return None
        try:
            return float(self._model.predict(window))
        except Exception as e:
            with self._lock:
                first, self._failed = not self._failed, True
            if first:
                logger.warning(
                    "the audio end-of-turn model failed; turns end without it from now on",
                    extra={"cause": f"{type(e).__name__}: {e}"},
                )
            return None


def _native_model() -> Any:
    # public, and what LiveKit's own turn detector calls; a heavy native library, so not above
    from livekit.local_inference import EOT

    return EOT()


@functools.cache
def shared_model() -> EndOfTurnModel:
    """The one model of this process."""
    return EndOfTurnModel()


class PauseListener:
    """Hears one caller and asks the model in each pause."""

    def __init__(
        self,
        model: EndOfTurnModel,
        *,
        language: str = "en",
        asked_after_s: float = _ASKED_AFTER_S,
    ) -> None:
        """
        Args:
            model: Serves other rooms too.
            language: Of the caller, as a BCP 47 tag; each has its own threshold.
            asked_after_s: Seconds of silence before the model is asked.
        """
        self._model = model
        self._language = "en" if language == "auto" else language
        self._asked_after_s = asked_after_s
        self._heard = np.zeros(WINDOW, np.int16)
        self._resampler: rtc.AudioResampler | None = None
        self._rate = SAMPLE_RATE
        self._unlikely: float | None = None
        self._asking: asyncio.Task[None] | None = None

    def push(self, frame: rtc.AudioFrame) -> None:
        """Takes audio of the caller, of any rate and number of channels, as it comes."""
        if not self._model.available:
            return
        if frame.sample_rate != self._rate:
            self._rate = frame.sample_rate
            self._resampler = (
                None
                if frame.sample_rate == SAMPLE_RATE
                else rtc.AudioResampler(
                    frame.sample_rate, SAMPLE_RATE, quality=rtc.AudioResamplerQuality.QUICK
                )
            )
        pcm = np.frombuffer(frame.data, np.int16)
        if frame.num_channels > 1:
            pcm = pcm.reshape(-1, frame.num_channels).mean(axis=1).astype(np.int16)
        if self._resampler is None:
            self._keep(pcm)
            return
        mono = rtc.AudioFrame(pcm.tobytes(), frame.sample_rate, 1, len(pcm))
        for resampled in self._resampler.push(mono):
            self._keep(np.frombuffer(resampled.data, np.int16))

    def _keep(self, pcm: Pcm) -> None:
        if len(pcm) >= WINDOW:
            self._heard = pcm[-WINDOW:].copy()
        elif len(pcm):
            self._heard = np.concatenate((self._heard[len(pcm) :], pcm))

    def speech_ended(self, silent_for_s: float, tell: Callable[[float], None]) -> None:
        """The caller fell silent: asks as soon as there is enough of the silence.

        Args:
            silent_for_s: Seconds since the last voiced sound.
            tell: Gets the probability, 0.5 where the model is undecided, unless the caller goes
                on before; never called when the model is absent.
        """
        self.speech_started()
        wait_s = max(self._asked_after_s - silent_for_s, 0.0)
        self._asking = asyncio.create_task(self._ask(wait_s, tell), name="end_of_turn.ask")

    def speech_started(self) -> None:
        """The caller goes on: an answer about the silence is of no use any more."""
        if self._asking is not None:
            self._asking.cancel()
            self._asking = None

    async def aclose(self) -> None:
        """Stops asking; safe to call twice. The model stays for the other rooms."""
        asking, self._asking = self._asking, None
        if asking is not None:
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)

    async def _ask(self, wait_s: float, tell: Callable[[float], None]) -> None:
        await asyncio.sleep(wait_s)
        probability = await self._model.probability(self._heard)
        if probability is not None:
            tell(calibrated(probability, await self._threshold()))

    async def _threshold(self) -> float:
        """LiveKit's own threshold for the language, from which a turn is likely over."""
        if self._unlikely is None:
            detector = inference.TurnDetector(version="v1-mini")
            known = await detector.unlikely_threshold(LanguageCode(self._language))
            self._unlikely = 0.5 if known is None else known
        return self._unlikely


def calibrated(probability: float, threshold: float) -> float:
    """A probability on a scale where the threshold is 0.5 and 0 and 1 stay what they are.

    Args:
        probability: From the model.
        threshold: From which the turn is likely over; between 0 and 1, both excluded.
    """
    if probability < threshold:
        return 0.5 * probability / threshold
    return 0.5 + 0.5 * (probability - threshold) / (1 - threshold)
