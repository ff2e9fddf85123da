"""LiveKit's two kinds of stream, over pieces of speech from a server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable
from contextlib import aclosing
from typing import TYPE_CHECKING

from livekit.agents import APIConnectOptions, tokenize, tts
from livekit.agents.utils import aio, shortuuid

from .pcm import frame_size_ms
from .pieces import PieceSpeaker, Voice

if TYPE_CHECKING:
    from .server_tts import ServerTTS


class ChunkedStream(tts.ChunkedStream):
    """Speaks a text that is there as a whole."""

    def __init__(
        self, *, tts: ServerTTS, input_text: str, conn_options: APIConnectOptions, voice: Voice
    ) -> None:
        super().__init__(tts=tts, input_text=input_text, conn_options=conn_options)
        self._server = tts
        self._voice = voice

    async def _run(self, output_emitter: tts.AudioEmitter) -> None:
        request_id = shortuuid()
        _initialize(output_emitter, self._voice, request_id, stream=False)
        if not self._input_text.strip():
            return
        speaker = PieceSpeaker(
            client=self._server.http_client(),
            voice=self._voice,
            conn_options=self._conn_options,
            request_id=request_id,
            emit=output_emitter.push,
        )
        async with aclosing(_once(self._input_text)) as texts:
            await speaker.run(texts)
        self._set_token_usage(
            input_tokens=speaker.usage.input_tokens, output_tokens=speaker.usage.output_tokens
        )


class SynthesizeStream(tts.SynthesizeStream):
    """Speaks text while it is still being written, a piece at a time."""

    def __init__(
        self,
        *,
        tts: ServerTTS,
        conn_options: APIConnectOptions,
        voice: Voice,
        tokenizer: tokenize.SentenceTokenizer | tokenize.WordTokenizer,
    ) -> None:
        super().__init__(tts=tts, conn_options=conn_options)
        self._server = tts
        self._voice = voice
        self._tokenizer = tokenizer

    async def _run(self, output_emitter: tts.AudioEmitter) -> None:
        request_id = shortuuid()
        _initialize(output_emitter, self._voice, request_id, stream=True)
        output_emitter.start_segment(segment_id=request_id)
        tokens = self._tokenizer.stream()
        reading = asyncio.create_task(self._read_input(tokens), name="speech_api.read_input")
        speaker = PieceSpeaker(
            client=self._server.http_client(),
            voice=self._voice,
            conn_options=self._conn_options,
            request_id=request_id,
            emit=output_emitter.push,
            on_request=self._mark_started,
        )
        try:
            async with aclosing(_texts(tokens)) as texts:
                await speaker.run(texts)
            await reading
        finally:
            await aio.cancel_and_wait(reading)
            await tokens.aclose()
        self._set_token_usage(
            input_tokens=speaker.usage.input_tokens, output_tokens=speaker.usage.output_tokens
        )

    async def _read_input(self, tokens: tokenize.SentenceStream | tokenize.WordStream) -> None:
        try:
            async for data in self._input_ch:
                if isinstance(data, str):
                    tokens.push_text(data)
                else:
                    tokens.flush()
        finally:
            tokens.end_input()


def _initialize(emitter: tts.AudioEmitter, voice: Voice, request_id: str, *, stream: bool) -> None:
    emitter.initialize(
        request_id=request_id,
        sample_rate=voice.sample_rate,
        num_channels=1,
        mime_type="audio/pcm",
        frame_size_ms=frame_size_ms(voice.sample_rate),
        stream=stream,
    )


async def _once(text: str) -> AsyncGenerator[str, None]:
    yield text


async def _texts(tokens: AsyncIterable[tokenize.TokenData]) -> AsyncGenerator[str, None]:
    async for token in tokens:
        yield token.token
