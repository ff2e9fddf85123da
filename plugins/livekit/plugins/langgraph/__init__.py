"""LangGraph graphs as the LLM of a LiveKit agent, in this process or on a flow server."""

from livekit.agents import Plugin

from .answer import SpeechBreak
from .history import heard
from .llm import DEFAULT_APOLOGY, DEFAULT_FILLERS, LLM
from .log import logger
from .stream import ChatStream
from .think_filter import ThinkFilter
from .version import __version__

__all__ = [
    "DEFAULT_APOLOGY",
    "DEFAULT_FILLERS",
    "LLM",
    "ChatStream",
    "SpeechBreak",
    "ThinkFilter",
    "__version__",
    "heard",
]


class LangGraphPlugin(Plugin):
    """Registers the package with LiveKit. There is nothing to download."""

    def __init__(self) -> None:
        super().__init__(__name__, __version__, __package__ or __name__, logger)

    def download_files(self) -> None:
        """Does nothing: the models are the graph's."""


Plugin.register_plugin(LangGraphPlugin())
