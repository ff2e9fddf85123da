"""All flows of a deployment, built from its settings."""

import asyncio
import contextlib
import logging
from collections.abc import Mapping
from dataclasses import replace
from importlib.util import find_spec

from langchain_core.tools import BaseTool

from flows.business.data import BusinessData
from flows.discovery import Discovered, ServerKind, discover_all, look_at
from flows.flow import Flow
from flows.graphs import assistant, offline, persona, router
from flows.memory import Memory
from flows.model import ModelOptions, VoiceChatModel, chat_model
from flows.persona_profiles import default_profiles, load_profiles
from flows.settings import FlowSettings
from flows.tools.lookups import LookupEndpoints
from flows.warm_up import keep_warm

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


async def open_flows(
    settings: FlowSettings, memory: Memory, stack: contextlib.AsyncExitStack
) -> Mapping[str, Flow]:
    """Build every flow; what they hold open is closed with `stack`.

    Raises:
        ProfileError: The character profiles can't be used.
        McpError: An MCP server can't be reached, or the extra is missing.
    """
    tools = await _mcp_tools(settings, stack)
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
    flows = [
        _offline(settings, memory),
        _assistant(settings, memory, model, tools),
        _router(settings, memory, model, tools, stack),
        _persona(settings, memory, model),
    ]
    if model is None and advice:
        flows = [
            replace(flow, unavailable=f"{flow.unavailable} {advice}") if flow.unavailable else flow
            for flow in flows
        ]
    return {flow.id: flow for flow in flows}


async def _stop(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])


async def _mcp_tools(settings: FlowSettings, stack: contextlib.AsyncExitStack) -> list[BaseTool]:
    if not settings.mcp_servers:
        return []
    # An extra: the module imports it.
    from flows.tools.mcp_source import McpError, open_mcp_tools

    if find_spec("mcp") is None:
        raise McpError('MCP servers need an extra: pip install "livekit-agent-worker[mcp]"')
    return await stack.enter_async_context(open_mcp_tools(settings.mcp_servers))


def _endpoints(settings: FlowSettings) -> LookupEndpoints:
    return LookupEndpoints(
        weather=settings.weather_url,
        stock=settings.stock_url,
        search=settings.search_url,
        timeout_s=settings.lookup_timeout_s,
    )


def _offline(settings: FlowSettings, memory: Memory) -> Flow:
    graph = offline.build(
        endpoints=_endpoints(settings), store=memory.store, checkpointer=memory.checkpointer
    )
    return Flow("offline", offline.DESCRIPTION, graph, offline.SPEAKABLE_NODES)


def _assistant(
    settings: FlowSettings,
    memory: Memory,
    model: VoiceChatModel | None,
    tools: list[BaseTool],
) -> Flow:
    if model is None:
        return Flow("assistant", assistant.DESCRIPTION, None, unavailable=NO_MODEL)
    graph = assistant.build(
        model=model,
        instructions=settings.instructions,
        economy=settings.economy,
        tools=tools,
        endpoints=_endpoints(settings),
        store=memory.store,
        checkpointer=memory.checkpointer,
    )
    return Flow("assistant", assistant.DESCRIPTION, graph, assistant.SPEAKABLE_NODES)


def _router(
    settings: FlowSettings,
    memory: Memory,
    model: VoiceChatModel | None,
    tools: list[BaseTool],
    stack: contextlib.AsyncExitStack,
) -> Flow:
    if model is None:
        return Flow("router", router.DESCRIPTION, None, unavailable=NO_MODEL)
    data = BusinessData(settings.business_database)
    stack.callback(data.close)
    graph = router.build(
        model=model,
        data=data,
        instructions=settings.instructions,
        economy=settings.economy,
        tools=tools,
        store=memory.store,
        checkpointer=memory.checkpointer,
    )
    return Flow("router", router.DESCRIPTION, graph, router.SPEAKABLE_NODES)


def _persona(settings: FlowSettings, memory: Memory, model: VoiceChatModel | None) -> Flow:
    characters = load_profiles(settings.personas) if settings.personas else default_profiles()
    if model is None:
        return Flow("persona", persona.DESCRIPTION, None, unavailable=NO_MODEL)
    graph = persona.build(
        model=model,
        characters=characters,
        instructions=settings.instructions,
        economy=settings.economy,
        store=memory.store,
        checkpointer=memory.checkpointer,
    )
    return Flow("persona", persona.DESCRIPTION, graph, persona.SPEAKABLE_NODES)
