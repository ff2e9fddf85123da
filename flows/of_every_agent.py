"""What every agent with a language model has around it, in the order in which it must lie."""

from typing import Any

from langchain.agents.middleware import AgentMiddleware

from .client_tools import ClientTools
from .economy import EconomyOfCall
from .gate import SideEffectGate
from .known_caller import KnownCaller
from .one_system_prompt import OneSystemPrompt
from .tool_faults import ToolFaults


def voice_middleware() -> list[AgentMiddleware[Any, Any, Any]]:
    """For `create_agent`: one system prompt, what is known of the call, and guarded tools."""
    return [
        OneSystemPrompt(),
        EconomyOfCall(),
        KnownCaller(),
        ClientTools(),
        SideEffectGate(),
        ToolFaults(),
    ]
