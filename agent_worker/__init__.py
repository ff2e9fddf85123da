"""A self-hosted, fully local speech-to-speech agent for LiveKit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    __version__: str

    from .agent import VoicePipelineAgent
    from .streaming_buffer import SentenceStreamBuffer

__all__ = ["SentenceStreamBuffer", "VoicePipelineAgent"]


def __getattr__(name: str) -> Any:
    # lazily: the command line's --help and the settings need no LiveKit
    if name == "VoicePipelineAgent":
        from .agent import VoicePipelineAgent

        return VoicePipelineAgent
    if name == "SentenceStreamBuffer":
        from .streaming_buffer import SentenceStreamBuffer

        return SentenceStreamBuffer
    if name == "__version__":
        from importlib.metadata import version

        return version("livekit-agent-worker")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
