"""What one turn asks of a graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from langchain_core.messages import BaseMessage

COMMITTED_KEY = "turn_committed"
"""The key in a graph's `configurable` under which it finds the turn's commitment."""


@runtime_checkable
class TurnCommitted(Protocol):
    """Says when a speculative turn has become final; `asyncio.Event` is one."""

    def is_set(self) -> bool:
        """Whether the turn is final."""

    async def wait(self) -> Any:
        """Returns once the turn is final."""


@dataclass(frozen=True)
class TurnRequest:
    """One turn, whichever way it came in."""

    id: str
    messages: Sequence[BaseMessage]
    replaces_history: bool = True
    """Whether `messages` are the whole conversation as heard, or only what is new."""
    tools: Sequence[dict[str, Any]] = ()
    """OpenAI schemas of tools that the client runs."""
    tool_choice: Any = None
    parallel_tool_calls: bool | None = None
    committed: TurnCommitted | None = None
    """What tells that the turn is final; None when it is from the start."""
    configurable: dict[str, Any] = field(default_factory=dict)
    """Further entries for the graph's `config["configurable"]`."""
    attempt: int = 0
    goes_on: bool = False
    """An earlier attempt has run tools: go on where it failed, if the graph keeps a thread."""

    @property
    def speculative(self) -> TurnCommitted | None:
        """The commitment that is still to come, if it is."""
        committed = self.committed
        return None if committed is None or committed.is_set() else committed

    @property
    def tool_names(self) -> frozenset[str]:
        """The names of the client's tools."""
        return frozenset(str(tool.get("function", tool).get("name")) for tool in self.tools)
