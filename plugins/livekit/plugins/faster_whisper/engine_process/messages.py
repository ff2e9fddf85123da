"""What goes between a call's process, the engine's process, and the keeper of those.

Pickles over `multiprocessing.connection`: a Unix socket in a folder that only its owner may enter,
a named pipe on Windows, and on either a secret that both ends prove to know before a byte is
unpickled. The dataclasses of a job and its result go as they are, so that they may grow.
"""

from __future__ import annotations

import os
import pickle
import sys
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from livekit.plugins.faster_whisper.job import Decoded, Job
from livekit.plugins.faster_whisper.models import ModelSpec
from livekit.plugins.faster_whisper.statistics import EngineStatistics

SILENCE_S = 10.0
"""An engine's process that says nothing for so long is taken for hung."""
STATE_EVERY_S = 0.5
"""How often it says how it is doing."""


@dataclass(frozen=True, slots=True)
class Meeting:
    """Where to find a process, and the secret that opens it."""

    address: str
    secret: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Wanted:
    """To the keeper: an engine for this model."""

    spec: ModelSpec
    instead_of: str | None = None
    """Address of one that is dead or hangs, as seen by who asks."""


@dataclass(frozen=True, slots=True)
class Request:
    """To the engine: decode this."""

    number: int
    job: Job
    stream: int | str | None


@dataclass(frozen=True, slots=True)
class Cancel:
    """To the engine: nobody waits for this one any more."""

    number: int


@dataclass(frozen=True, slots=True)
class Answer:
    """From the engine: what became of a request."""

    number: int
    decoded: Decoded | None = None
    """None: it failed, or was a partial that gave way."""
    error: str = ""
    retryable: bool = True


@dataclass(frozen=True, slots=True)
class State:
    """From the engine, every `STATE_EVERY_S`."""

    statistics: EngineStatistics
    broken: str = ""
    """Why the model can't be loaded; it won't be tried again."""
    retryable: bool = True


def send(connection: Connection, message: object) -> None:
    """Sends one message; blocks while the other side doesn't read.

    Raises:
        OSError: The other side is gone.
    """
    connection.send_bytes(pickle.dumps(message, protocol=5))


def receive(connection: Connection) -> Any:
    """Waits for one message.

    Raises:
        EOFError, OSError: The other side is gone.
    """
    return pickle.loads(connection.recv_bytes())


def new_address(folder: Path, name: str) -> str:
    """An address that nobody uses yet."""
    if sys.platform == "win32":
        return rf"\\.\pipe\agent-worker-{os.getpid()}-{folder.name}-{name}"
    return str(folder / name)
