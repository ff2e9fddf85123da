"""LiveKit's text-to-speech interface, as far as it is the same for every voice of ours."""

from __future__ import annotations

from abc import abstractmethod
from typing import Never, Self

from livekit.agents import DEFAULT_API_CONNECT_OPTIONS, APIConnectOptions, NotGivenOr, tts

from .open_streams import OpenStreams
from .options import Tokenizer, sentences_unless
from .streams import ChunkedStream, Delivery, SynthesizeStream


class VoiceTTS(tts.TTS[Never]):
    """A voice. What it speaks with is the engine's matter, and comes in as a delivery."""

    def __init__(
        self, *, sample_rate: int, tokenizer: NotGivenOr[Tokenizer], tells_words: bool
    ) -> None:
        """Creates a voice.

        Args:
            sample_rate: Hertz, of what the engine gives.
            tokenizer: By default blingfire's sentences. Those of a voice that tells when each
                word is spoken keep their white space: its words, joined, are what was pushed.
                The others are longer: each is the costlier for them.
            tells_words: Whether the engine tells when each word is spoken.
        """
        super().__init__(
            capabilities=tts.TTSCapabilities(streaming=True, aligned_transcript=tells_words),
            sample_rate=sample_rate,
            num_channels=1,
        )
        self._tokenizer = sentences_unless(
            tokenizer,
            min_sentence_len=6 if tells_words else 10,
            stream_context_len=3 if tells_words else 5,
            retain_format=tells_words,
        )
        self._streams = OpenStreams()

    async def __aenter__(self) -> Self:
        return self

    @property
    def loading(self) -> bool:
        """Whether its model is not in memory yet; False too where there is none to load."""
        return False

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
        """Stops what is being spoken. An engine in this process stays for its other voices."""
        await self._streams.aclose()
