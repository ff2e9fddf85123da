"""A flow: a graph under the name by which clients call it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from langgraph.graph.state import CompiledStateGraph


@dataclass(frozen=True)
class Flow:
    """One entry of the flow server."""

    id: str
    description: str
    graph: CompiledStateGraph[Any, Any, Any, Any] | None
    """None where the flow can't run here."""
    speakable_nodes: Sequence[str] = ()
    """The nodes whose messages are spoken, in the graph and in its subgraphs."""
    unavailable: str = ""
    """Why it can't run, and what to do about it, in one sentence."""
