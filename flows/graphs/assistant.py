"""The assistant: a language model with the everyday tools."""

from collections.abc import Sequence
from typing import Any

from langchain.agents import create_agent
from langchain_core.language_models import BaseChatModel
from langchain_core.tools import BaseTool
from langgraph.graph.state import CompiledStateGraph
from langgraph.store.base import BaseStore
from langgraph.store.memory import InMemoryStore
from langgraph.types import Checkpointer

from flows.instructions import voice_instructions
from flows.of_every_agent import voice_middleware
from flows.tools.clock import Clock, local_clock
from flows.tools.lookups import LookupEndpoints
from flows.tools.toolbox import everyday_tools

DESCRIPTION = "A language model with tools: time, sums, timers, memory, weather, stocks, search"
SPEAKABLE_NODES = ("model",)
"""The nodes whose messages are meant for the caller's ear."""


def build(
    *,
    model: BaseChatModel,
    instructions: str | None = None,
    economy: bool = False,
    tools: Sequence[BaseTool] = (),
    clock: Clock = local_clock,
    endpoints: LookupEndpoints | None = None,
    store: BaseStore | None = None,
    checkpointer: Checkpointer = None,
) -> CompiledStateGraph[Any, Any, Any, Any]:
    """Compile the graph.

    Args:
        model: As `flows.model.chat_model` makes it, or any other chat model that calls tools.
        instructions: What the assistant is for; added to the rules for speech.
        economy: Ask for the shortest answers.
        tools: Further tools, such as those of MCP servers.
        clock: Gives the local time, with its zone.
        endpoints: Where weather, stock quotes and search are asked for; none by default.
        store: Keeps names, facts and timers; in memory by default.
        checkpointer: Keeps the thread, if the messages are not sent along with every turn.
    """
    graph: CompiledStateGraph[Any, Any, Any, Any] = create_agent(
        model,
        [*everyday_tools(clock=clock, endpoints=endpoints), *tools],
        system_prompt=voice_instructions(instructions, economy=economy),
        middleware=voice_middleware(),
        store=store if store is not None else InMemoryStore(),
        checkpointer=checkpointer,
        name="assistant",
    )
    return graph
