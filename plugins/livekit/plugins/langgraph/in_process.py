"""Runs turns on a graph in this process."""

from __future__ import annotations

from graph_speech.runner import GraphSpeech
from graph_speech.turn import TurnRequest

from .stream import Run


class InProcess:
    """Runs turns of one session; see `stream.Runner`.

    Args:
        speech: The session.
    """

    def __init__(self, speech: GraphSpeech) -> None:
        self.speech = speech

    @property
    def model(self) -> str:
        """The name that the model itself gave, before the first answer the graph's."""
        return self.speech.model

    @property
    def can_continue(self) -> bool:
        """Whether the graph has a checkpointer."""
        return self.speech.keeps_state

    async def prewarm(self) -> None:
        """Nothing: the graph's own clients connect when they are first used."""

    async def aclose(self) -> None:
        """Waits for what cancelled runs have left to do; the graph is its owner's."""
        await self.speech.aclose()

    async def run(self, run: Run) -> None:
        """Runs the turn."""
        turn = run.turn
        request = TurnRequest(
            turn.id,
            [message.to_langchain() for message in turn.history],
            tools=turn.tools,
            tool_choice=turn.tool_choice,
            parallel_tool_calls=turn.parallel_tool_calls,
            committed=turn.committed,
            configurable=turn.configurable,
            attempt=turn.attempt,
            goes_on=turn.tools_ran,
        )
        await self.speech.run(request, run.tell, alive=run.alive)
