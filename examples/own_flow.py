"""A flow of one's own in an agent of LiveKit's: a graph, and the names of the nodes that speak.

python examples/own_flow.py console
"""

from __future__ import annotations

from langchain_core.messages import AIMessage
from langgraph.graph import START, MessagesState, StateGraph
from livekit.agents import Agent, AgentSession, JobContext, WorkerOptions, cli

from livekit.plugins import espeak, faster_whisper, langgraph


def count_words(state: MessagesState) -> dict[str, list[AIMessage]]:
    """Answers with how much was said. A node may call models, tools, a database."""
    words = len(str(state["messages"][-1].content).split())
    return {"messages": [AIMessage(f"You said {words} words. Say some more.")]}


flow = StateGraph(MessagesState).add_node(count_words).add_edge(START, "count_words").compile()


async def answer_call(ctx: JobContext) -> None:
    """One call in LiveKit's room."""
    session: AgentSession[None] = AgentSession(
        stt=faster_whisper.STT(model="base", language="en"),
        llm=langgraph.LLM(flow, speakable_nodes=["count_words"]),
        tts=espeak.TTS(),
    )
    await session.start(agent=Agent(instructions=""), room=ctx.room)


if __name__ == "__main__":
    cli.run_app(WorkerOptions(entrypoint_fnc=answer_call))
