"""Tools that live with the client of a graph, such as those of a LiveKit agent.

The runner lists their OpenAI function schemas at `config["configurable"]["tools"]`, and may set
`tool_choice` and `parallel_tool_calls` beside it. The model may call them like any other; such a
call ends the run, and the client answers it with the next one.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from langchain.agents.middleware import AgentMiddleware, hook_config
from langchain.agents.middleware.types import ModelRequest, ModelResponse
from langchain_core.messages import AIMessage, HumanMessage
from langgraph.config import get_config


def _configurable() -> dict[str, Any]:
    return get_config().get("configurable", {})


def _client_tools() -> list[dict[str, Any]]:
    return list(_configurable().get("tools") or ())


def _name(schema: dict[str, Any]) -> str:
    return str(schema.get("function", schema).get("name"))


class ClientTools(AgentMiddleware[Any, Any]):
    """Agent middleware: offers the client's tools to the model and hands their calls back."""

    async def awrap_model_call(
        self,
        request: ModelRequest[Any],
        handler: Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]],
    ) -> ModelResponse[Any]:
        """Add the client's tools after the graph's own, whose order stays byte-stable."""
        schemas = _client_tools()
        if schemas:
            request = request.override(tools=[*request.tools, *schemas])
        configurable = _configurable()
        choice = configurable.get("tool_choice")
        # Only for the first step of a turn: a required call would follow on every result.
        if choice is not None and isinstance(request.messages[-1], HumanMessage):
            request = request.override(tool_choice=choice)
        parallel = configurable.get("parallel_tool_calls")
        if parallel is not None:
            settings = {**request.model_settings, "parallel_tool_calls": parallel}
            request = request.override(model_settings=settings)
        return await handler(request)

    @hook_config(can_jump_to=["end"])
    async def aafter_model(self, state: Any, runtime: Any) -> dict[str, Any] | None:
        """End the run when the model calls one of the client's tools."""
        names = {_name(schema) for schema in _client_tools()}
        last = state["messages"][-1]
        if isinstance(last, AIMessage) and any(c["name"] in names for c in last.tool_calls):
            return {"jump_to": "end"}
        return None
