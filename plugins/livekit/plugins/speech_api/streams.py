"""The two ways of speaking that LiveKit knows: a whole text, and text as it is written."""

from __future__ import annotations

from collections.abc import AsyncIterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from local_tts.delivery import Outlet
from local_tts.streams import ChunkedStream, SynthesizeStream
from local_tts.text import encodable

from .pieces import PieceSpeaker, Voice

if TYPE_CHECKING:
    from .server_tts import ServerTTS

__all__ = ["ChunkedStream", "ServerDelivery", "SynthesizeStream"]


@dataclass(frozen=True)
class ServerDelivery:
    """With what a stream speaks; taken when it is opened."""

    server: ServerTTS
    voice: Voice
    name: str = "speech"

    @property
    def sample_rate(self) -> int:
        """Hertz."""
        return self.voice.sample_rate

    def clean(self, text: str) -> str:
        """Replaces what cannot be encoded."""
        return encodable(text)

    async def say(self, texts: AsyncIterable[str], outlet: Outlet) -> None:
        """Speaks texts in their order, with requests ahead; see `PieceSpeaker`."""
        await PieceSpeaker(self.server.http_client(), self.voice, outlet).run(texts)
