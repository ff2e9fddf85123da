import logging

logger = logging.getLogger("livekit.plugins.speech_api")
