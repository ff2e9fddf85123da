"""The graph that needs no language model: rules choose real tools and phrase their results."""

from collections.abc import Sequence
from typing import Any

from langchain.agents import create_agent
from langchain_core.tools import BaseTool
from langgraph.graph.state import CompiledStateGraph
from langgraph.store.base import BaseStore
from langgraph.store.memory import InMemoryStore
from langgraph.types import Checkpointer

from flows.client_tools import WarnOfClientTools
from flows.gate import SideEffectGate
from flows.rules.model import SEARCH_DOCUMENTS, RuleModel
from flows.tool_faults import ToolFaults
from flows.tools.clock import Clock, local_clock
from flows.tools.lookups import LookupEndpoints
from flows.tools.toolbox import everyday_tools

DESCRIPTION = "Rules and real tools, without a language model"
SPEAKABLE_NODES = ("model",)
"""The nodes whose messages are meant for the caller's ear."""


def build(
    *,
    tools: Sequence[BaseTool] = (),
    clock: Clock = local_clock,
    endpoints: LookupEndpoints | None = None,
    store: BaseStore | None = None,
    checkpointer: Checkpointer = None,
) -> CompiledStateGraph[Any, Any, Any, Any]:
    """Compile the graph.

    Names and timers are kept in the store under `config["configurable"]["thread_id"]`, or under
    `caller_id` where the runner knows the caller; so no checkpointer is needed.

    A client's tools are not used, which a warning says once in a call.

    Args:
        tools: Further tools; the rules use `search_documents` where it is among them.
        clock: Gives the local time, with its zone.
        endpoints: Where weather, stock quotes and search are asked for; none by default.
        store: Keeps names, facts and timers; in memory by default.
        checkpointer: Keeps the thread, if the messages are not sent along with every turn.
    """
    graph: CompiledStateGraph[Any, Any, Any, Any] = create_agent(
        RuleModel(documents=any(tool.name == SEARCH_DOCUMENTS for tool in tools)),
        [*everyday_tools(clock=clock, endpoints=endpoints), *tools],
        middleware=[WarnOfClientTools(), SideEffectGate(), ToolFaults()],
        store=store if store is not None else InMemoryStore(),
        checkpointer=checkpointer,
        name="offline",
    )
    return graph
