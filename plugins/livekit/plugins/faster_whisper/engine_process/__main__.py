"""``python -m livekit.plugins.faster_whisper.engine_process``: what `EngineProcesses` starts."""

# Now, so that a spare has paid for the imports when it is needed.
import ctranslate2  # noqa: F401

import faster_whisper  # noqa: F401
from livekit.plugins.faster_whisper.device_fallback import load_decoder

from .host import serve

if __name__ == "__main__":
    serve(load_decoder)
