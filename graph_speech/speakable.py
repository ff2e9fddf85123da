"""Which nodes of a graph may be heard."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from langgraph.prebuilt import ToolNode


class Speakable:
    """Decides by where in the graph a message comes from.

    Args:
        allowed: Names of nodes. A name allows that node, in whatever subgraph, and everything
            inside it if it is a subgraph itself; `"billing/answer"` allows the node `answer` only
            inside the node `billing`. None allows every node but tool nodes: a graph with a
            router or a classifier that calls a model must name the nodes that speak, or tag those
            model calls `nostream`.
        graph: Where the tool nodes are found.
    """

    def __init__(self, allowed: Collection[str] | None, graph: Any = None) -> None:
        if isinstance(allowed, str):
            raise TypeError("speakable_nodes must be a collection of node names, not one string")
        self._allowed = None if allowed is None else frozenset(allowed)
        self._tool_nodes = frozenset(_tool_nodes(graph))
        self._decided: dict[tuple[tuple[str, ...], str], bool] = {}

    def __call__(self, namespace: Sequence[str], node: str) -> bool:
        """Whether a message of `node`, in the subgraphs `namespace`, may be spoken."""
        names = tuple(part.partition(":")[0] for part in namespace)
        key = (names, node)
        decision = self._decided.get(key)
        if decision is None:
            decision = self._decided[key] = self._decide(names, node)
        return decision

    def _decide(self, names: tuple[str, ...], node: str) -> bool:
        path = (*names, node)
        if self._allowed is None:
            return not self._tool_nodes.intersection(path)
        paths = {"/".join(path[i:j]) for j in range(1, len(path) + 1) for i in range(j)}
        return not self._allowed.isdisjoint(paths)


def _tool_nodes(graph: Any) -> list[str]:
    """`tools`, LangGraph's own name for it, and whatever else is a `ToolNode`."""
    nodes = getattr(graph, "nodes", None) or {}
    return [
        "tools",
        *(
            name
            for name, node in nodes.items()
            if isinstance(getattr(node, "bound", None), ToolNode)
        ),
    ]
