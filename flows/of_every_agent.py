"""What every agent with a language model has around it, in the order in which it must lie."""

from typing import Any

from langchain.agents.middleware import AgentMiddleware

from flows.client_tools import ClientTools
from flows.economy import EconomyOfCall
from flows.gate import SideEffectGate
from flows.known_caller import KnownCaller
from flows.one_system_prompt import OneSystemPrompt
from flows.tool_faults import ToolFaults


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
