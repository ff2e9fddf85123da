"""When is a call over? After long silence with a goodbye, or when the caller does not come back."""

from __future__ import annotations

import enum
import time
from collections.abc import Callable


class Next(enum.Enum):
    """What to do about a silent or empty call."""

    GO_ON = "go on"
    SAY_GOODBYE = "say goodbye"
    LEAVE = "leave"


class InactivityPolicy:
    """Decides when a call ends by itself. No I/O.

    Tell it what happens, and ask `decide` whenever something did or `deadline` has come.
    """

    def __init__(
        self,
        *,
        silence_s: float = 300.0,
        return_within_s: float = 30.0,
        goodbye_s: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        Args:
            silence_s: Seconds in which nobody speaks, after which the agent says goodbye.
            return_within_s: Seconds for which a caller who left is waited for.
            goodbye_s: Seconds after which it leaves though the goodbye has not been heard out.
            clock: Returns seconds; any origin.
        """
        self._silence_s = silence_s
        self._return_within_s = return_within_s
        self._goodbye_limit_s = goodbye_s
        self._clock = clock
        self._quiet_since = clock()
        self._left_at: float | None = None
        self._gone = False
        self._goodbye_at: float | None = None
        self._goodbye_said = False

    def activity(self) -> None:
        """Somebody spoke, wrote, or is speaking; a goodbye under way is taken back by the caller.

        The agent's own goodbye is no activity: don't report it.
        """
        self._quiet_since = self._clock()
        self._goodbye_at = None
        self._goodbye_said = False

    def goodbye_said(self) -> None:
        """The goodbye was heard to its end."""
        if self._goodbye_at is not None:
            self._goodbye_said = True

    def caller_left(self) -> None:
        """The caller is gone from the room; perhaps only the network is."""
        if self._left_at is None:
            self._left_at = self._clock()

    def caller_returned(self) -> None:
        """The caller is back: the conversation goes on where it was."""
        self._left_at = None
        self.activity()

    def caller_gone(self) -> None:
        """Nobody is waited for any more: the call was ended, or the worker is shutting down."""
        self._gone = True

    def decide(self) -> Next:
        """What to do now. `Next.SAY_GOODBYE` is returned once for each silence."""
        now = self._clock()
        if self._gone:
            return Next.LEAVE
        if self._left_at is not None:
            # There is nobody to say goodbye to.
            return Next.LEAVE if now >= self._left_at + self._return_within_s else Next.GO_ON
        if self._goodbye_at is not None:
            over = self._goodbye_said or now >= self._goodbye_at + self._goodbye_limit_s
            return Next.LEAVE if over else Next.GO_ON
        if now >= self._quiet_since + self._silence_s:
            self._goodbye_at = now
            return Next.SAY_GOODBYE
        return Next.GO_ON

    @property
    def deadline(self) -> float:
        """When `decide` may change by time alone, on the clock given."""
        if self._left_at is not None:
            return self._left_at + self._return_within_s
        if self._goodbye_at is not None:
            return self._goodbye_at + self._goodbye_limit_s
        return self._quiet_since + self._silence_s
