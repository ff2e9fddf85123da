"""The version that is reported to livekit-agents."""

__version__ = "0.1.0"
