"""All flows of a deployment, built from its settings."""

import asyncio
import contextlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from langchain_core.language_models import BaseChatModel
from langchain_core.tools import BaseTool
from langgraph.store.base import BaseStore
from langgraph.types import Checkpointer

from .business.data import BusinessData
from .discovery import Discovered, ServerKind, discover_all, look_at
from .documents.opening import open_documents
from .documents.tool import document_tools
from .flow import Flow
from .graphs import assistant, offline, persona, router
from .memory import Memory
from .model import ModelOptions, VoiceChatModel, chat_model
from .persona_profiles import Character, load_profiles
from .settings import FlowSettings
from .tools.lookups import LookupEndpoints
from .warm_up import keep_warm

logger = logging.getLogger("flows")

_ASKED_SERVER_S = 3.0
NO_MODEL = (
    "No language model was found; start one (vLLM, SGLang, llama.cpp or Ollama) "
    "or set FLOWS_MODEL_URL and FLOWS_MODEL."
)


async def find_model(settings: FlowSettings) -> ModelOptions | None:
    """The model that the settings name, completed by what its server tells; None if there is none.

    A server that is named but does not answer yet is taken on trust.
    """
    return (await look_for_model(settings))[0]


async def look_for_model(settings: FlowSettings) -> tuple[ModelOptions | None, str]:
    """As `find_model`, and what is amiss with the servers that were looked at."""
    key = settings.model_api_key.get_secret_value() if settings.model_api_key else None
    seen: tuple[Discovered, ...] = ()
    if settings.model_url is not None:
        named = await look_at(settings.model_url, api_key=key, timeout_s=_ASKED_SERVER_S)
        seen = (named,) if named else ()
    elif settings.discovery:
        seen = await discover_all()
    found = next((server for server in seen if server.models), None)
    if found is None and settings.model_url is not None and seen:
        found = seen[0]
    # The settings of the worker go by other names here.
    advice = "; ".join(s.advice for s in seen if s.advice and (s is found or found is None))
    advice = advice.replace("llm_api_key", "FLOWS_MODEL_API_KEY")
    base_url = found.base_url if found else settings.model_url
    model = settings.model or (found.models[0] if found and found.models else None)
    if settings.model_url is not None and model is None:
        # It may be loading, or pulling its model: its first is asked for at the first turn.
        model = ""
    if base_url is None or model is None:
        return None, advice
    options = ModelOptions(
        base_url=base_url,
        model=model,
        api_key=key,
        kind=settings.model_kind or (found.kind if found else ServerKind.OTHER),
        temperature=settings.temperature,
        max_tokens=settings.max_tokens,
        economy=settings.economy,
        first_token_timeout_s=settings.first_token_timeout_s,
        idle_timeout_s=settings.idle_timeout_s,
        context_tokens=found.context_tokens if found else None,
        fillers=(settings.filler,) if settings.filler_after_s else (),
    )
    return options, advice


@dataclass(frozen=True)
class FlowParts:
    """What flows are built from, in the flow server and in the worker alike."""

    store: BaseStore
    checkpointer: Checkpointer
    model: BaseChatModel | None = None
    """None where none was found: then only the offline flow can answer."""
    tools: Sequence[BaseTool] = ()
    """Such as those of MCP servers; every flow has them."""
    endpoints: LookupEndpoints | None = None
    instructions: str | None = None
    economy: bool = False
    business_database: Path | None = None
    characters: Sequence[Character] | None = None


FLOW_IDS = ("offline", "assistant", "router", "persona")


