"""Voices behind HTTP: any OpenAI-compatible speech server, and Higgs Audio over chat completions.

Nothing to install and nothing to download: the engine is the server's. Use it for Kokoro-FastAPI,
vLLM-Omni, SGLang-Omni, an XTTS server, or anything else with `POST /v1/audio/speech`.
"""

from livekit.agents import Plugin

from .character import FIRST_SPEAKER
from .higgs import HiggsTTS
from .log import logger
from .streams import ChunkedStream, SynthesizeStream
from .tts import TTS
from .version import __version__

__all__ = ["FIRST_SPEAKER", "TTS", "ChunkedStream", "HiggsTTS", "SynthesizeStream", "__version__"]


class SpeechApiPlugin(Plugin):
    """Registers the package with LiveKit."""

    def __init__(self) -> None:
        super().__init__(__name__, __version__, __package__ or __name__, logger)

    def download_files(self) -> None:
        """Does nothing: the model is on the server."""


Plugin.register_plugin(SpeechApiPlugin())
