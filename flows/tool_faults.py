"""Tools that go wrong: the model learns of it in a short sentence, and the call goes on.

A tool that raises would end the turn, one that hangs would leave the caller in silence, and a
megabyte of result would fill the model's context for the rest of the turn. A call whose arguments
are no JSON would never be made, and never be answered.
"""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from langchain.agents.middleware import AgentMiddleware, hook_config
from langchain.agents.middleware.types import ToolCallRequest
from langchain_core.messages import AIMessage, ToolMessage
from langgraph.errors import GraphBubbleUp
from langgraph.types import Command

from .gate import SideEffectGate

logger = logging.getLogger("flows")

LONGEST_RESULT = 8_000
"""Characters of a result that the model gets: some 2,000 tokens, half of a small context."""

LONGEST_S = 20.0
"""Seconds that a tool may take; a caller waits no longer for anything."""

_NOTHING = json.dumps({"result": "The tool has run and returned nothing."})
_UNREADABLE = "The arguments were not valid JSON. Call it again with a JSON object."


class ToolFaults(AgentMiddleware[Any, Any]):
    """Agent middleware: whatever a tool does, its call is answered.

    Put it after `SideEffectGate`, whose wait for the commit is no fault of the tool.

    Args:
        longest_s: Seconds that a tool may take; `LONGEST_S` if None.
    """

    def __init__(self, longest_s: float | None = None) -> None:
        super().__init__()
        self._longest_s = LONGEST_S if longest_s is None else longest_s

    async def awrap_tool_call(
        self,
        request: ToolCallRequest,
        handler: Callable[[ToolCallRequest], Awaitable[ToolMessage | Command[Any]]],
    ) -> ToolMessage | Command[Any]:
        """Run the call, within its limits."""
        try:
            async with asyncio.timeout(self._longest_s):
                answer = await handler(request)
        except GraphBubbleUp:
            # A tool that asks the caller something, not one that fails.
            raise
        except TimeoutError:
            return self._failed(request, "timeout", "The tool took too long and was given up.")
        except Exception as e:
            return self._failed(request, type(e).__name__, "The tool failed.")
        return _bounded(answer) if isinstance(answer, ToolMessage) else answer

    @hook_config(can_jump_to=["model"])
    async def aafter_model(self, state: Any, runtime: Any) -> dict[str, Any] | None:
        """Answer calls that can't be read, and let the model try again."""
        last = state["messages"][-1]
        if not isinstance(last, AIMessage) or not last.invalid_tool_calls or last.tool_calls:
            return None
        answers = [
            ToolMessage(
                json.dumps({"error": _UNREADABLE}),
                tool_call_id=call.get("id") or "",
                name=call.get("name"),
                status="error",
            )
            for call in last.invalid_tool_calls
        ]
        return {"messages": answers, "jump_to": "model"}

    def _failed(self, request: ToolCallRequest, cause: str, said: str) -> ToolMessage:
        call = request.tool_call
        logger.warning("a tool failed", extra={"tool": call["name"], "cause": cause})
        return ToolMessage(
            json.dumps({"error": said}), tool_call_id=call["id"], name=call["name"], status="error"
        )


async def guarded_tool_call(
    request: ToolCallRequest,
    handler: Callable[[ToolCallRequest], Awaitable[ToolMessage | Command[Any]]],
) -> ToolMessage | Command[Any]:
    """Both guards, for a `ToolNode` of one's own: first the commit, then the limits."""

    async def within_limits(allowed: ToolCallRequest) -> ToolMessage | Command[Any]:
        return await ToolFaults().awrap_tool_call(allowed, handler)

    return await SideEffectGate().awrap_tool_call(request, within_limits)


def _bounded(answer: ToolMessage) -> ToolMessage:
    text = answer.text
    if not answer.content:
        return answer.model_copy(update={"content": _NOTHING})
    if len(text) > LONGEST_RESULT:
        left_out = len(text) - LONGEST_RESULT
        shown = f"{text[:LONGEST_RESULT]} … ({left_out} more characters were left out)"
        return answer.model_copy(update={"content": shown})
    return answer