def build_flow(flow_id: str, parts: FlowParts, stack: contextlib.ExitStack) -> Flow:
    """Build one flow; what it holds open is closed with `stack`.

    Args:
        flow_id: One of `FLOW_IDS`.
        parts: What it is built from.
        stack: Of whoever runs the flow.
    """
    common: dict[str, Any] = {
        "store": parts.store,
        "checkpointer": parts.checkpointer,
        "tools": parts.tools,
    }
    if flow_id == "offline":
        graph = offline.build(**common, endpoints=parts.endpoints)
        return Flow(flow_id, offline.DESCRIPTION, graph, offline.SPEAKABLE_NODES)
    module = {"assistant": assistant, "router": router, "persona": persona}[flow_id]
    description = str(module.DESCRIPTION)
    if parts.model is None:
        return Flow(flow_id, description, None, unavailable=NO_MODEL)
    common |= {
        "model": parts.model,
        "instructions": parts.instructions,
        "economy": parts.economy,
    }
    match flow_id:
        case "router":
            data = BusinessData(parts.business_database)
            stack.callback(data.close)
            graph = router.build(**common, data=data)
        case "persona":
            graph = persona.build(**common, characters=parts.characters, endpoints=parts.endpoints)
        case _:
            graph = assistant.build(**common, endpoints=parts.endpoints)
    return Flow(flow_id, description, graph, module.SPEAKABLE_NODES)


async def open_flows(
    settings: FlowSettings, memory: Memory, stack: contextlib.AsyncExitStack
) -> Mapping[str, Flow]:
    """Build every flow; what they hold open is closed with `stack`.

    Raises:
        ProfileError: The character profiles can't be used.
        McpError: An MCP server can't be reached, or the extra is missing.
        DocumentsError: The documents can't be read.
        EmbedderError: The embedding model can't be used.
    """
    tools = [*await _mcp_tools(settings, stack), *await _document_tools(settings, stack)]
    options, advice = await look_for_model(settings)
    model: VoiceChatModel | None = None
    if advice:
        logger.warning("%s", advice)
    if options is not None:
        name = options.model or "the first"
        logger.info("language model: %s at %s (%s)", name, options.base_url, options.kind)
        model = chat_model(options)
        stack.push_async_callback(model.aclose)
        warming = asyncio.create_task(keep_warm(options, model.memory), name="warm up the model")
        stack.push_async_callback(_stop, warming)
    else:
        logger.warning("no language model was found; only the offline flow can answer")
    parts = FlowParts(
        store=memory.store,
        checkpointer=memory.checkpointer,
        model=model,
        tools=tools,
        endpoints=endpoints_of(settings),
        instructions=settings.instructions,
        economy=settings.economy,
        business_database=settings.business_database,
        characters=load_profiles(settings.personas) if settings.personas else None,
    )
    closing = stack.enter_context(contextlib.ExitStack())
    flows = {flow_id: build_flow(flow_id, parts, closing) for flow_id in FLOW_IDS}
    if model is None and advice:
        for flow_id, flow in flows.items():
            if flow.unavailable:
                flows[flow_id] = replace(flow, unavailable=f"{flow.unavailable} {advice}")
    return flows


async def _stop(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])


async def _mcp_tools(settings: FlowSettings, stack: contextlib.AsyncExitStack) -> list[BaseTool]:
    if not settings.mcp_servers:
        return []
    mcp_source = import_mcp()
    return await stack.enter_async_context(mcp_source.open_mcp_tools(settings.mcp_servers))


async def _document_tools(
    settings: FlowSettings, stack: contextlib.AsyncExitStack
) -> list[BaseTool]:
    index = await asyncio.to_thread(open_documents, settings, settings.embeddings_dir)
    if index is None:
        return []
    stack.callback(index.close)
    return document_tools(index)


def import_mcp() -> Any:
    """The module `flows.tools.mcp_source`, which needs an extra.

    Raises:
        RuntimeError: The extra is missing.
    """
    if find_spec("mcp") is None:
        raise RuntimeError('MCP servers need an extra: pip install "livekit-agent-worker[mcp]"')
    return import_module("flows.tools.mcp_source")


class HasLookups(Protocol):
    """Settings with look-ups: the flow server's or the worker's."""

    @property
    def weather_url(self) -> str | None: ...
    @property
    def stock_url(self) -> str | None: ...
    @property
    def search_url(self) -> str | None: ...
    @property
    def lookup_timeout_s(self) -> float: ...


def endpoints_of(settings: HasLookups) -> LookupEndpoints:
    """Where these settings have weather, stock quotes and search asked for."""
    return LookupEndpoints(
        weather=settings.weather_url,
        stock=settings.stock_url,
        search=settings.search_url,
        timeout_s=settings.lookup_timeout_s,
    )
