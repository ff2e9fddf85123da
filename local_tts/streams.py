"""The two ways of speaking that LiveKit knows: a whole text, and text as it is written."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterable
from contextlib import aclosing
from functools import partial
from typing import Never, Protocol

from livekit.agents import APIConnectOptions, tts

from .delivery import Chunk, Outlet
from .options import Tokenizer
from .pieces import Pieces, speak_in_pieces


class Delivery(Protocol):
    """With what a stream speaks: a snapshot, taken when it is opened."""

    @property
    def name(self) -> str:
        """Begins the request ids."""

    @property
    def sample_rate(self) -> int:
        """Hertz."""

    def clean(self, text: str) -> str:
        """Takes out of a text what the engine refuses."""

    async def say(self, texts: AsyncIterable[str], outlet: Outlet) -> None:
        """Speaks texts in their order, each by `Outlet.say_piece`, in one piece or several.

        Raises:
            APIError: The engine failed.
        """


class OneAfterTheOther(ABC):
    """The rest of a delivery by an engine that makes a piece faster than it is played."""

    @abstractmethod
    def split_long(self, text: str) -> list[str]:
        """Cuts a text into pieces that the engine can take; none where nothing is to be said."""

    @abstractmethod
    def speak(self, text: str, *, timeout_s: float) -> AsyncGenerator[Chunk, None]:
        """Speaks a piece. Closing the generator stops the engine.

        Raises:
            APIError: The engine failed, or gave nothing for `timeout_s` seconds.
        """

    async def say(self, texts: AsyncIterable[str], outlet: Outlet) -> None:
        """Speaks texts in their order; the next one is in the engine before the last is heard."""
        async for text in texts:
            for piece in self.split_long(text):
                await outlet.say_piece(partial(self._attempt, piece, outlet))
            outlet.flush()

    async def _attempt(self, piece: str, outlet: Outlet) -> None:
        outlet.on_request()
        async with aclosing(self.speak(piece, timeout_s=outlet.timeout_s)) as speech:
            async for chunk in speech:
                outlet.push(chunk)


class ChunkedStream(tts.ChunkedStream):
    """One text, spoken."""

    def __init__(
        self,
        *,
        tts: tts.TTS[Never],
        input_text: str,
        conn_options: APIConnectOptions,
        delivery: Delivery,
    ) -> None:
        super().__init__(tts=tts, input_text=input_text, conn_options=conn_options)
        self._delivery = delivery

    async def _run(self, output_emitter: tts.AudioEmitter) -> None:
        delivery = self._delivery
        outlet = Outlet(
            output_emitter,
            self._conn_options,
            sample_rate=delivery.sample_rate,
            name=delivery.name,
            streamed=False,
        )
        await _say_whole(delivery, self._input_text, outlet)
        outlet.finish()
        self._set_token_usage(input_tokens=outlet.input_tokens, output_tokens=outlet.output_tokens)


class SynthesizeStream(tts.SynthesizeStream):
    """Text in, piece by piece; audio out, as one segment."""

    def __init__(
        self,
        *,
        tts: tts.TTS[Never],
        conn_options: APIConnectOptions,
        delivery: Delivery,
        tokenizer: Tokenizer,
    ) -> None:
        super().__init__(tts=tts, conn_options=conn_options)
        self._delivery = delivery
        self._tokenizer = tokenizer

    async def _run(self, output_emitter: tts.AudioEmitter) -> None:
        delivery = self._delivery
        outlet = Outlet(
            output_emitter,
            self._conn_options,
            sample_rate=delivery.sample_rate,
            name=delivery.name,
            streamed=True,
            on_request=self._mark_started,
        )

        async def say(pieces: Pieces) -> None:
            async with aclosing(_noted(pieces, outlet)) as texts:
                await delivery.say(texts, outlet)

        await speak_in_pieces(self._input_ch, self._tokenizer, say, clean=delivery.clean)
        if not outlet.asked and self._pushed_text:
            # The tokenizer found nothing to say in it; the turn has to end all the same.
            await _say_whole(delivery, self._pushed_text, outlet)
        outlet.finish()
        self._set_token_usage(input_tokens=outlet.input_tokens, output_tokens=outlet.output_tokens)


async def _say_whole(delivery: Delivery, text: str, outlet: Outlet) -> None:
    async with aclosing(_noted(_once(delivery.clean(text)), outlet)) as texts:
        await delivery.say(texts, outlet)


async def _once(text: str) -> AsyncGenerator[str, None]:
    yield text


async def _noted(pieces: Pieces, outlet: Outlet) -> AsyncGenerator[str, None]:
    async for piece in pieces:
        # what an engine passes over was said all the same, unless it is blank
        outlet.asked = outlet.asked or bool(piece.strip())
        yield piece
