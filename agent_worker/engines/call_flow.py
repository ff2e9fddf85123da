"""The graph of one call, from the catalogue that the flow server builds its own from."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.tools import BaseTool
from langgraph.checkpoint.memory import InMemorySaver

from agent_worker.settings import Settings
from flows.call_store import CallStore
from flows.catalogue import FlowParts, build_flow, endpoints_of, import_mcp
from flows.documents.index import DocumentIndex
from flows.documents.opening import open_documents
from flows.documents.tool import document_tools
from flows.persona_profiles import Character

from .closing import close_at_end


@dataclass(frozen=True)
class CallFlow:
    """What answers in one call."""

    graph: Any
    speakable_nodes: Sequence[str]
    store: CallStore
    _open: contextlib.ExitStack

    async def aclose(self) -> None:
        """Closes what the graph holds open; safe to call twice."""
        self._open.close()
        await self.store.aclose()


def flow_for_call(
    settings: Settings,
    flow_id: str,
    *,
    model: BaseChatModel | None = None,
    characters: Sequence[Character] | None = None,
) -> CallFlow:
    """Builds the graph of a call. It connects to no database before it needs one.

    Args:
        settings: of this call.
        flow_id: offline, assistant, router or persona.
        model: of this call; not needed offline.
        characters: of the persona flow.

    Raises:
        ValueError: there is no such flow here.
        RuntimeError: an MCP server does not answer, or the extra for them is missing; the
            documents or their embedding model can't be used.
    """
    store = CallStore(settings.database_url, keep_days=settings.memory_days)
    stack = contextlib.ExitStack()
    parts = FlowParts(
        store=store,
        # of one call: the route, who spoke last, a question that waits for its answer
        checkpointer=InMemorySaver(),
        model=model,
        tools=shared_tools(settings),
        endpoints=endpoints_of(settings),
        # the instructions come with every turn, as the system message of LiveKit's chat context
        economy=settings.economy,
        business_database=settings.business_database,
        characters=characters,
    )
    flow = build_flow(flow_id, parts, stack)
    if flow.graph is None:
        raise ValueError(flow.unavailable)
    return CallFlow(flow.graph, flow.speakable_nodes, store, stack)


def shared_tools(settings: Settings) -> list[BaseTool]:
    """The tools that all calls of this process share; the first time, this connects and reads.

    Raises:
        RuntimeError: as `flow_for_call`.
    """
    tools: list[BaseTool] = []
    if settings.mcp_servers:
        import_mcp()
        # An extra: the module imports it.
        from flows.tools.mcp_host import close_shared_mcp, shared_mcp_tools

        close_at_end(close_shared_mcp)
        tools += shared_mcp_tools(settings.mcp_servers)
    if settings.documents is not None:
        tools += document_tools(_documents(settings))
    return tools


_indices: dict[tuple[object, ...], DocumentIndex] = {}
_opening = threading.Lock()


def _documents(settings: Settings) -> DocumentIndex:
    key = (settings.documents, settings.documents_model, settings.documents_index)
    with _opening:
        if key not in _indices:
            index = open_documents(settings, settings.embeddings_dir())
            assert index is not None
            _indices[key] = index
            close_at_end(_close_documents)
        return _indices[key]


def _close_documents() -> None:
    with _opening:
        while _indices:
            _indices.popitem()[1].close()
