"""espeak-ng inside the worker's own process: the voice that is always there.

It needs no model and no network, speaks over a hundred languages, and gives its first audio in
under a millisecond. It does not sound human. Install it with the `espeak` extra.
"""

from livekit.agents import Plugin

from .engine import EspeakError, Voice, queue_depths
from .log import logger
from .streams import ChunkedStream, SynthesizeStream
from .tts import TTS, list_voices
from .version import __version__

__all__ = [
    "TTS",
    "ChunkedStream",
    "EspeakError",
    "SynthesizeStream",
    "Voice",
    "__version__",
    "list_voices",
    "queue_depths",
]


class EspeakPlugin(Plugin):
    """Registers the package with LiveKit. There is nothing to download: data comes with pip."""

    def __init__(self) -> None:
        super().__init__(__name__, __version__, __package__ or __name__, logger)

    def download_files(self) -> None:
        """Does nothing: the library and its data are in the `espeakng-loader` package."""


Plugin.register_plugin(EspeakPlugin())
