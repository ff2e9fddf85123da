"""Piper voices inside the worker's own process, with audio that starts inside the sentence.

Install with the `piper` extra. A voice is given by the path of its file, or by its name in a
folder; `download_voice` fetches official ones, and nothing is fetched unless it is called.
"""

from livekit.agents import Plugin

from local_tts.fetch import DownloadError

from .download import HUB_URL, download_voice
from .engine import VoiceError, queue_depths
from .log import logger
from .streams import ChunkedStream, SynthesizeStream
from .tts import TTS
from .version import __version__
from .voices import (
    DEFAULT_VOICE,
    VoiceConfigError,
    VoiceFiles,
    VoiceNotFoundError,
    default_models_dir,
    find_voice,
    local_voices,
)

__all__ = [
    "DEFAULT_VOICE",
    "HUB_URL",
    "TTS",
    "ChunkedStream",
    "DownloadError",
    "SynthesizeStream",
    "VoiceConfigError",
    "VoiceError",
    "VoiceFiles",
    "VoiceNotFoundError",
    "__version__",
    "default_models_dir",
    "download_voice",
    "find_voice",
    "local_voices",
    "queue_depths",
]


class PiperPlugin(Plugin):
    """Registers the package with LiveKit."""

    def __init__(self) -> None:
        super().__init__(__name__, __version__, __package__ or __name__, logger)

    def download_files(self) -> None:
        """Fetches the default voice, with a bar, if it is not there yet."""
        download_voice()


Plugin.register_plugin(PiperPlugin())
