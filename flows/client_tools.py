"""Tools that live with the client of a graph, such as those of a LiveKit agent.

The runner lists their OpenAI function schemas at `config["configurable"]["tools"]`, and may set
`tool_choice` and `parallel_tool_calls` beside it. The model may call them like any other; such a
call ends the run, and the client answers it with the next one.

A client's tool takes the place of the graph's own of that name: whoever brings a `get_weather`
wants it used, and a model that is given two of one name is refused by most servers.
"""

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from langchain.agents.middleware import AgentMiddleware, hook_config
from langchain.agents.middleware.types import ModelRequest, ModelResponse
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool
from langgraph.config import get_config

logger = logging.getLogger("flows")

_MOST_WARNED = 1000


def _of(config: Mapping[str, Any]) -> dict[str, Any]:
    configurable: dict[str, Any] = config.get("configurable", {})
    return configurable


def _configurable() -> dict[str, Any]:
    return _of(get_config())


def _client_tools() -> list[dict[str, Any]]:
    return list(_configurable().get("tools") or ())


def _name(schema: dict[str, Any]) -> str:
    return str(schema.get("function", schema).get("name"))


def tool_name(tool: BaseTool | dict[str, Any]) -> str:
    """The name under which a model calls `tool`."""
    return tool.name if isinstance(tool, BaseTool) else _name(tool)


def with_client_tools(
    own: Sequence[BaseTool | dict[str, Any]], schemas: Sequence[dict[str, Any]]
) -> list[BaseTool | dict[str, Any]]:
    """The tools that the model is offered: each name once, the client's before the graph's own.

    The graph's own stay in front and in their order, so that a server's prefix cache holds.
    """
    clients = {_name(schema): schema for schema in schemas}
    return [*(tool for tool in own if tool_name(tool) not in clients), *clients.values()]


def calls_client(message: AIMessage, config: Mapping[str, Any]) -> bool:
    """Whether `message` calls a tool of the client, which ends the run."""
    names = {_name(schema) for schema in _of(config).get("tools") or ()}
    return any(call["name"] in names for call in message.tool_calls)


def model_with_tools(
    model: BaseChatModel,
    own: Sequence[BaseTool],
    config: Mapping[str, Any],
    messages: Sequence[BaseMessage],
    **settings: Any,
) -> Runnable[LanguageModelInput, AIMessage]:
    """`model` with the graph's tools and the client's, for graphs without agent middleware.

    Args:
        model: The chat model.
        own: The graph's tools.
        config: Of the run.
        messages: The conversation so far.
        settings: For this call of the model.
    """
    configurable = _of(config)
    tools = with_client_tools(own, configurable.get("tools") or ())
    if not tools:
        return model.bind(**settings)
    choice = configurable.get("tool_choice")
    if choice is not None and isinstance(messages[-1], HumanMessage):
        settings["tool_choice"] = choice
    if configurable.get("parallel_tool_calls") is not None:
        settings["parallel_tool_calls"] = configurable["parallel_tool_calls"]
    return model.bind_tools(tools, **settings)


class WarnOfClientTools(AgentMiddleware[Any, Any]):
    """Agent middleware for a graph that can't use a client's tools: it says so, once a call."""

    def __init__(self) -> None:
        super().__init__()
        self._warned: set[str] = set()

    async def abefore_agent(self, state: Any, runtime: Any) -> dict[str, Any] | None:
        """Look at what the client brought."""
        count, thread = len(_client_tools()), str(_configurable().get("thread_id"))
        if count and thread not in self._warned:
            if len(self._warned) >= _MOST_WARNED:
                self._warned.clear()
            self._warned.add(thread)
            logger.warning(
                "the client's tools are not used: this flow has rules in place of a model",
                extra={"tools": count},
            )
        return None


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
            request = request.override(tools=with_client_tools(request.tools, schemas))
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
        last = state["messages"][-1]
        if isinstance(last, AIMessage) and calls_client(last, get_config()):
            return {"jump_to": "end"}
        return None
