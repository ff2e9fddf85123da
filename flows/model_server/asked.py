"""The server that a model asks."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from .habits import ServerMemory
from .kinds import ServerKind


@dataclass(frozen=True)
class Served:
    """What a server turned out to be, for a model that was named by its address alone."""

    model: str
    kind: ServerKind
    extra_body: dict[str, Any] | None
    context_tokens: int | None


@dataclass(frozen=True)
class Asked:
    """The server that a model asks, and how its caller is kept company."""

    memory: ServerMemory = field(default_factory=ServerMemory)
    url: str = ""
    kind: ServerKind = ServerKind.OTHER
    fillers: tuple[str, ...] = ()
    thinking: bool = False
    find: Callable[[], Awaitable[Served]] | None = None
    """Asks the server for its first model, where none is named; raises `ConnectionError`."""
