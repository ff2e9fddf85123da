"""Economy mode of one call: the runner asks for it, whatever the graph was built with."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from langchain.agents.middleware import AgentMiddleware
from langchain.agents.middleware.types import ModelRequest, ModelResponse
from langchain_core.messages import SystemMessage
from langgraph.config import get_config

from .instructions import ECONOMY
from .model import ECONOMY_MAX_TOKENS


def wants_economy(config: Mapping[str, Any]) -> bool:
    """Whether `config["configurable"]` has `economy`, or the client's `context` in it has."""
    configurable = config.get("configurable", {})
    context = configurable.get("context") or {}
    return configurable.get("economy") is True or context.get("economy") is True


class EconomyOfCall(AgentMiddleware[Any, Any]):
    """Agent middleware: shorter answers where the call asks for them."""

    async def awrap_model_call(
        self,
        request: ModelRequest[Any],
        handler: Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]],
    ) -> ModelResponse[Any]:
        """Ask for one sentence, in fewer tokens."""
        prompt = request.system_message.text if request.system_message is not None else ""
        # A graph that was built for economy says so itself, and its model has the lower limit.
        if wants_economy(get_config()) and ECONOMY not in prompt:
            settings = {**request.model_settings, "max_tokens": ECONOMY_MAX_TOKENS}
            request = request.override(
                system_message=SystemMessage(f"{prompt}\n\n{ECONOMY}".strip()),
                model_settings=settings,
            )
        return await handler(request)
