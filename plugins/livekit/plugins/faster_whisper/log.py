"""The plugin's one logger."""

import logging

logger = logging.getLogger("livekit.plugins.faster_whisper")
