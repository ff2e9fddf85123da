"""One system prompt at the front, whatever instructions come with the conversation.

A voice agent sends its own instructions as system messages among the others, but chat templates
such as Qwen's take a single one, at the front, and refuse a conversation in which nobody spoke.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from langchain.agents.middleware import AgentMiddleware
from langchain.agents.middleware.types import ModelRequest, ModelResponse
from langchain_core.messages import AnyMessage, BaseMessage, HumanMessage, SystemMessage

NOBODY_SPOKE = "(The caller has not spoken yet.)"


def split_instructions(messages: Sequence[BaseMessage], prompt: str) -> tuple[str, list[Any]]:
    """Move the system messages into the prompt.

    Args:
        messages: The conversation.
        prompt: The graph's own prompt; what it holds already is not said twice.

    Returns:
        The whole prompt, and the conversation without system messages.
    """
    rest = [message for message in messages if not isinstance(message, SystemMessage)]
    for message in messages:
        if isinstance(message, SystemMessage) and message.text.strip() not in prompt:
            prompt = f"{prompt}\n\n{message.text.strip()}"
    if not any(isinstance(message, HumanMessage) for message in rest):
        rest.append(HumanMessage(NOBODY_SPOKE))
    return prompt, rest


class OneSystemPrompt(AgentMiddleware[Any, Any]):
    """Agent middleware: the model sees one system prompt."""

    async def awrap_model_call(
        self,
        request: ModelRequest[Any],
        handler: Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]],
    ) -> ModelResponse[Any]:
        """Merge the prompts of this call."""
        own = request.system_message.text if request.system_message is not None else ""
        messages: list[AnyMessage]
        prompt, messages = split_instructions(request.messages, own)
        return await handler(
            request.override(system_message=SystemMessage(prompt), messages=messages)
        )
