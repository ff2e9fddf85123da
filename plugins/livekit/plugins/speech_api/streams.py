"""LiveKit's two kinds of stream, over pieces of speech from a server."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING

from livekit.agents import APIConnectOptions, tts
from livekit.agents.utils import shortuuid

from local_tts.options import Tokenizer
from local_tts.pieces import speak_in_pieces
from local_tts.text import encodable

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
        async with aclosing(_once(encodable(self._input_text))) as texts:
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
        tokenizer: Tokenizer,
    ) -> None:
        super().__init__(tts=tts, conn_options=conn_options)
        self._server = tts
        self._voice = voice
        self._tokenizer = tokenizer

    async def _run(self, output_emitter: tts.AudioEmitter) -> None:
        request_id = shortuuid()
        _initialize(output_emitter, self._voice, request_id, stream=True)
        output_emitter.start_segment(segment_id=request_id)
        speaker = PieceSpeaker(
            client=self._server.http_client(),
            voice=self._voice,
            conn_options=self._conn_options,
            request_id=request_id,
            emit=output_emitter.push,
            on_request=self._mark_started,
        )
        await speak_in_pieces(self._input_ch, self._tokenizer, speaker.run)
        self._set_token_usage(
            input_tokens=speaker.usage.input_tokens, output_tokens=speaker.usage.output_tokens
        )


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
