"""A tool of one's own beside the assistant's: any function of LangChain's.

python examples/own_tool.py http://127.0.0.1:8080/v1 qwen3 "Is the blue room free at three?"
"""

from __future__ import annotations

import asyncio
import sys

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import HumanMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI

from flows.graphs import assistant


@tool
def room_is_free(room: str, hour: int) -> str:
    """Whether a meeting room is free at an hour of today, 0 to 23."""
    return "taken" if (room.lower(), hour) == ("blue", 15) else "free"


async def ask(model: BaseChatModel, question: str) -> str:
    """Asks the assistant, which may call the tool, and gives what it would say."""
    graph = assistant.build(model=model, tools=[room_is_free])
    state = await graph.ainvoke(
        {"messages": [HumanMessage(question)]}, {"configurable": {"thread_id": "one"}}
    )
    return str(state["messages"][-1].content)


if __name__ == "__main__":
    url, name, question = sys.argv[1:]
    # a server on this machine wants no key, but the client wants one to send
    chat = ChatOpenAI(base_url=url, model=name, api_key=lambda: "none")
    print(asyncio.run(ask(chat, question)))
