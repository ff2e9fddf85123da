"""The one logger of this plugin."""

import logging

logger = logging.getLogger("livekit.plugins.langgraph")
