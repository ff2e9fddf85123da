"""The graphs as `langgraph dev` loads them: functions without arguments, named in
`langgraph.json`. The studio brings its own checkpointer and store."""

from typing import Any

from langgraph.graph.state import CompiledStateGraph

from flows.catalogue import NO_MODEL, find_model
from flows.graphs import assistant as assistant_graph
from flows.graphs import offline as offline_graph
from flows.graphs import persona as persona_graph
from flows.graphs import router as router_graph
from flows.model import VoiceChatModel, chat_model
from flows.settings import FlowSettings

_Graph = CompiledStateGraph[Any, Any, Any, Any]


def offline() -> _Graph:
    """The graph without a model."""
    return offline_graph.build()


async def assistant() -> _Graph:
    """The assistant on the model that the settings name, or that is found."""
    return assistant_graph.build(model=await _model())


async def router() -> _Graph:
    """The router with its sample data."""
    return router_graph.build(model=await _model())


async def persona() -> _Graph:
    """The characters that come along."""
    return persona_graph.build(model=await _model())


async def _model() -> VoiceChatModel:
    options = await find_model(FlowSettings())
    if options is None:
        raise RuntimeError(NO_MODEL)
    return chat_model(options)
