"""Does the caller go on with a turn that was taken for finished? The decision, without I/O."""

from __future__ import annotations


class ResumedTurn:
    """Tells a caller who goes on after a pause from one who says something new.

    People pause for effect. Whoever breaks into such a pause has taken half a turn for a whole one;
    the caller, who was not done, goes on at once, before the answer or in its first second. Then
    both halves are one turn, and the answer to the first half answers nothing.

    Times are seconds on one clock. Tell it what happens; `resumes` is the decision.
    """

    def __init__(self, *, within_s: float = 1.0, longest_pause_s: float = 3.0) -> None:
        """
        Args:
            within_s: Seconds of the agent's voice up to which a caller who speaks is going on.
                Later they have heard what is answered, and mean to say something about it.
            longest_pause_s: Seconds of silence after which what is said is new, however slow the
                answer is.
        """
        self._within_s = within_s
        self._longest_pause_s = longest_pause_s
        self._taken = False
        self._open = False
        self._silent_since: float | None = None
        self._agent_spoke_at: float | None = None
        self._resumes = False

    @property
    def resumes(self) -> bool:
        """Whether the turn under way, or taken last, goes on with the one before it."""
        return self._resumes

    def caller_spoke(self, at: float) -> None:
        """A voice begins."""
        if self._open:
            return
        self._open = True
        soon = self._silent_since is not None and at - self._silent_since <= self._longest_pause_s
        hardly_heard = self._agent_spoke_at is None or at - self._agent_spoke_at <= self._within_s
        self._resumes = self._taken and soon and hardly_heard

    def caller_fell_silent(self, at: float) -> None:
        """It ends."""
        self._silent_since = at

    def agent_spoke(self, at: float) -> None:
        """The agent is heard; of one answer the first time counts."""
        if self._agent_spoke_at is None:
            self._agent_spoke_at = at

    def taken(self) -> None:
        """The turn under way is over, and is being answered."""
        self._open = False
        self._taken = True
        self._agent_spoke_at = None

    def dropped(self) -> None:
        """What was said is no turn, or means that the agent shall stop."""
        self._open = False
        self._resumes = False

    def forgotten(self) -> None:
        """The caller left, or takes it back: what comes next goes on with nothing."""
        self.dropped()
        self._taken = False
