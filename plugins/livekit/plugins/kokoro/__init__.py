"""Kokoro-82M inside the worker's own process: natural voices, of which all share one small model.

The weights are Apache-2.0. Install with the `kokoro` extra, which brings espeak-ng (GPL) for the
phonemes; `download_kokoro` fetches the model and 54 voices, and nothing is fetched unless it is
called.
"""

from livekit.agents import Plugin

from local_tts.fetch import DownloadError

from .download import HUB_REPOSITORY, RELEASE, RELEASE_URL, download_kokoro
from .engine import VoiceError, queue_depths
from .languages import LANGUAGES, Language, language_of, language_of_voice, voice_for
from .log import logger
from .streams import ChunkedStream, SynthesizeStream
from .tts import TTS
from .version import __version__
from .voices import (
    MODEL_FILES,
    VOICES_FILE,
    KokoroFiles,
    VoiceNotFoundError,
    VoicePackError,
    default_models_dir,
    find_files,
)

__all__ = [
    "HUB_REPOSITORY",
    "LANGUAGES",
    "MODEL_FILES",
    "RELEASE",
    "RELEASE_URL",
    "TTS",
    "VOICES_FILE",
    "ChunkedStream",
    "DownloadError",
    "KokoroFiles",
    "Language",
    "SynthesizeStream",
    "VoiceError",
    "VoiceNotFoundError",
    "VoicePackError",
    "__version__",
    "default_models_dir",
    "download_kokoro",
    "find_files",
    "language_of",
    "language_of_voice",
    "queue_depths",
    "voice_for",
]


class KokoroPlugin(Plugin):
    """Registers the package with LiveKit."""

    def __init__(self) -> None:
        super().__init__(__name__, __version__, __package__ or __name__, logger)

    def download_files(self) -> None:
        """Fetches the model and its voices, with a bar, if they are not there yet."""
        download_kokoro()


Plugin.register_plugin(KokoroPlugin())
