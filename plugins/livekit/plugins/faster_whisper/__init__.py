"""Whisper for livekit-agents, in this process: live partials, finals at once, no cloud.

from livekit.plugins import faster_whisper

session = AgentSession(stt=faster_whisper.STT(model="base", language="en"), ...)
"""

from livekit.agents import Plugin

from .engines import close_engines, queue_depths
from .log import logger
from .models import MODEL_NAMES, ModelNotFoundError, download, is_available
from .partials import Observation, PartialTranscript
from .statistics import EngineStatistics
from .stream import RecognizeStream
from .stt import STT
from .version import __version__
from .words import Word

__all__ = [
    "MODEL_NAMES",
    "STT",
    "EngineStatistics",
    "ModelNotFoundError",
    "Observation",
    "PartialTranscript",
    "RecognizeStream",
    "Word",
    "__version__",
    "close_engines",
    "download",
    "is_available",
    "queue_depths",
    "recent_final_wait_s",
]


class FasterWhisperPlugin(Plugin):
    """Tells livekit-agents of this plugin."""

    def __init__(self) -> None:
        """Names it."""
        super().__init__(__name__, __version__, str(__package__), logger)

    def download_files(self) -> None:
        """Makes sure that the default model is there.

        It comes with the package, so nothing is fetched. Larger ones are fetched by name, with
        `download("base")`.
        """
        download("bundled")


Plugin.register_plugin(FasterWhisperPlugin())
