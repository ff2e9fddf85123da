"""One caller's live transcript: hears, decides what to decode next, and sends events."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Self, TypeVar

from livekit.agents import APIConnectOptions, APIError, stt, utils

from livekit import rtc

from .any_engine import AnyEngine as Engine
from .audio import mono
from .errors import PartialDropped
from .job import SAMPLE_RATE, AudioContext, Decoded, Job
from .language import LanguageLock, parse_language
from .listener import Listener
from .log import logger
from .options import Options
from .second_look import Look, looked
from .transcript import in_asked_script, speech_data, stands, words_in_stream
from .utterance import NextStep, Speculation, Utterance
from .voice import WINDOW_S
from .words import Word, text_of

_Result = TypeVar("_Result")
_SLICE_BYTES = 2 * SAMPLE_RATE
_PROMPT_CHARACTERS = 200
_USAGE_EVERY_S = 5.0
_LANGUAGE_SHOWN = 0.5
_CUT_SEARCH = int(0.06 * SAMPLE_RATE)


class RecognizeStream(stt.RecognizeStream):
    """A live recognition. Get one from `STT.stream()`.

    It makes one request at a time: a final before a speculative final before a partial. What was
    heard is kept over a retry, so a final is late then, but not lost.
    """

    def __init__(
        self,
        *,
        stt: stt.STT[Any],
        engine: Callable[[], Engine],
        options: Options,
        conn_options: APIConnectOptions,
        has_own_language: bool = False,
    ) -> None:
        """Starts to listen.

        Args:
            stt: Where it comes from.
            engine: Returns the engine to use, each time anew after a failure.
            options: A snapshot; see `update_options`.
            conn_options: How long to wait for the engine, and how often to try again.
            has_own_language: Whether its language was chosen for it alone.
        """
        super().__init__(stt=stt, conn_options=conn_options, sample_rate=SAMPLE_RATE)
        self._engine_for = engine
        self.has_own_language = has_own_language
        self._options = options
        self._listener = Listener(options)
        self._lock = LanguageLock(*parse_language(options.language))
        self._changed = asyncio.Event()
        self._input_over = False
        self._waiting = False
        self._previous_text = ""
        self._language = self._lock.code or ""
        self._usage_reported_s = 0.0
        self._kept_offset: tuple[float, float] | None = None

    @property
    def language_setting(self) -> str | None:
        """The language it was told to use, as in `STT`."""
        return self._options.language

    @property
    def caught_up(self) -> bool:
        """Whether all audio pushed so far was heard, and nothing is left to decode or send."""
        if self._event_ch.closed:
            return True
        return self._waiting and self._input_ch.empty() and not self._changed.is_set()

    def update_options(self, options: Options) -> None:
        """Takes new settings; they hold from the next request on."""
        if options.language != self._options.language:
            self._lock = LanguageLock(*parse_language(options.language))
        self._options = options
        self._listener.update_options(options)

    async def __aenter__(self) -> Self:
        """Returns itself, to be closed at the end of the block."""
        return self

    def push_frame(self, frame: rtc.AudioFrame) -> None:
        """Takes audio of any rate, which must stay the same, and any number of channels.

        Raises:
            TypeError: It is no audio frame.
        """
        if not isinstance(frame, rtc.AudioFrame):
            raise TypeError(f"frame must be an rtc.AudioFrame, not {type(frame).__name__}")
        super().push_frame(mono(frame))

    async def _run(self) -> None:
        # The base moves the offset at a retry, for services whose clock starts anew; this one's
        # clock is the audio heard since the stream was made.
        if self._kept_offset is not None:
            self.start_time_offset, self.start_time = self._kept_offset
        engine = self._engine_for()
        await engine.wait_until_loaded()
        tasks = [
            asyncio.create_task(self._listen(), name="faster_whisper.listen"),
            asyncio.create_task(self._transcribe(engine), name="faster_whisper.transcribe"),
        ]
        try:
            await asyncio.gather(*tasks)
        finally:
            self._kept_offset = (self.start_time_offset, self.start_time)
            await utils.aio.cancel_and_wait(*tasks)

    async def _listen(self) -> None:
        async for item in self._input_ch:
            if isinstance(item, rtc.AudioFrame):
                data = bytes(item.data)
                for start in range(0, len(data), _SLICE_BYTES):
                    self._listener.hear(data[start : start + _SLICE_BYTES])
                    self._changed.set()
                    if len(data) > _SLICE_BYTES:
                        await asyncio.sleep(0)
            else:
                at_end = self._input_ch.closed and self._input_ch.empty()
                self._listener.flush(answer_always=not at_end)
                self._changed.set()
            # A backlog of frames must not keep the loop from everybody else.
            await asyncio.sleep(0)
        self._input_over = True
        self._changed.set()

    async def _transcribe(self, engine: Engine) -> None:
        utterances = self._listener.utterances
        while utterances or not self._input_over:
            self._changed.clear()
            if not utterances:
                self._report_usage("", at_least_s=_USAGE_EVERY_S)
                await self._wait_for_audio()
                continue
            utterance = utterances[0]
            self._announce(utterance)
            match utterance.next_step(self._options):
                case NextStep.FINAL:
                    await self._finish(engine, utterance)
                    utterances.popleft()
                case NextStep.SPECULATE:
                    await self._speculate(engine, utterance)
                case NextStep.PARTIAL:
                    await self._show_partial(engine, utterance)
                case NextStep.WAIT:
                    await self._wait_for_audio()
        self._report_usage("", at_least_s=0.0)

    async def _wait_for_audio(self) -> None:
        self._waiting = True
        try:
            await self._changed.wait()
        finally:
            self._waiting = False

    def _announce(self, utterance: Utterance) -> None:
        if utterance.announced:
            return
        utterance.announced = True
        if utterance.starts_speech:
            self._lock.next_utterance()
            self._previous_text = ""
            self._event_ch.send_nowait(
                stt.SpeechEvent(
                    stt.SpeechEventType.START_OF_SPEECH,
                    request_id=utterance.request_id,
                    speech_start_time=utterance.heard_at,
                )
            )

    async def _show_partial(self, engine: Engine, utterance: Utterance) -> None:
        end_s = utterance.sound.end_s
        utterance.partial_begins()
        decoding = self._decode(engine, utterance, is_final=False)
        try:
            decoded = await self._unless(
                decoding, lambda: utterance.closed or utterance.may_be_over(self._options)
            )
        except PartialDropped:
            return
        except APIError as e:
            if not e.retryable:
                raise
            # The next request asks again, and a final that fails is retried.
            logger.warning("a partial failed", exc_info=e)
            return
        if decoded is None or not stands(decoded, utterance, self._options.gates):
            return
        if decoded.language_probability < _LANGUAGE_SHOWN:
            # Half a word in a wrong script is worse than nothing for another quarter of a second.
            return
        words = words_in_stream(decoded, utterance)
        seen = utterance.partials.observe(words, end_s)
        if seen.text:
            utterance.interim_shown = True
            self._send(
                stt.SpeechEventType.INTERIM_TRANSCRIPT,
                utterance,
                (*seen.confirmed, *seen.tail),
                confirmed=seen.confirmed,
            )
        if seen.cut_at_s is not None and not utterance.closed:
            at_sample = int(seen.cut_at_s * SAMPLE_RATE)
            self._listener.cut(utterance.sound.quietest_near(at_sample, _CUT_SEARCH))

    async def _speculate(self, engine: Engine, utterance: Utterance) -> None:
        windows = utterance.speculation_begins()

        def superseded() -> bool:
            return utterance.sounded_windows > windows

        look: Look | None = None
        # While the silence lasts there is time to listen again to what is in doubt.
        while look is None or not look.is_sure:
            seen = await self._unless(self._look(engine, utterance, look), superseded)
            if seen is None:
                return
            look = seen
            self._prepare(utterance, look, windows)

    async def _look(self, engine: Engine, utterance: Utterance, before: Look | None) -> Look:
        """Decodes an utterance as a final: for the first time, or over a wider window."""
        wider = before.wider if before is not None else None
        decoded = await self._decode(engine, utterance, is_final=True, audio_ctx=wider)
        return looked(
            decoded,
            before,
            stands=partial(stands, utterance=utterance, gates=self._options.gates),
        )

    def _prepare(self, utterance: Utterance, look: Look, windows: int) -> None:
        """Keeps a final that was made ahead of time, and sends it unless it is in grave doubt."""
        words = self._final_words(look.decoded, utterance)
        is_news = utterance.prepare(Speculation(words, windows, look))
        if words and is_news and look.may_be_acted_on:
            self._send(stt.SpeechEventType.PREFLIGHT_TRANSCRIPT, utterance, words, confirmed=words)

    async def _finish(self, engine: Engine, utterance: Utterance) -> None:
        words = await self._last_words(engine, utterance)
        if not words and utterance.interim_shown:
            # Take back what was shown.
            self._send(stt.SpeechEventType.INTERIM_TRANSCRIPT, utterance, (), confirmed=())
        if words or utterance.flushed:
            self._send(stt.SpeechEventType.FINAL_TRANSCRIPT, utterance, words, confirmed=words)
            self._remember(words)
        if utterance.ends_speech:
            self._event_ch.send_nowait(
                stt.SpeechEvent(
                    stt.SpeechEventType.END_OF_SPEECH,
                    request_id=utterance.request_id,
                    speech_end_time=utterance.last_heard_at,
                )
            )
        self._report_usage(utterance.request_id)

    async def _last_words(self, engine: Engine, utterance: Utterance) -> tuple[Word, ...]:
        """Returns what was said up to the end of an utterance."""
        made = utterance.prepared
        if made is None and not utterance.voiced_windows:
            return ()
        if made is not None and made.look.is_sure:
            return made.words
        look = made.look if made is not None else None
        while look is None or not look.is_sure:
            look = await self._look(engine, utterance, look)
        return self._final_words(look.decoded, utterance)

    async def _unless(
        self, decoding: Awaitable[_Result], superseded: Callable[[], bool]
    ) -> _Result | None:
        """Waits for a result, or gives it up once new audio has made it pointless."""
        task = asyncio.ensure_future(decoding)
        try:
            while True:
                self._changed.clear()
                if superseded() and not task.done():
                    return None
                changed = asyncio.ensure_future(self._changed.wait())
                try:
                    await asyncio.wait({task, changed}, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    changed.cancel()
                if task.done():
                    return task.result()
        finally:
            if not task.done():
                await utils.aio.cancel_and_wait(task)
            # Whoever waits for changes next must look at the state first.
            self._changed.set()

    async def _decode(
        self,
        engine: Engine,
        utterance: Utterance,
        *,
        is_final: bool,
        audio_ctx: AudioContext | None = None,
    ) -> Decoded:
        options = self._options
        job = Job(
            samples=utterance.sound.samples(),
            language=self._lock.code,
            may_switch=audio_ctx is not None and self._lock.may_switch,
            prompt=f"{options.prompt} {self._previous_text}".strip(),
            keyterms=options.keyterms,
            beam_size=options.beam_size,
            audio_ctx=audio_ctx or options.audio_ctx,
            is_final=is_final,
            voice=utterance.sound.voice() if is_final else None,
        )
        decoded = await engine.decode(
            job,
            stream=id(self),
            timeout_s=self._conn_options.timeout,
            while_stuck_only=True,
        )
        self._language = decoded.language
        self._lock.observe(
            decoded.language,
            decoded.language_probability,
            utterance.voiced_windows * WINDOW_S,
            is_final=is_final,
        )
        return in_asked_script(decoded, options.language)

    def _final_words(self, decoded: Decoded, utterance: Utterance) -> tuple[Word, ...]:
        confirmed = utterance.partials.confirmed
        if not stands(decoded, utterance, self._options.gates):
            return confirmed
        return utterance.partials.finalize(words_in_stream(decoded, utterance))

    def _remember(self, words: Sequence[Word]) -> None:
        if self._options.use_context:
            text = f"{self._previous_text} {text_of(words)}"
            self._previous_text = text[-_PROMPT_CHARACTERS:]

    def _send(
        self,
        kind: stt.SpeechEventType,
        utterance: Utterance,
        words: Sequence[Word],
        *,
        confirmed: Sequence[Word],
    ) -> None:
        data = speech_data(
            words,
            language=self._language or "en",
            span_s=(utterance.sound.start_s, utterance.sound.end_s),
            offset_s=self.start_time_offset,
            confirmed=confirmed,
        )
        is_final = kind is stt.SpeechEventType.FINAL_TRANSCRIPT
        self._event_ch.send_nowait(
            stt.SpeechEvent(
                kind,
                request_id=utterance.request_id,
                alternatives=[data],
                speech_end_time=min(time.time(), utterance.last_heard_at) if is_final else None,
            )
        )

    def _report_usage(self, request_id: str, *, at_least_s: float = 0.0) -> None:
        heard = self._listener.heard_s
        new = heard - self._usage_reported_s
        if new <= 0 or new < at_least_s:
            return
        self._usage_reported_s = heard
        self._event_ch.send_nowait(
            stt.SpeechEvent(
                stt.SpeechEventType.RECOGNITION_USAGE,
                request_id=request_id,
                recognition_usage=stt.RecognitionUsage(audio_duration=new),
            )
        )
