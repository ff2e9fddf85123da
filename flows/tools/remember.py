"""What the caller asks to be remembered: by caller across calls, else for this call."""

import json
import logging
from collections.abc import Mapping
from typing import Any

from langchain.tools import ToolRuntime
from langchain_core.tools import BaseTool, tool
from langgraph.store.base import BaseStore

from flows.gate import SIDE_EFFECTS
from flows.memory_keys import Namespace, caller_namespace, session_namespace

logger = logging.getLogger("flows")

MOST_FACTS = 100
"""Facts of one caller."""

_OUT_OF_REACH = json.dumps({"error": "I can't reach my memory right now."})


def fact_places(config: Mapping[str, Any]) -> list[Namespace]:
    """Where facts of this call may be: under its session, and under its caller if that is known."""
    spaces = (session_namespace(config), caller_namespace(config))
    return [(*space, "facts") for space in spaces if space is not None]


async def known_facts(store: BaseStore, place: Namespace) -> dict[str, str]:
    """What is remembered at a place of `fact_places`, the newest first."""
    items = await store.asearch(place, limit=MOST_FACTS)
    items.sort(key=lambda item: item.updated_at, reverse=True)
    return {item.key: str(item.value["value"]) for item in items}


def memory_tools() -> list[BaseTool]:
    """The tools `remember`, `recall` and `forget`; they need a graph with a store."""

    @tool
    async def remember(fact: str, value: str, runtime: ToolRuntime) -> str:
        """Remember something about the caller, such as the name or a preference.

        Args:
            fact: What it is, in one or two words: "name", "favourite colour".
            value: What to remember.
        """
        places = fact_places(runtime.config)
        if runtime.store is None or not places:
            return json.dumps({"fact": fact, "value": value, "kept": False})
        key = fact.strip().lower()
        try:
            known = await known_facts(runtime.store, places[-1])
            if key not in known and len(known) >= MOST_FACTS:
                return json.dumps({"error": "I remember as much as I can already."})
            await runtime.store.aput(places[-1], key, {"value": value})
        except Exception as e:
            return _failed(e)
        return json.dumps({"fact": fact, "value": value, "kept": True}, ensure_ascii=False)

    @tool
    async def recall(fact: str, runtime: ToolRuntime) -> str:
        """Recall something that the caller asked to be remembered.

        Args:
            fact: What it is, as it was remembered: "name", "favourite colour".
        """
        value, others = None, []
        try:
            for place in fact_places(runtime.config) if runtime.store is not None else ():
                assert runtime.store is not None
                item = await runtime.store.aget(place, fact.strip().lower())
                if item is not None:
                    value = item.value["value"]
                    break
                others += list(await known_facts(runtime.store, place))
        except Exception as e:
            return _failed(e)
        answer: dict[str, Any] = {"fact": fact, "value": value}
        if value is None and others:
            answer["remembered_instead"] = others
        return json.dumps(answer, ensure_ascii=False)

    @tool
    async def forget(runtime: ToolRuntime, fact: str = "") -> str:
        """Forget what the caller asked to be remembered, in this call and in earlier ones.

        Args:
            fact: The one thing to forget, as it was remembered; empty for everything.
        """
        forgotten, key = 0, fact.strip().lower()
        try:
            for place in fact_places(runtime.config) if runtime.store is not None else ():
                assert runtime.store is not None
                known = await known_facts(runtime.store, place)
                for one in [key] if key else list(known):
                    if one in known:
                        await runtime.store.adelete(place, one)
                        forgotten += 1
        except Exception as e:
            return _failed(e)
        return json.dumps({"fact": fact, "forgotten": forgotten}, ensure_ascii=False)

    remember.metadata = dict(SIDE_EFFECTS)
    forget.metadata = dict(SIDE_EFFECTS)
    return [remember, recall, forget]


def _failed(fault: Exception) -> str:
    # Each database has errors of its own; none of them may end the caller's turn.
    logger.warning("the memory does not work", extra={"fault": type(fault).__name__})
    logger.debug("the memory does not work", exc_info=fault)
    return _OUT_OF_REACH
