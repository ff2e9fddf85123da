"""What the caller asks to be remembered: by caller across calls, else for this call."""

import json

from langchain.tools import ToolRuntime
from langchain_core.tools import BaseTool, tool

from flows.gate import SIDE_EFFECTS
from flows.memory_keys import caller_namespace, session_namespace


def memory_tools() -> list[BaseTool]:
    """The tools `remember` and `recall`; they need a graph with a store."""

    @tool
    async def remember(fact: str, value: str, runtime: ToolRuntime) -> str:
        """Remember something about the caller, such as the name or a preference.

        Args:
            fact: What it is, in one or two words: "name", "favourite colour".
            value: What to remember.
        """
        namespace = caller_namespace(runtime.config) or session_namespace(runtime.config)
        if runtime.store is None or namespace is None:
            return json.dumps({"fact": fact, "value": value, "kept": False})
        await runtime.store.aput((*namespace, "facts"), fact.strip().lower(), {"value": value})
        return json.dumps({"fact": fact, "value": value, "kept": True}, ensure_ascii=False)

    @tool
    async def recall(fact: str, runtime: ToolRuntime) -> str:
        """Recall something that the caller asked to be remembered.

        Args:
            fact: What it is, as it was remembered: "name", "favourite colour".
        """
        if runtime.store is not None:
            for namespace in (session_namespace(runtime.config), caller_namespace(runtime.config)):
                if namespace is None:
                    continue
                item = await runtime.store.aget((*namespace, "facts"), fact.strip().lower())
                if item is not None:
                    value = item.value["value"]
                    return json.dumps({"fact": fact, "value": value}, ensure_ascii=False)
        return json.dumps({"fact": fact, "value": None}, ensure_ascii=False)

    remember.metadata = dict(SIDE_EFFECTS)
    return [remember, recall]
