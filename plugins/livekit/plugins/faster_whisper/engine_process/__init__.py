"""One process for each Whisper model, shared by all processes with calls in them.

`EngineProcesses` runs in the parent of those processes: it starts an engine's process when it is
first asked for, and a new one when that dies or hangs. `RemoteEngine` stands in each of them where
an `Engine` would stand. What goes between is in `messages`, over a local socket.
"""

from .client import RemoteEngine
from .keeper import EngineProcesses
from .messages import Meeting

__all__ = ["EngineProcesses", "Meeting", "RemoteEngine"]
