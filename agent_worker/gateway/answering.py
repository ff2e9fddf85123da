"""What answers a caller of the gateway, as far as the gateway has to know it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

from livekit.agents import Agent, AgentSession, stt

from agent_worker.call.lifetime import Lifetime

from .words import Said


class GatewayCall(Protocol):
    """What answers one caller: a session that is not started yet, and its agent."""

    @property
    def session(self) -> AgentSession[Any]: ...

    @property
    def agent(self) -> Agent: ...

    @property
    def lifetime(self) -> Lifetime:
        """Ends the session when nobody speaks for long, or its caller stays away."""

    async def aclose(self) -> None:
        """Ends the session and closes what belongs to it; safe to call twice."""


@runtime_checkable
class TakesTyping(Protocol):
    """An agent that counts what is written as a turn."""

    def typed_turn(self) -> None:
        """The caller has written."""


@runtime_checkable
class Overheard(Protocol):
    """An agent that tells what it hears and writes, before its session has it."""

    def overheard_by(
        self,
        *,
        heard: Callable[[stt.SpeechEvent], None],
        writes: Callable[[], Callable[[Said], None]],
    ) -> None:
        """Who is told from now on."""
