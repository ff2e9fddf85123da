"""A router in front of four agents: ERP, CRM, IT and OA.

Words that name a department decide at once. Only where they leave doubt is the model asked, since
that costs the caller a second request before the first word; and a follow-up without such words
stays with the agent that answered last, which the thread remembers.
"""

import re
from collections.abc import Callable, Sequence
from typing import Annotated, Any, TypedDict

from langchain.agents import create_agent
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AnyMessage, HumanMessage, SystemMessage
from langchain_core.tools import BaseTool
from langgraph.constants import TAG_NOSTREAM
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.graph.state import CompiledStateGraph
from langgraph.store.base import BaseStore
from langgraph.store.memory import InMemoryStore
from langgraph.types import Checkpointer

from flows.business.data import BusinessData
from flows.business.tools import crm_tools, erp_tools, it_tools, oa_tools
from flows.instructions import voice_instructions
from flows.of_every_agent import voice_middleware
from flows.tools.clock import Clock, clock_tools, local_clock
from flows.tools.remember import memory_tools

DESCRIPTION = "Orders and stock, customers, IT help and office matters, behind a router"
SPEAKABLE_NODES = ("model",)
"""The agents' own nodes. The router's choice is not for the ear."""

AGENTS: dict[str, tuple[Callable[[BusinessData], list[BaseTool]], str, str]] = {
    "erp": (
        erp_tools,
        r"\b(?:stock|orders?|products?|price|ship\w*|purchase|deliver\w*|inventory)\b|库存|订单",
        "stock, products, prices and orders",
    ),
    "crm": (
        crm_tools,
        r"\b(?:customers?|clients?|deals?|sales|opportunit\w+|contact)\b|客户",
        "customers, contacts and deals",
    ),
    "it": (
        it_tools,
        r"\b(?:tickets?|vpn|e?mail|wiki|password|printer|laptop|computer|network|outage)\b|工单",
        "computers, services and tickets",
    ),
    "oa": (
        oa_tools,
        r"\b(?:leave|vacation|holidays?|days off|meeting|room|office hours)\b|请假|会议室",
        "leave and meeting rooms",
    ),
}
_DEFAULT = "erp"
_QUESTION = (
    "Which department answers the caller's last sentence? Answer with one word: "
    + ", ".join(f"{name} ({about})" for name, (_, _, about) in AGENTS.items())
    + "."
)


class RouterState(TypedDict, total=False):
    """The conversation, and the agent that has it."""

    messages: Annotated[list[AnyMessage], add_messages]
    route: str


def route_by_words(text: str) -> str | None:
    """The one agent whose words are in `text`; None where it is none or several."""
    named = [name for name, (_, words, _) in AGENTS.items() if re.search(words, text.lower())]
    return named[0] if len(named) == 1 else None


def route_in(answer: str) -> str | None:
    """The agent that a model's answer names first."""
    found = re.search(r"\b(" + "|".join(AGENTS) + r")\b", answer.lower())
    return found[1] if found else None


def build(
    *,
    model: BaseChatModel,
    data: BusinessData | None = None,
    instructions: str | None = None,
    economy: bool = False,
    tools: Sequence[BaseTool] = (),
    clock: Clock = local_clock,
    store: BaseStore | None = None,
    checkpointer: Checkpointer = None,
) -> CompiledStateGraph[Any, Any, Any, Any]:
    """Compile the graph.

    Args:
        model: Answers, and chooses the agent where words don't.
        data: The business data; a sample in memory by default.
        instructions: Added to the rules for speech.
        economy: Ask for the shortest answers.
        tools: Further tools, for every agent.
        clock: Gives the local time; the agents need the date for leave and rooms.
        store: Keeps what callers ask to be remembered; in memory by default.
        checkpointer: Lets a follow-up stay with the agent that answered last.
    """
    data = data or BusinessData()
    silent_model = model.with_config(tags=[TAG_NOSTREAM])

    async def choose(state: RouterState) -> dict[str, str]:
        said = next(
            (m.text for m in reversed(state["messages"]) if isinstance(m, HumanMessage)), ""
        )
        route = route_by_words(said) or state.get("route")
        if route is None:
            answer = await silent_model.ainvoke([SystemMessage(_QUESTION), HumanMessage(said)])
            route = route_in(answer.text)
        return {"route": route or _DEFAULT}

    builder = StateGraph(RouterState)
    builder.add_node("choose", choose)
    builder.add_edge(START, "choose")
    builder.add_conditional_edges("choose", lambda state: state["route"], list(AGENTS))
    for name, (own_tools, _, about) in AGENTS.items():
        prompt = f"You answer for a company about {about}."
        agent = create_agent(
            model,
            [*own_tools(data), *clock_tools(clock), *memory_tools(), *tools],
            system_prompt=voice_instructions(
                f"{prompt} {instructions or ''}".strip(), economy=economy
            ),
            middleware=voice_middleware(),
            name=name,
        )
        builder.add_node(name, agent)
        builder.add_edge(name, END)
    graph: CompiledStateGraph[Any, Any, Any, Any] = builder.compile(
        checkpointer=checkpointer,
        store=store if store is not None else InMemoryStore(),
        name="router",
    )
    return graph
