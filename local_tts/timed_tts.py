"""LiveKit's text-to-speech interface, as far as it is the same for every engine in this process."""

from __future__ import annotations

from abc import abstractmethod
from typing import Never

from livekit.agents import DEFAULT_API_CONNECT_OPTIONS, APIConnectOptions, NotGivenOr, tts

from .open_streams import OpenStreams
from .options import Tokenizer, sentences_unless
from .timed_speech import ChunkedStream, Delivery, SynthesizeStream


class TimedTTS(tts.TTS[Never]):
    """A voice that tells when each word is spoken. What it speaks with is the engine's matter."""

    def __init__(self, *, sample_rate: int, tokenizer: NotGivenOr[Tokenizer]) -> None:
        """Creates a voice.

        Args:
            sample_rate: Hertz, of what the engine gives.
            tokenizer: By default blingfire's sentences, with their white space: the words of
                the pieces, joined, are what was pushed.
        """
        super().__init__(
            capabilities=tts.TTSCapabilities(streaming=True, aligned_transcript=True),
            sample_rate=sample_rate,
            num_channels=1,
        )
        self._tokenizer = sentences_unless(
            tokenizer, min_sentence_len=6, stream_context_len=3, retain_format=True
        )
        self._streams = OpenStreams()

    @abstractmethod
    def _delivery(self) -> Delivery:
        """Takes the snapshot of the options that a new stream speaks with."""

    def synthesize(
        self, text: str, *, conn_options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS
    ) -> ChunkedStream:
        """Speaks one text; frames come while it is still being synthesised."""
        return self._streams.added(
            ChunkedStream(
                tts=self, input_text=text, conn_options=conn_options, delivery=self._delivery()
            )
        )

    def stream(
        self, *, conn_options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS
    ) -> SynthesizeStream:
        """Speaks text as it is pushed, piece by piece, in one segment."""
        return self._streams.added(
            SynthesizeStream(
                tts=self,
                conn_options=conn_options,
                delivery=self._delivery(),
                tokenizer=self._tokenizer,
            )
        )

    async def aclose(self) -> None:
        """Stops what is being spoken. The engine stays for the process's other voices."""
        await self._streams.aclose()
