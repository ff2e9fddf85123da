"""Side effects wait until the caller's turn is committed.

A voice agent may start to answer before it is sure that the caller has finished. Looking
something up on such a guess is harmless, booking a table is not. Whoever runs the graph puts an
object with `async wait()` at `config["configurable"]["turn_committed"]` (an `asyncio.Event`
does); where there is none, the turn counts as committed.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol, runtime_checkable

from langchain.agents.middleware import AgentMiddleware
from langchain.agents.middleware.types import ToolCallRequest
from langchain_core.messages import ToolMessage
from langchain_core.tools import BaseTool
from langgraph.config import get_config
from langgraph.types import Command

SIDE_EFFECTS = {"side_effects": True}
"""The metadata of a tool that must not run for a turn that may still change."""


@runtime_checkable
class TurnCommitted(Protocol):
    """What the runner of a graph sets when the turn is final."""

    async def wait(self) -> Any:
        """Return once the turn is committed; be cancelled if it never is."""


def has_side_effects(tool: BaseTool | None) -> bool:
    """Whether `tool` declares that it changes something outside the conversation."""
    return bool(tool is not None and (tool.metadata or {}).get("side_effects"))


async def wait_until_committed(config: Mapping[str, Any]) -> None:
    """Wait for the turn that `config` belongs to; at once when nothing guards it."""
    committed = config.get("configurable", {}).get("turn_committed")
    if isinstance(committed, TurnCommitted):
        await committed.wait()


class SideEffectGate(AgentMiddleware[Any, Any]):
    """Agent middleware: a call of a tool with side effects waits for the commit."""

    async def awrap_tool_call(
        self,
        request: ToolCallRequest,
        handler: Callable[[ToolCallRequest], Awaitable[ToolMessage | Command[Any]]],
    ) -> ToolMessage | Command[Any]:
        """Run the call, after the wait where it is due."""
        if has_side_effects(request.tool):
            await wait_until_committed(get_config())
        return await handler(request)
