"""Counts what came of speech over the agent's, beside the policy that decides about it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .backchannel import BargeInPolicy, Overlap


class WatchedBargeIn(BargeInPolicy):
    """A `BargeInPolicy` that tells of each overlap which did not stop the agent.

    Args:
        on_ignored: is told, when such an overlap is over, whether it had words (and not only the
            agent's own), and whether the agent's voice was held for it.
        options: of `BargeInPolicy`.
    """

    def __init__(self, on_ignored: Callable[[bool, bool], None], **options: Any) -> None:
        self._on_ignored = on_ignored
        self._decided: set[Overlap] = set()
        self._had_words = False
        super().__init__(**options)

    def speech_started(self, at: float | None = None, *, before_agent: bool = False) -> None:
        """The caller begins to speak over the agent."""
        self._close()
        super().speech_started(at, before_agent=before_agent)

    def heard(self, text: str, *, is_final: bool = False, language: str | None = None) -> None:
        """A partial or final transcript of the speech over the agent's."""
        super().heard(text, is_final=is_final, language=language)
        self._had_words = bool(self.without_echo(text).strip())

    def settled(self) -> None:
        """The speech over the agent's was dealt with."""
        self._close()
        super().settled()

    def decide(self) -> Overlap:
        """What to do now."""
        decision = super().decide()
        if self.active:
            self._decided.add(decision)
        return decision

    def _close(self) -> None:
        decided, self._decided = self._decided, set()
        had_words, self._had_words = self._had_words, False
        if Overlap.IGNORE in decided and Overlap.STOP not in decided:
            self._on_ignored(had_words, Overlap.PAUSE in decided)
