"""Characters that talk with the caller, one or several, each with a voice of its own.

Before a character speaks, the graph writes `{"type": "speaker", "name", "tag", "voice"}` to the
custom stream, so that the voice side can change the voice.
"""

from collections.abc import Sequence
from typing import Annotated, Any, TypedDict

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import (
    AIMessage,
    AnyMessage,
    BaseMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool
from langgraph.config import get_store, get_stream_writer
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.graph.state import CompiledStateGraph
from langgraph.prebuilt import ToolNode
from langgraph.store.base import BaseStore
from langgraph.store.memory import InMemoryStore
from langgraph.types import Checkpointer

from flows.client_tools import calls_client, model_with_tools
from flows.economy import wants_economy
from flows.instructions import voice_instructions
from flows.known_caller import about_caller
from flows.model import ECONOMY_MAX_TOKENS
from flows.one_system_prompt import split_instructions
from flows.persona_profiles import Character, default_profiles
from flows.tool_faults import guarded_tool_call
from flows.tools.clock import Clock, local_clock
from flows.tools.lookups import LookupEndpoints
from flows.tools.toolbox import everyday_tools
from flows.who_speaks import lines_in, next_speakers

DESCRIPTION = "Characters with voices of their own, who take turns and have the assistant's tools"
SPEAKABLE_NODES = ("speak",)
"""The nodes whose messages are meant for the caller's ear."""
_REMEMBERED_LINES = 40


class PersonaState(TypedDict, total=False):
    """The conversation, who is to speak, and who said what."""

    messages: Annotated[list[AnyMessage], add_messages]
    waiting: list[str]
    """Names of the characters that are still to speak in this turn."""
    last: str
    """Name of the character that spoke last."""
    said: list[tuple[str, str]]
    """Who said what: the history that comes in knows no names."""
    callers: list[str]
    """People on the caller's side who were told apart."""


def build(
    *,
    model: BaseChatModel,
    characters: Sequence[Character] | None = None,
    instructions: str | None = None,
    economy: bool = False,
    tools: Sequence[BaseTool] = (),
    clock: Clock = local_clock,
    endpoints: LookupEndpoints | None = None,
    store: BaseStore | None = None,
    checkpointer: Checkpointer = None,
) -> CompiledStateGraph[Any, Any, Any, Any]:
    """Compile the graph.

    Who speaks on the caller's side, where that is known, comes as the message's `name` or as
    `config["configurable"]["context"]["speaker"]`.

    Args:
        model: Speaks for all characters.
        characters: From `flows.persona_profiles.load_profiles`; two come along.
        instructions: The scene; added to each character's prompt.
        economy: Ask for the shortest answers.
        tools: Further tools, such as those of MCP servers, for every character.
        clock: Gives the local time, with its zone.
        endpoints: Where weather, stock quotes and search are asked for; none by default.
        store: Keeps names, facts and timers; in memory by default.
        checkpointer: Keeps who spoke last and who said what.
    """
    cast = {character.name: character for character in characters or default_profiles()}
    own_tools = [*everyday_tools(clock=clock, endpoints=endpoints), *tools]

    def choose(state: PersonaState, config: RunnableConfig) -> dict[str, Any]:
        if state.get("waiting") and isinstance(state["messages"][-1], ToolMessage):
            # A client has run its tool: whoever asked for it goes on.
            return {}
        human = next((m for m in reversed(state["messages"]) if isinstance(m, HumanMessage)), None)
        context = config.get("configurable", {}).get("context") or {}
        update: dict[str, Any] = {}
        speaker = context.get("speaker")
        if human is not None and human.name is None and isinstance(speaker, str) and speaker:
            human = human.model_copy(update={"name": speaker})
            update["messages"] = [human]
        callers = list(state.get("callers", ()))
        if human is not None and human.name and human.name not in callers:
            update["callers"] = [*callers, human.name]
        text = human.text if human is not None else ""
        chosen = next_speakers(text, tuple(cast.values()), state.get("last"))
        return update | {"waiting": [character.name for character in chosen]}

    async def speak(state: PersonaState, config: RunnableConfig) -> dict[str, Any]:
        name, *waiting = state["waiting"]
        character = cast[name]
        if not isinstance(state["messages"][-1], ToolMessage):
            get_stream_writer()(
                {
                    "type": "speaker",
                    "name": name,
                    "tag": character.tag,
                    "voice": character.voice_name,
                }
            )
        brief = economy or wants_economy(config)
        prompt = _prompt(character, tuple(cast.values()), instructions, economy=brief)
        prompt, conversation = split_instructions(_as_seen_by(name, state), prompt)
        known = await about_caller(get_store(), config)
        system = SystemMessage(f"{prompt}\n\n{known}" if known else prompt)
        limit = {"max_tokens": ECONOMY_MAX_TOKENS} if brief and not economy else {}
        asked = model_with_tools(model, own_tools, config, state["messages"], **limit)
        answer = await asked.ainvoke([system, *conversation])
        said = list(state.get("said", ()))
        if answer.text.strip():
            said = [*said, (name, answer.text)][-_REMEMBERED_LINES:]
        return {
            "messages": [answer.model_copy(update={"name": _safe_name(character.tag)})],
            # Whoever asked for a tool speaks again when its result is there.
            "waiting": state["waiting"] if answer.tool_calls else waiting,
            "last": name,
            "said": said,
        }

    def go_on(state: PersonaState, config: RunnableConfig) -> str:
        last = state["messages"][-1]
        if isinstance(last, AIMessage) and last.tool_calls:
            return END if calls_client(last, config) else "tools"
        return "speak" if state["waiting"] else END

    builder = StateGraph(PersonaState)
    builder.add_node("choose", choose)
    builder.add_node("speak", speak)
    builder.add_edge(START, "choose")
    builder.add_edge("choose", "speak")
    builder.add_node("tools", ToolNode(own_tools, awrap_tool_call=guarded_tool_call))
    builder.add_edge("tools", "speak")
    builder.add_conditional_edges("speak", go_on, ["speak", "tools", END])
    graph: CompiledStateGraph[Any, Any, Any, Any] = builder.compile(
        checkpointer=checkpointer,
        store=store if store is not None else InMemoryStore(),
        name="persona",
    )
    return graph


def _prompt(
    character: Character, cast: Sequence[Character], instructions: str | None, *, economy: bool
) -> str:
    others = [other.name for other in cast if other.name != character.name]
    parts = [f"You are {character.name}. {character.description}"]
    if others:
        parts.append(
            f"In the conversation besides you: {', '.join(others)}. Speak only for "
            f"{character.name}, and never put a name in front of what you say."
        )
    if instructions:
        parts.append(instructions)
    return voice_instructions("\n".join(parts), economy=economy)


def _as_seen_by(name: str, state: PersonaState) -> list[BaseMessage]:
    """The conversation from a character's side: its own lines are the assistant's, all others
    come from outside, with the name of who said them."""
    several_callers = len(state.get("callers", ())) > 1
    seen: list[BaseMessage] = []
    for message in state["messages"]:
        if isinstance(message, HumanMessage):
            named = several_callers and message.name
            seen.append(HumanMessage(f"{message.name}: {message.text}" if named else message.text))
        elif isinstance(message, AIMessage) and message.tool_calls:
            # What a tool told one of them, all have heard.
            seen.append(AIMessage(message.text, tool_calls=message.tool_calls))
        elif isinstance(message, AIMessage):
            for speaker, text in lines_in(message.text, state.get("said", ())):
                if speaker in (None, name):
                    seen.append(AIMessage(text))
                else:
                    seen.append(HumanMessage(f"{speaker}: {text}"))
        elif isinstance(message, SystemMessage | ToolMessage):
            seen.append(message)
    if seen and isinstance(seen[-1], AIMessage):
        seen.append(HumanMessage("Go on."))
    return seen


def _safe_name(tag: str) -> str:
    # OpenAI's wire allows only these characters in a name.
    return "".join(c if c.isascii() and (c.isalnum() or c in "_-") else "_" for c in tag)[:64]
