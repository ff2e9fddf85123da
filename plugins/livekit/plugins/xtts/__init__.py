"""XTTS v2 for LiveKit: cloned voices in seventeen languages, on your own machine.

The model runs in a process of its own, which may be of another Python: `xtts.TTS(python=...)`.
That one needs the `xtts` extra (about 6 GB with torch); this one needs nothing.

The weights are for non-commercial use, and are neither downloaded nor used before their terms,
`LICENSE_TERMS`, are accepted: `xtts.download_model(accept_license=True)`, then
`xtts.TTS(accept_license=True, reference_wav="me.wav")`.
"""

from livekit.agents import Plugin

from .download import default_model_dir, download_model
from .languages import LANGUAGES
from .licence import LICENSE_TERMS, LicenseNotAcceptedError
from .log import logger
from .reference import ReferenceVoiceError
from .streams import ChunkedStream, SynthesizeStream
from .tts import TTS
from .version import __version__

__all__ = [
    "LANGUAGES",
    "LICENSE_TERMS",
    "TTS",
    "ChunkedStream",
    "LicenseNotAcceptedError",
    "ReferenceVoiceError",
    "SynthesizeStream",
    "__version__",
    "default_model_dir",
    "download_model",
]


class XttsPlugin(Plugin):
    """Registers the package with LiveKit."""

    def __init__(self) -> None:
        super().__init__(__name__, __version__, __package__ or __name__, logger)

    def download_files(self) -> None:
        """Downloads nothing: nobody has accepted the terms. Tells how to."""
        if not default_model_dir().is_dir():
            logger.info(
                "XTTS is not downloaded without consent to its terms; run "
                "`livekit.plugins.xtts.download_model(accept_license=True)`"
            )


Plugin.register_plugin(XttsPlugin())
