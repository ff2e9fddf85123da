"""What is known about the caller, in the model's prompt: so a name is known without a tool call."""

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from langchain.agents.middleware import AgentMiddleware
from langchain.agents.middleware.types import ModelRequest, ModelResponse
from langchain_core.messages import SystemMessage
from langgraph.config import get_config
from langgraph.store.base import BaseStore

from .memory_keys import caller_namespace
from .tools.remember import known_facts

logger = logging.getLogger("flows")

_MOST = 20
_LONGEST = 200


async def about_caller(store: BaseStore | None, config: Mapping[str, Any]) -> str:
    """A line for the prompt; empty where the caller, or anything about them, is not known."""
    namespace = caller_namespace(config)
    if store is None or namespace is None:
        return ""
    try:
        facts = await known_facts(store, (*namespace, "facts"))
    except Exception as e:
        # A caller who is not recognised is better than one who is not answered.
        logger.warning("the memory does not work", extra={"fault": type(e).__name__})
        return ""
    # The words are the caller's: on one line each, so that they can't pose as a prompt.
    told = [f"{_one_line(key)}: {_one_line(value)}" for key, value in list(facts.items())[:_MOST]]
    if not told:
        return ""
    # Oldest first: a new fact then comes last, and the prompt before it stays as it was.
    return "What this caller asked you to remember: " + "; ".join(reversed(told)) + "."


def _one_line(text: str) -> str:
    return " ".join(text.split())[:_LONGEST].rstrip(".;")


class KnownCaller(AgentMiddleware[Any, Any]):
    """Agent middleware: puts what is known about the caller at the prompt's end."""

    async def awrap_model_call(
        self,
        request: ModelRequest[Any],
        handler: Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]],
    ) -> ModelResponse[Any]:
        """Add the line, where there is one."""
        line = await about_caller(request.runtime.store, get_config())
        if line:
            own = request.system_message.text if request.system_message is not None else ""
            request = request.override(system_message=SystemMessage(f"{own}\n\n{line}".strip()))
        return await handler(request)
